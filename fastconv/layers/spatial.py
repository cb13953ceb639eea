"""ZeroPadding2D, Cropping2D and UpSampling2D: images of another size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastconv.buffers import FRESH, Buffers
from fastconv.layers.base import Shape, WeightlessLayer
from fastconv.layers.interpolation import INTERPOLATIONS, resample, taps
from fastconv.layers.layout import from_last, last, to_last, unlast
from fastconv.layers.windows import axis_sizes
from fastconv.ops.arrays import resolve_data_format

Sides = tuple[tuple[int, int], ...]


class SpatialLayer(WeightlessLayer):
    """Base of layers that change the sizes between N and C; a subclass says how: `new_sizes`, `forward`."""

    rank = 2
    data_format: str

    def expected_shape(self) -> Shape:
        return (None,) * (self.rank + 2)

    def new_sizes(self, sizes: Sequence[int | None]) -> Sequence[int | None]:
        """The output's sizes without N and C, of an input with those; ValueError for one that does not suit."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = self.check_input_shape(input_shape)
        batch, *sizes, channels = last(shape, self.data_format)
        try:
            return unlast((batch, *self.new_sizes(sizes), channels), self.data_format)
        except ValueError as error:
            raise ValueError(f"{self._who}, inputs of shape {shape}: {error}") from error

    def empty(self, x: np.ndarray, buffers: Buffers) -> np.ndarray:
        """An uninitialised output for the input x, channels last."""
        shape: Any = last(self.compute_output_shape(x.shape), self.data_format)
        return buffers.empty(self, "output", shape, x.dtype)


class ZeroPadding(SpatialLayer):
    """Base of ZeroPadding2D and ZeroPadding1D: `sides` is the zeros before and after, for each axis."""

    sides: Sides

    def new_sizes(self, sizes: Sequence[int | None]) -> Sequence[int | None]:
        return [size and size + sum(sides) for size, sides in zip(sizes, self.sides, strict=True)]

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        padded = self.empty(x, buffers)
        for axis, (before, after) in enumerate(self.sides, 1):
            line = np.moveaxis(padded, axis, 0)
            line[:before] = 0
            line[len(line) - after :] = 0
        padded[inside(self.sides)] = to_last(x, self.data_format)
        y = from_last(padded, self.data_format)
        self._saved = (y,)
        return y

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        return from_last(to_last(grad, self.data_format)[inside(self.sides)], self.data_format)


class ZeroPadding2D(ZeroPadding):
    """Zeros around images, `keras.layers.ZeroPadding2D`.

    Args:
        padding: an integer for all sides, a (height, width) pair, or ((top, bottom), (left, right)).
        data_format: "channels_last" or "channels_first"; None for `config.image_data_format()`.
        options: as for `Layer`.

    Raises:
        ValueError: `padding` has another form.
    """

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **options: Any) -> None:
        self.padding = self.sides = four_sides(padding, "padding")
        self.data_format = resolve_data_format(data_format)
        super().__init__(**options)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": self.padding, "data_format": self.data_format}


class Cropping(SpatialLayer):
    """Base of Cropping2D and Cropping1D: `sides` is what is cut off before and after, for each axis."""

    sides: Sides

    def new_sizes(self, sizes: Sequence[int | None]) -> Sequence[int | None]:
        if any(size is not None and sum(sides) >= size for size, sides in zip(sizes, self.sides, strict=True)):
            raise ValueError(f"cropping must leave something of each axis; received cropping={self.sides}.")
        return [size and size - sum(sides) for size, sides in zip(sizes, self.sides, strict=True)]

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        self.compute_output_shape(x.shape)
        images = to_last(x, self.data_format)
        y = from_last(images[inside(self.sides)], self.data_format)
        self._saved = (y, images.shape)
        return y

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        gx = buffers.empty(self, "input_grad", saved[1], grad.dtype)
        gx[...] = 0
        gx[inside(self.sides)] = to_last(grad, self.data_format)
        return from_last(gx, self.data_format)


class Cropping2D(Cropping):
    """Images without their edges, `keras.layers.Cropping2D`.

    Args:
        cropping: an integer for all sides, a (height, width) pair, or ((top, bottom), (left, right)).
        data_format: "channels_last" or "channels_first"; None for `config.image_data_format()`.
        options: as for `Layer`.

    Raises:
        ValueError: `cropping` has another form; on build, nothing would be left.
    """

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **options: Any) -> None:
        self.cropping = self.sides = four_sides(cropping, "cropping")
        self.data_format = resolve_data_format(data_format)
        super().__init__(**options)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cropping": self.cropping, "data_format": self.data_format}


