"""First values of weights: `initializer(shape, dtype=None) -> array`, under Keras's names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastconv import config, random
from fastconv.serialization import Configurable, Table

# Standard deviation of a standard normal variable cut off at two.
_TRUNCATED_STDDEV = 0.87962566103423978


class Initializer(Configurable):
    """Base class: a subclass defines `__call__(shape, dtype=None) -> array of that shape`."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(shape, dtype=None).")


class Constant(Initializer):
    """Every element is `value`."""

    config_keys: tuple[str, ...] = ("value",)

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        return np.full(shape, self.value, dtype or config.floatx())


class Zeros(Constant):
    """Every element is 0."""

    config_keys = ()

    def __init__(self) -> None:
        super().__init__(0.0)


class Ones(Constant):
    """Every element is 1."""

    config_keys = ()

    def __init__(self) -> None:
        super().__init__(1.0)


class Identity(Initializer):
    """`gain` on the diagonal of a matrix, 0 elsewhere; ValueError for shapes that are not of rank 2."""

    config_keys = ("gain",)

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        if len(shape) != 2:
            raise ValueError(f"Identity needs a shape of rank 2, not {tuple(shape)}.")
        return self.gain * np.eye(*shape, dtype=np.dtype(dtype or config.floatx()))


class RandomInitializer(Initializer):
    """Base of those that draw: the same values at every call with a `seed`, else from the global generator.

    A subclass defines `draw(generator, shape, dtype)`.
    """

    def __init__(self, seed: int | None = None) -> None:
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0):
            raise ValueError(f"seed must be a non-negative integer or None, not {seed!r}.")
        self.seed = None if seed is None else int(seed)

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        generator = random.generator() if self.seed is None else np.random.default_rng(self.seed)
        return self.draw(generator, tuple(shape), np.dtype(dtype or config.floatx()))

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must define draw(generator, shape, dtype).")


class RandomNormal(RandomInitializer):
    """Normal with the given mean and standard deviation."""

    config_keys = ("mean", "stddev", "seed")

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.mean = mean
        self.stddev = stddev

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return _affine(_standard_normal(generator, shape, dtype), self.stddev, self.mean)


class TruncatedNormal(RandomNormal):
    """As `RandomNormal`, with values further than two standard deviations from the mean drawn again."""

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return _affine(_truncated_normal(generator, shape, dtype), self.stddev, self.mean)


class RandomUniform(RandomInitializer):
    """Uniform in [minval, maxval)."""

    config_keys = ("minval", "maxval", "seed")

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.minval = minval
        self.maxval = maxval

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return _affine(_uniform(generator, shape, dtype), self.maxval - self.minval, self.minval)


class VarianceScaling(RandomInitializer):
    """Zero mean and variance `scale / n`, with the number of inputs, of outputs or their mean for n (`mode`).

    Args:
        scale: positive.
        mode: "fan_in", "fan_out" or "fan_avg".
        distribution: "truncated_normal" ("normal" means the same), "untruncated_normal" or "uniform".
        seed: non-negative integer or None.
        input_axes, output_axes: axes of the shape whose lengths multiply to the fans, for weights that are
            neither dense matrices (in, out) nor convolution kernels (..., in, out); both or neither.

    Raises:
        ValueError: one of them is something else.
    """

    config_keys: tuple[str, ...] = ("scale", "mode", "distribution", "seed", "input_axes", "output_axes")

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(seed)
        if not scale > 0:
            raise ValueError(f"scale must be positive, not {scale!r}.")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f'mode must be "fan_in", "fan_out" or "fan_avg", not {mode!r}.')
        distribution = "truncated_normal" if distribution == "normal" else distribution
        if distribution not in ("truncated_normal", "untruncated_normal", "uniform"):
            raise ValueError(
                f'distribution must be "truncated_normal", "untruncated_normal" or "uniform", not {distribution!r}.'
            )
        if (input_axes is None) != (output_axes is None):
            raise ValueError(f"input_axes={input_axes} and output_axes={output_axes} must be given together.")
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.input_axes = input_axes
        self.output_axes = output_axes

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        stddev = math.sqrt(self.scale / max(1.0, fan))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0) * stddev
            return _affine(_uniform(generator, shape, dtype), 2 * limit, -limit)
        if self.distribution == "untruncated_normal":
            return _affine(_standard_normal(generator, shape, dtype), stddev)
        return _affine(_truncated_normal(generator, shape, dtype), stddev / _TRUNCATED_STDDEV)


class _FixedScaling(VarianceScaling):
    """A named choice of scale, mode and distribution."""

    config_keys = ("seed", "input_axes", "output_axes")
    choice: tuple[float, str, str]

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(*self.choice, seed, input_axes, output_axes)


class GlorotUniform(_FixedScaling):
    """Uniform, variance 2 / (inputs + outputs)."""

    choice = (1.0, "fan_avg", "uniform")


