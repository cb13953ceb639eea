"""Settings that hold for the whole process, under Keras's names."""

from __future__ import annotations

from dataclasses import dataclass

_floatx = "float32"
_epsilon = 1e-7
_image_data_format = "channels_last"
_winograd = True
_PRECISIONS = {"float32": "", "tf32": "tf32", "mixed_bfloat16": "bfloat16"}  # of kernels, by policy


@dataclass(frozen=True)
class DTypePolicy:
    """In which precision convolutions and Dense layers may be computed on a GPU; see `set_dtype_policy`.

    Raises:
        ValueError: `name` is not "float32", "tf32" or "mixed_bfloat16".
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in _PRECISIONS:
            known = ", ".join(map(repr, _PRECISIONS))
            hint = {
                "mixed_float16": ": float16 would need its loss scaled; mixed_bfloat16 does not",
                "float64": ': set_floatx("float64") computes in that, on the CPU',
            }
            raise ValueError(f"dtype policy must be one of {known}, not {self.name!r}{hint.get(self.name, '')}.")

    @property
    def compute_dtype(self) -> str:
        """What factors are rounded to before they are multiplied: "float32", "tf32" or "bfloat16"."""
        return _PRECISIONS[self.name] or "float32"

    @property
    def variable_dtype(self) -> str:
        """The dtype of weights, and of all arrays between layers: "float32"."""
        return "float32"


_dtype_policy = DTypePolicy("float32")


def dtype_policy() -> DTypePolicy:
    """The policy set by `set_dtype_policy`."""
    return _dtype_policy


def set_dtype_policy(policy: str | DTypePolicy) -> None:
    """Allow convolutions and Dense layers to be computed less precisely on a GPU, by tensor cores.

    "float32", the default, is strict: factors keep their 24 bits. "tf32" rounds the factors of these layers' products,
    and of their gradients', to 11 bits, "mixed_bfloat16" to 8. Products and sums are float32 in all three, as are
    weights, activations, gradients and all other layers. So a result is off by about 3e-4 of its norm in TF32, 2e-3 in
    BF16. BF16 has the range of float32: nothing vanishes or overflows for it, and no loss needs to be scaled. Kernels
    of these precisions need compute capability 8.0; an older GPU, and every CPU, computes in float32 whatever the
    policy: it allows less precision and never demands it. Layers with few channels a group keep their float32 kernels.

    A model on a GPU takes the policy that is set when its first step is prepared; `ops` take that of each call.

    Beyond Keras: "tf32". Unlike in Keras, layers' outputs stay float32 under "mixed_bfloat16".

    Raises:
        ValueError: there is no such policy.
        TypeError: `policy` is neither a name nor a DTypePolicy.
    """
    global _dtype_policy
    if not isinstance(policy, str | DTypePolicy):
        raise TypeError(f"policy must be a name or a DTypePolicy, not {policy!r}.")
    _dtype_policy = DTypePolicy(policy) if isinstance(policy, str) else policy


def kernel_precision() -> str:
    """The `precision` that the policy allows kernels to have: "", "tf32" or "bfloat16"."""
    return _PRECISIONS[_dtype_policy.name]


def floatx() -> str:
    """The dtype of new weights and of computation: "float32" or "float64"."""
    return _floatx


def set_floatx(value: str) -> None:
    """Set `floatx`. float64 is slower and exists so that gradients can be checked.

    Raises:
        ValueError: `value` is neither "float32" nor "float64".
    """
    global _floatx
    if value not in ("float32", "float64"):
        raise ValueError(f'floatx must be "float32" or "float64", not {value!r}.')
    _floatx = value


def epsilon() -> float:
    """The small number that keeps logarithms and divisions finite."""
    return _epsilon


def set_epsilon(value: float) -> None:
    """Set `epsilon`."""
    global _epsilon
    _epsilon = float(value)


def image_data_format() -> str:
    """The layout of images where a layer is not told: "channels_last" or "channels_first"."""
    return _image_data_format


def set_image_data_format(data_format: str) -> None:
    """Set `image_data_format`.

    Raises:
        ValueError: `data_format` is neither "channels_last" nor "channels_first".
    """
    global _image_data_format
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(f'data_format must be "channels_last" or "channels_first", not {data_format!r}.')
    _image_data_format = data_format


def winograd() -> bool:
    """Whether 3x3 convolutions may be computed by Winograd's minimal filtering."""
    return _winograd


def set_winograd(value: bool) -> None:
    """Allow or forbid Winograd's minimal filtering, beyond Keras; it is allowed at first.

    It takes a quarter of the multiplications and is up to 2.8 times as fast as PyTorch's. Its float32 rounding error
    is about four times that of a direct convolution: 1e-6 to 5e-6 of the result's norm, at most 1e-5 in the tests. A
    NaN or an infinity makes its whole 4x4 tile NaN. A layer with `algorithm="cpu_winograd"` is not concerned.
    """
    global _winograd
    _winograd = bool(value)