class UpSampling(SpatialLayer):
    """Base of UpSampling2D and UpSampling1D: `factors` is how often each element is repeated, for each axis."""

    factors: tuple[int, ...]

    def new_sizes(self, sizes: Sequence[int | None]) -> Sequence[int | None]:
        return [size and size * factor for size, factor in zip(sizes, self.factors, strict=True)]

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        repeated = self.empty(x, buffers)
        images = to_last(x, self.data_format)
        blocks, between = self._blocks(repeated)
        blocks[...] = np.expand_dims(images, between)
        y = from_last(repeated, self.data_format)
        self._saved = (y, images.shape)
        return y

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        blocks, between = self._blocks(to_last(grad, self.data_format))
        gx = buffers.empty(self, "input_grad", saved[1], grad.dtype)
        return from_last(blocks.sum(axis=between, out=gx), self.data_format)

    def _blocks(self, repeated: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
        """A channels-last array with an axis for each repetition, and the numbers of those axes."""
        N, *sizes, C = repeated.shape
        split = [part for size, factor in zip(sizes, self.factors, strict=True) for part in (size // factor, factor)]
        return repeated.reshape(N, *split, C), tuple(range(2, 2 * self.rank + 1, 2))


class UpSampling2D(UpSampling):
    """Larger images, `keras.layers.UpSampling2D`.

    Args:
        size: how many times as large: an integer or a (height, width) pair.
        data_format: "channels_last" or "channels_first"; None for `config.image_data_format()`.
        interpolation: "nearest", which repeats pixels, "bilinear", "bicubic", "lanczos3" or "lanczos5".
        options: as for `Layer`.

    Raises:
        ValueError: a bad size or an unknown interpolation.
    """

    def __init__(
        self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest", **options: Any
    ) -> None:
        self.size = self.factors = axis_sizes(size, "size", 2)
        self.data_format = resolve_data_format(data_format)
        self.interpolation = read_interpolation(interpolation)
        super().__init__(**options)

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        if self.interpolation == "nearest":
            return super().forward(x, training, buffers)
        self.compute_output_shape(x.shape)
        images = to_last(x, self.data_format)
        (rows, _), (columns, _) = self._taps(images.shape)
        y = from_last(resample(images, rows, columns, buffers, self, "output"), self.data_format)
        self._saved = (y, images.shape)
        return y

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        if self.interpolation == "nearest":
            return super().input_gradient(grad, saved, buffers)
        (_, rows), (_, columns) = self._taps(saved[1])
        gy = to_last(grad, self.data_format)
        return from_last(resample(gy, rows, columns, buffers, self, "input_grad"), self.data_format)

    def _taps(self, shape: tuple[int, ...]) -> Any:
        return [taps(shape[i], shape[i] * self.size[i - 1], self.interpolation) for i in (1, 2)]

    def get_config(self) -> dict[str, Any]:
        config = {"size": self.size, "data_format": self.data_format, "interpolation": self.interpolation}
        return {**super().get_config(), **config}


def four_sides(value: Any, name: str) -> Sides:
    """An integer, a (height, width) pair or ((top, bottom), (left, right)) in the last form; ValueError for others."""
    pair = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value, value)
    try:
        rows, columns = (axis_sizes(sides, name, 2, 0) for sides in pair)
    except ValueError:
        raise ValueError(
            f"{name} must be an integer, a (height, width) pair or ((top, bottom), (left, right)), none negative; "
            f"received {value!r}."
        ) from None
    return ((rows[0], rows[1]), (columns[0], columns[1]))


def read_interpolation(interpolation: Any) -> str:
    """The name of an interpolation in small letters; ValueError for an unknown one."""
    name = interpolation.lower() if isinstance(interpolation, str) else interpolation
    if name not in INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}; received {interpolation!r}.")
    return name


def inside(sides: Sides) -> tuple[slice, ...]:
    """The part of a channels-last array without so many elements at its sides."""
    return (slice(None), *(slice(before, -after or None) for before, after in sides))
