"""Resizing and CenterCrop: images of a given size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.buffers import FRESH, Buffers
from fastconv.layers.base import Shape
from fastconv.layers.convolution import positive
from fastconv.layers.interpolation import resample, taps
from fastconv.layers.layout import from_last, to_last
from fastconv.layers.spatial import SpatialLayer, read_interpolation
from fastconv.layers.tensor import is_symbolic
from fastconv.ops.arrays import resolve_data_format

Window = tuple[int, int, int, int]  # first row, first column, rows, columns


class ImageLayer(SpatialLayer):
    """Base of layers that prepare images, (N, H, W, C) or a single one, (H, W, C); or channels first.

    As in Keras, calling one, or a model with one, by hand is training for it unless `training=False` is given.

    Args:
        data_format: "channels_last" or "channels_first"; None for `config.image_data_format()`.
        options: as for `Layer`.
    """

    trains_by_default = True

    def __init__(self, data_format: str | None = None, **options: Any) -> None:
        self.data_format = resolve_data_format(data_format)
        if options.pop("bounding_box_format", None) is not None:
            raise ValueError(f"{type(self).__name__} takes images only: bounding_box_format must be None.")
        super().__init__(**options)

    def __call__(self, x: Any, training: bool | None = None) -> Any:
        """The output for a batch or for a single image, or for a tensor of a model."""
        if is_symbolic(x):
            return super().__call__(x, training)
        x = np.asarray(x)
        return super().__call__(x[np.newaxis], training)[0] if x.ndim == 3 else super().__call__(x, training)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        if len(tuple(input_shape)) == 3:
            return super().compute_output_shape((1, *input_shape))[1:]
        return super().compute_output_shape(input_shape)

    def new_sizes(self, sizes: Sequence[int | None]) -> Sequence[int | None]:
        return sizes

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class FixedSize(ImageLayer):
    """Base of layers whose outputs have `height` rows and `width` columns: a window of the image, resized."""

    interpolation = "bilinear"
    antialias = False

    def __init__(self, height: int, width: int, **options: Any) -> None:
        self.height, self.width = positive(height, "height"), positive(width, "width")
        super().__init__(**options)

    def new_sizes(self, sizes: Sequence[int | None]) -> Sequence[int | None]:
        return self.height, self.width

    def window(self, height: int, width: int, training: bool) -> Window:
        """The part of an image of that size that is taken."""
        return 0, 0, height, width

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        self.check_input_shape(x.shape)
        images = to_last(x, self.data_format)
        window = self.window(images.shape[1], images.shape[2], training)
        y = from_last(self.resized(images, window, buffers), self.data_format)
        self._saved = (y, images.shape, window)
        return y

    def resized(self, images: np.ndarray, window: Window, buffers: Buffers) -> np.ndarray:
        """The window of images (N, H, W, C), in the layer's size."""
        top, left, rows, columns = window
        part = images[:, top : top + rows, left : left + columns]
        if (rows, columns) == (self.height, self.width):
            return part
        vertical, horizontal = self.taps(window)
        return resample(part, vertical[0], horizontal[0], buffers, self, "output")

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        _, shape, window = saved
        gy = to_last(grad, self.data_format)
        top, left, rows, columns = window
        if (rows, columns) != (self.height, self.width):
            vertical, horizontal = self.taps(window)
            gy = resample(gy, vertical[1], horizontal[1], buffers, self, "window_grad")
        gx = buffers.empty(self, "input_grad", shape, grad.dtype)
        gx[...] = 0
        gx[:, top : top + rows, left : left + columns] = gy
        return from_last(gx, self.data_format)

    def taps(self, window: Window) -> Any:
        """What makes the output's rows and columns of the window's, and what their gradients take."""
        sizes = zip(window[2:], (self.height, self.width), strict=True)
        return [taps(size, new_size, self.interpolation, self.antialias) for size, new_size in sizes]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height": self.height, "width": self.width}


