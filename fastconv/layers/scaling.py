"""Rescaling and Normalization: inputs in another range."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from fastconv import config as settings
from fastconv.buffers import FRESH, Buffers
from fastconv.layers.base import Shape, WeightlessLayer, gradient_out
from fastconv.layers.layout import empty_like
from fastconv.variable import Variable

LEAST_DEVIATION = 1e-7


class Rescaling(WeightlessLayer):
    """x * scale + offset, `keras.layers.Rescaling`: `Rescaling(1 / 255)` brings pixels into [0, 1].

    Args:
        scale, offset: numbers, or arrays that broadcast to a sample; a scale for each channel lies along the channels
            if `config.image_data_format()` is "channels_first", too.
        options: as for `Layer`.
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **options: Any) -> None:
        self.scale, self.offset = scale, offset
        super().__init__(**options)
        self._scale, self._offset = (np.asarray(value, self.dtype) for value in (scale, offset))
        if self._scale.ndim and settings.image_data_format() == "channels_first":
            self._scale = self._scale.reshape(*self._scale.shape, *(1,) * (3 - self._scale.ndim))

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Scale and offset, so that they broadcast to a batch."""
        return self._scale, self._offset

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        y = np.multiply(x, self._scale, out=empty_like(x, buffers, self, "output"))
        y += self._offset
        self._saved = (y,)
        return y

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        return np.multiply(grad, self._scale, out=gradient_out(grad, buffers))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": _as_config(self.scale), "offset": _as_config(self.offset)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return super().from_config({**config, **{key: _from_config(config.get(key)) for key in ("scale", "offset")}})


class Normalization(WeightlessLayer):
    """(x - mean) / sqrt(variance), `keras.layers.Normalization`, for given values or those of data: `adapt`.

    Args:
        axis: an axis, or several, each element along which has its own mean and variance; None for one of all.
        mean, variance: both or none: numbers, or arrays for the axes kept.
        invert: whether to undo it: x * sqrt(variance) + mean.
        options: as for `Layer`.

    Raises:
        ValueError: only one of mean and variance, or of another shape each; on build, an axis that the input has not,
            or of unknown size.
    """

    _by_data: tuple[Variable, Variable, Variable] | None = None

    def __init__(
        self,
        axis: int | Sequence[int] | None = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **options: Any,
    ) -> None:
        self.axis = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        if (mean is None) != (variance is None):
            raise ValueError(f"mean and variance must be given together; received {mean=}, {variance=}.")
        if np.shape(mean) != np.shape(variance) or np.ndim(mean) > len(self.axis):
            raise ValueError(
                f"mean and variance must have one shape, of at most {len(self.axis)} axes as axis has; received shapes "
                f"{np.shape(mean)} and {np.shape(variance)}."
            )
        self.input_mean, self.input_variance, self.invert = mean, variance, bool(invert)
        super().__init__(**options)

    def expected_shape(self) -> Shape | None:
        built = self.input_shape
        return built and tuple(size if i in self._kept(built) else None for i, size in enumerate(built))

    def make_weights(self, input_shape: Shape) -> None:
        rank = len(input_shape)
        if any(not -rank <= axis < rank for axis in self.axis):
            raise ValueError(f"{self._who}: inputs of shape {input_shape} have not all of axis={self.axis}.")
        sizes: Any = tuple(input_shape[axis] for axis in self._kept(input_shape))
        if None in sizes:
            raise ValueError(f"{self._who}: axis={self.axis} must have known sizes; received shape {input_shape}.")
        if self.input_mean is None:
            fixed = {"trainable": False}
            mean = self.add_weight(sizes, "zeros", name="mean", **fixed)
            variance = self.add_weight(sizes, "ones", name="variance", **fixed)
            count = self.add_weight((), "zeros", name="count", dtype="int32", **fixed)
            self._by_data = mean, variance, count
        else:
            given = (np.asarray(value, self.dtype) for value in (self.input_mean, self.input_variance))
            self._given = [np.broadcast_to(value, sizes) for value in given]

    def adapt(self, data: Any) -> None:
        """Take mean and variance from an array, or from an iterable of batches: arrays, or tuples that begin with one.

        Raises:
            ValueError: there are no batches, they have another shape than the layer was built for, or mean and
                variance were given.
            TypeError: `data` holds no arrays.
        """
        if self.input_mean is not None:
            raise ValueError(f"{self._who} was given mean and variance: it cannot adapt to data.")
        count, mean, squares = 0, np.zeros(()), np.zeros(())
        for batch in _batches(data):
            self.check_input_shape(batch.shape)
            self.build((None, *batch.shape[1:]))
            kept = self._kept(batch.shape)
            others = tuple(axis for axis in range(batch.ndim) if axis not in kept)
            now = batch.size // max(1, int(np.prod([batch.shape[axis] for axis in kept])))
            if not now:
                continue
            wide = batch.astype(np.float64)
            delta, share = wide.mean(axis=others) - mean, now / (count + now)
            squares = squares + wide.var(axis=others) * now + delta**2 * count * share
            mean, count = mean + delta * share, count + now
        if not count:
            raise ValueError(f"{self._who}: adapt() needs data; received none.")
        assert self._by_data is not None  # noqa: S101  built, without given values
        self._by_data[0].assign(mean)
        self._by_data[1].assign(squares / count)

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        mean, deviation = self._moments(x.ndim)
        out = empty_like(x, buffers, self, "output")
        if self.invert:
            y = np.multiply(x, deviation, out=out)
            y += mean
        else:
            y = np.subtract(x, mean, out=out)
            y /= deviation
        self._saved = (y, deviation)
        return y

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        change = np.multiply if self.invert else np.divide
        return change(grad, saved[1], out=gradient_out(grad, buffers))

    def get_config(self) -> dict[str, Any]:
        given = {"mean": np.array(self.input_mean).tolist(), "variance": np.array(self.input_variance).tolist()}
        return {**super().get_config(), "axis": self.axis, "invert": self.invert, **given}

    def _kept(self, shape: Sequence[int | None]) -> tuple[int, ...]:
        return tuple(sorted(axis % len(shape) for axis in self.axis))

    @property
    def moments(self) -> Sequence[Any]:
        """The mean and the variance: arrays where they were given, else weights; of the axes kept."""
        return self._given if self._by_data is None else self._by_data[:2]

    @property
    def moments_shape(self) -> Shape:
        """The shape in which they broadcast to a batch."""
        kept = self._kept(self.input_shape)
        return tuple(size if i in kept else 1 for i, size in enumerate(self.input_shape))

    def _moments(self, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """The mean and the standard deviation, of as many axes as the input."""
        self.require_built()
        if rank != len(self.input_shape):
            raise ValueError(f"{self._who} expects inputs of shape {self.input_shape}; received ones of {rank} axes.")
        mean, variance = (moment.value if isinstance(moment, Variable) else moment for moment in self.moments)
        shape: Any = self.moments_shape
        return mean.reshape(shape), np.maximum(np.sqrt(variance), variance.dtype.type(LEAST_DEVIATION)).reshape(shape)


def _batches(data: Any) -> Iterator[np.ndarray]:
    """Arrays from an array or an iterable of batches."""
    if not hasattr(data, "shape") and not isinstance(data, Iterable):
        raise TypeError(f"data must be an array or an iterable of batches; received {type(data).__name__}.")
    for batch in [data] if hasattr(data, "shape") else data:
        array = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
        if not hasattr(array, "shape"):
            raise TypeError(f"data must yield arrays; received an element of type {type(array).__name__}.")
        yield np.asarray(array)


def _as_config(value: Any) -> Any:
    """A number or list as it is, an array as Keras 3 writes one."""
    if isinstance(value, np.ndarray):
        return {"class_name": "__numpy__", "config": {"value": value.tolist(), "dtype": value.dtype.name}}
    return value.item() if isinstance(value, np.generic) else value


def _from_config(value: Any) -> Any:
    if isinstance(value, Mapping):
        return np.array(value["config"]["value"], value["config"]["dtype"])
    return value