class GlorotNormal(_FixedScaling):
    """Truncated normal, variance 2 / (inputs + outputs)."""

    choice = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_FixedScaling):
    """Uniform, variance 2 / inputs."""

    choice = (2.0, "fan_in", "uniform")


class HeNormal(_FixedScaling):
    """Truncated normal, variance 2 / inputs."""

    choice = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_FixedScaling):
    """Uniform, variance 1 / inputs."""

    choice = (1.0, "fan_in", "uniform")


class LecunNormal(_FixedScaling):
    """Truncated normal, variance 1 / inputs."""

    choice = (1.0, "fan_in", "truncated_normal")


class Orthogonal(RandomInitializer):
    """`gain` times a random matrix with orthonormal columns, or rows if those are fewer.

    The matrix has the last axis of the shape as its columns and all others as its rows.

    Raises:
        ValueError: on call, for shapes of rank below 2.
    """

    config_keys = ("gain", "seed")

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.gain = gain

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal needs a shape of rank 2 or more, not {shape}.")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = _standard_normal(generator, (max(rows, columns), min(rows, columns)), dtype)
        q, r = np.linalg.qr(tall)
        # QR leaves the signs of the columns open; these signs make the distribution uniform.
        q *= np.sign(np.diag(r))
        return np.ascontiguousarray(self.gain * (q.T if rows < columns else q)).reshape(shape)


def compute_fans(
    shape: Sequence[int],
    input_axes: Sequence[int] | None = None,
    output_axes: Sequence[int] | None = None,
) -> tuple[int, int]:
    """The inputs and outputs of one unit of a weight: dense (in, out) or convolution (..., in, out)."""
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[axis] for axis in input_axes), math.prod(shape[axis] for axis in output_axes)
    if len(shape) < 2:
        size = math.prod(shape)
        return size, size
    receptive_field = math.prod(shape[:-2])
    return shape[-2] * receptive_field, shape[-1] * receptive_field


def _affine(values: np.ndarray, scale: float, offset: float = 0.0) -> np.ndarray:
    values *= scale
    values += offset
    return values


# NumPy draws float32 and float64 itself; other dtypes are rounded from float64.
def _drawn_dtype(dtype: np.dtype) -> Any:
    return np.float32 if dtype == np.float32 else np.float64


def _standard_normal(generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.asarray(generator.standard_normal(shape, _drawn_dtype(dtype)), dtype)


def _uniform(generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.asarray(generator.random(shape, _drawn_dtype(dtype)), dtype)


def _truncated_normal(generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    values = _standard_normal(generator, (math.prod(shape),), dtype)
    outside = np.flatnonzero(np.abs(values) > 2)
    while outside.size:
        values[outside] = _standard_normal(generator, (outside.size,), dtype)
        outside = outside[np.abs(values[outside]) > 2]
    return values.reshape(shape)


_TABLE = Table(
    "keras.initializers",
    "initializer",
    (
        Constant,
        GlorotNormal,
        GlorotUniform,
        HeNormal,
        HeUniform,
        Identity,
        LecunNormal,
        LecunUniform,
        Ones,
        Orthogonal,
        RandomNormal,
        RandomUniform,
        TruncatedNormal,
        VarianceScaling,
        Zeros,
    ),
    aliases={
        "IdentityInitializer": Identity,
        "OrthogonalInitializer": Orthogonal,
        "normal": RandomNormal,
        "one": Ones,
        "uniform": RandomUniform,
        "zero": Zeros,
    },
)


def get(identifier: Any) -> Callable[..., np.ndarray] | None:
    """The initializer of a name, config, class, array (its values, for weights of its shape) or callable.

    Raises:
        ValueError: unknown name or bad config.
        TypeError: anything else.
    """
    if identifier is None:
        return None
    if isinstance(identifier, (np.ndarray, np.generic)):
        return _FromArray(identifier)
    initializer = _TABLE.make(identifier)
    if not callable(initializer):
        raise _TABLE.refuse(identifier, "a callable (shape, dtype) -> array")
    return initializer


class _FromArray:
    """Given values for one weight."""

    def __init__(self, values: np.ndarray | np.generic) -> None:
        self.values = np.asarray(values)

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        if tuple(shape) != self.values.shape:
            raise ValueError(f"An initial array of shape {self.values.shape} cannot fill shape {tuple(shape)}.")
        return self.values.astype(dtype or config.floatx())


def serialize(initializer: Any) -> dict[str, Any] | None:
    """The initializer in Keras 3's layout."""
    return None if initializer is None else _TABLE.serialize(initializer)


def deserialize(config: Mapping[str, Any]) -> Any:
    """The initializer of `{"class_name": ..., "config": {...}}`."""
    return _TABLE.deserialize(config)