class CenterCrop(FixedSize):
    """The middle of images, `keras.layers.CenterCrop`; of smaller ones the largest middle part of that shape, enlarged.

    Args:
        height, width: of the output.
        data_format, options: as for `ImageLayer`.

    Raises:
        ValueError: `height` or `width` is no positive integer.
    """

    def __init__(self, height: int, width: int, data_format: str | None = None, **options: Any) -> None:
        super().__init__(height, width, data_format=data_format, **options)

    def window(self, height: int, width: int, training: bool) -> Window:
        if height >= self.height and width >= self.width:
            return (height - self.height) // 2, (width - self.width) // 2, self.height, self.width
        return largest_window(height, width, self.height, self.width)


class Resizing(FixedSize):
    """Images of another size, `keras.layers.Resizing`, in training and otherwise.

    Args:
        height, width: of the output.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos3" or "lanczos5".
        crop_to_aspect_ratio: whether to take the largest middle part of the output's shape, not to distort images.
        pad_to_aspect_ratio: whether to fill up the image to that shape instead.
        fill_mode, fill_value: "constant", and what is filled up with.
        antialias: whether pixels of smaller images are means of many.
        data_format, options: as for `ImageLayer`.

    Raises:
        ValueError: a bad size or an unknown option.
    """

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise ValueError("crop_to_aspect_ratio and pad_to_aspect_ratio cannot both be True.")
        if fill_mode != "constant":
            raise ValueError(f'fill_mode must be "constant"; received {fill_mode!r}.')
        self.interpolation = read_interpolation(interpolation)
        self.crop_to_aspect_ratio, self.pad_to_aspect_ratio = bool(crop_to_aspect_ratio), bool(pad_to_aspect_ratio)
        self.fill_mode, self.fill_value, self.antialias = fill_mode, fill_value, bool(antialias)
        super().__init__(height, width, data_format=data_format, **options)

    def window(self, height: int, width: int, training: bool) -> Window:
        if self.crop_to_aspect_ratio:
            return largest_window(height, width, self.height, self.width)
        return 0, 0, height, width

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        if not self.pad_to_aspect_ratio:
            return super().forward(x, training, buffers)
        self.check_input_shape(x.shape)
        images = to_last(x, self.data_format)
        N, H, W, C = images.shape
        top, left = self._before = self.margins(H, W)
        padded = buffers.empty(self, "padded", (N, H + 2 * top, W + 2 * left, C), x.dtype)
        padded[...] = self.fill_value
        padded[:, top : top + H, left : left + W] = images
        return super().forward(from_last(padded, self.data_format), training, buffers)

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        gx = super().input_gradient(grad, saved, buffers)
        if not self.pad_to_aspect_ratio:
            return gx
        images: Any = to_last(gx, self.data_format)
        (top, left), (_, H, W, _) = self._before, images.shape
        return from_last(images[:, top : H - top, left : W - left], self.data_format)

    def margins(self, height: int, width: int) -> tuple[int, int]:
        """Rows above and below, and columns at both sides, that bring an image to the output's shape."""
        rows = (max(height, int(width * self.height / self.width)) - height) // 2
        columns = (max(width, int(height * self.width / self.height)) - width) // 2
        return (rows, 0) if rows else (0, columns)

    def get_config(self) -> dict[str, Any]:
        config = {
            "interpolation": self.interpolation,
            "crop_to_aspect_ratio": self.crop_to_aspect_ratio,
            "pad_to_aspect_ratio": self.pad_to_aspect_ratio,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
            "antialias": self.antialias,
        }
        return {**super().get_config(), **config}


def largest_window(height: int, width: int, new_height: int, new_width: int) -> Window:
    """The largest part of an image, in its middle, of the shape of another size."""
    rows = max(min(height, int(width * new_height / new_width)), 1)
    columns = max(min(width, int(height * new_width / new_height)), 1)
    return (height - rows) // 2, (width - columns) // 2, rows, columns
