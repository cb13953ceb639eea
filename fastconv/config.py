"""Settings that hold for the whole process, under Keras's names."""

from __future__ import annotations

_floatx = "float32"
_epsilon = 1e-7
_image_data_format = "channels_last"
_winograd = True


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
