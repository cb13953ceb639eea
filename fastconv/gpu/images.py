"""Layers in a program that augment or resize images.

What is random in them is drawn on the host, with the CPU's numbers, and a few numbers an image go along with each
batch: the map that says where its pixels come from, or a factor. The device does the work on the pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.gpu.recorded import Recorded, Unsupported
from fastconv.kernels import cuda_affine, cuda_resample, cuda_strided, cuda_tone
from fastconv.layers import CenterCrop, Layer, RandomBrightness, RandomContrast, RandomCrop, RandomFlip, Resizing
from fastconv.layers.layout import from_last, last, to_last
from fastconv.layers.resizing import FixedSize, Window
from fastconv.layers.warping import RandomWarp
from fastconv.models.backward_plan import BackwardStep


class _Images(Recorded):
    """Base: a subclass writes `change` and `change_back` down for images (N, H, W, C)."""

    def forward(self, x: Any, training: bool) -> Any:
        self._changes = self.changes(training)
        return self._back(self.change(self._turned(x))) if self._changes else x

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        if not back.need_input_grad or not self._changes:
            return gy
        return self._back(self.change_back(self._turned(gy)))

    def changes(self, training: bool) -> bool:
        """Whether it does anything."""
        return training

    def change(self, images: Any) -> Any:
        """The output, contiguous, of contiguous images."""
        raise NotImplementedError

    def change_back(self, gy: Any) -> Any:
        """The images' gradient from the output's."""
        raise NotImplementedError

    @property
    def drawn(self) -> Any:
        """What was drawn for a step, on the device."""
        return self._network.numbers[id(self.step)]

    def read_at(self, images: Any, y: Any, *how: Any) -> None:
        """Write down: y from the images by maps that were drawn."""
        try:
            self._recorder.add(cuda_affine.affine(images, self.drawn, y, *how))
        except ValueError as error:
            raise Unsupported(f'the layer "{self.layer.name}" cannot run on a GPU: {error}') from error

    def _turned(self, x: Any) -> Any:
        return self.contiguous(to_last(x, self.layer.data_format))

    def _back(self, images: Any) -> Any:
        return from_last(images, self.layer.data_format)


class _Mapped(_Images):
    """Base of those that read images at other places: `maps` says where, see `cuda_affine`."""

    @staticmethod
    def maps(layer: Any, count: int, height: int, width: int) -> np.ndarray:
        """The maps of the next images, (count, 6)."""
        raise NotImplementedError

    @classmethod
    def numbers(cls, layer: Any, shape: Any) -> int:
        return cuda_affine.NUMBERS * shape[0]

    @classmethod
    def next_numbers(cls, layer: Any, shape: Any) -> Sequence[float]:
        maps = cls.maps(layer, *last(shape, layer.data_format)[:3])
        return cuda_affine.split(maps).reshape(-1)  # type: ignore[return-value]

    @property
    def _how(self) -> tuple[bool, str, float]:
        """Whether four pixels are weighted, and what there is beyond the edges."""
        return False, "nearest", 0.0

    def change(self, images: Any) -> Any:
        self._shape = images.shape
        _, rows, columns, _ = last(self.layer.compute_output_shape(self._back(images).shape), self.layer.data_format)
        y = self.empty((len(images), rows, columns, images.shape[-1]))
        self.read_at(images, y, *self._how)
        return y

    def change_back(self, gy: Any) -> Any:
        gx = self.empty(self._shape)
        self._recorder.add(cuda_affine.affine_backward(gy, self.drawn, gx, *self._how[:2]))
        return gx


class _Flip(_Mapped):
    """RandomFlip."""

    @staticmethod
    def maps(layer: RandomFlip, count: int, height: int, width: int) -> np.ndarray:
        flips = layer.flips(count, layer.next_generator())
        maps = np.tile([1.0, 0, 0, 0, 1, 0], (count, 1))
        rows, columns = layer.mirrored
        maps[flips] = [-1 if columns else 1, 0, (width - 1) * columns, 0, -1 if rows else 1, (height - 1) * rows]
        return maps


class _Warp(_Mapped):
    """RandomRotation, RandomTranslation and RandomZoom."""

    @staticmethod
    def maps(layer: RandomWarp, count: int, height: int, width: int) -> np.ndarray:
        return layer.maps(count, height, width, layer.next_generator())

    @property
    def _how(self) -> tuple[bool, str, float]:
        return self.layer.interpolation == "bilinear", self.layer.fill_mode, self.layer.fill_value


class _Tone(_Images):
    """Base of those with a number for each image, and limits."""

    _y: Any

    @classmethod
    def numbers(cls, layer: Any, shape: Any) -> int:
        return int(shape[0])

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest value of the output."""
        lowest, highest = self.layer.value_range
        return float(lowest), float(highest)

    def sums(self, images: Any) -> Any:
        """Those of the pixels of each channel, (N, C)."""
        sums = self.empty((len(images), images.shape[-1]))
        self._recorder.sum_over(images, (1, 2), sums)
        return sums

    def change_back(self, gy: Any) -> Any:
        self._recorder.add(cuda_tone.within(gy, self._y, gy, self.limits))
        return gy


class _Brightness(_Tone):
    """RandomBrightness."""

    @classmethod
    def next_numbers(cls, layer: RandomBrightness, shape: Any) -> Sequence[float]:
        return layer.added(shape[0], layer.next_generator())  # type: ignore[return-value]

    def change(self, images: Any) -> Any:
        self._y = self.empty(images.shape)
        self._recorder.add(cuda_tone.brighten(images, self.drawn, self._y, self.limits))
        return self._y


class _Contrast(_Tone):
    """RandomContrast."""

    @classmethod
    def next_numbers(cls, layer: RandomContrast, shape: Any) -> Sequence[float]:
        return layer.factors(shape[0], layer.next_generator())  # type: ignore[return-value]

    def change(self, images: Any) -> Any:
        self._y = self.empty(images.shape)
        self._recorder.add(cuda_tone.spread(images, self.drawn, self.sums(images), self._y, self.limits))
        return self._y

    def change_back(self, gy: Any) -> Any:
        gy = super().change_back(gy)
        self._recorder.add(cuda_tone.spread(gy, self.drawn, self.sums(gy), gy))
        return gy


class _FixedSize(_Images):
    """CenterCrop, and Resizing: a window of the images, each axis of which is resampled where its size is another."""

    def changes(self, training: bool) -> bool:
        self._training = training
        return True

    def change(self, images: Any) -> Any:
        self._shape = images.shape
        self._window = self.layer.window(*images.shape[1:3], self._training)
        part, sizes = images[:, *self._inside], (self.layer.height, self.layer.width)
        if self._window[2:] == sizes:
            return self.contiguous(part)
        return self._resampled(self.contiguous(part), sizes, 0)

    def change_back(self, gy: Any) -> Any:
        if self._window[2:] != gy.shape[1:3]:
            gy = self._resampled(gy, self._window[2:], 1)
        if self._shape == gy.shape:
            return gy
        gx = self.empty(self._shape)  # whose zeros nothing writes over
        self._recorder.add(cuda_strided.copy(gy, gx[:, *self._inside]))
        return gx

    @property
    def _inside(self) -> tuple[slice, slice]:
        top, left, rows, columns = self._window
        return slice(top, top + rows), slice(left, left + columns)

    def _resampled(self, images: Any, sizes: Sequence[int], direction: int) -> Any:
        for axis, (size, both) in enumerate(zip(sizes, self.layer.taps(self._window), strict=True), 1):
            taps = both[direction]
            places, weights = (
                self._recorder.memory.copied(table.astype(np.float32)) for table in (taps.places, taps.weights)
            )
            made = self.empty((*images.shape[:axis], size, *images.shape[axis + 1 :]))
            self._recorder.add(cuda_resample.along(images, axis, places, weights, made))
            images = made
        return images

    _window: Window


class _Resizing(_FixedSize):
    """Resizing."""

    def change(self, images: Any) -> Any:
        self._margins = (0, 0)
        if self.layer.pad_to_aspect_ratio:
            N, H, W, C = images.shape
            top, left = self._margins = self.layer.margins(H, W)
            shape = N, H + 2 * top, W + 2 * left, C
            padded = self._recorder.memory.copied(np.full(shape, self.layer.fill_value, np.float32))
            self._recorder.add(cuda_strided.copy(images, padded[:, top : top + H, left : left + W]))
            images = padded
        return super().change(images)

    def change_back(self, gy: Any) -> Any:
        gx, (top, left) = super().change_back(gy), self._margins
        return gx[:, top : gx.shape[1] - top, left : gx.shape[2] - left]


class _Crop(_FixedSize):
    """RandomCrop: where the part is drawn, by a map as other images are."""

    @classmethod
    def numbers(cls, layer: RandomCrop, shape: Any) -> int:
        return _Mapped.numbers(layer, shape) if layer.is_random(*last(shape, layer.data_format)[1:3]) else 0

    @classmethod
    def next_numbers(cls, layer: RandomCrop, shape: Any) -> Sequence[float]:
        count, height, width, _ = last(shape, layer.data_format)
        if not layer.is_random(height, width):
            return ()
        top, left, _, _ = layer.window(height, width, True)
        maps = np.tile([1.0, 0, left, 0, 1, top], (count, 1))
        return cuda_affine.split(maps).reshape(-1)  # type: ignore[return-value]

    def change(self, images: Any) -> Any:
        self._is_drawn = self._training and self.layer.is_random(*images.shape[1:3])
        if not self._is_drawn:
            return super().change(images)
        self._shape = images.shape
        y = self.empty((len(images), self.layer.height, self.layer.width, images.shape[-1]))
        self.read_at(images, y, False, "nearest", 0.0)
        return y

    def change_back(self, gy: Any) -> Any:
        if not self._is_drawn:
            return super().change_back(gy)
        gx = self.empty(self._shape)
        self._recorder.add(cuda_affine.affine_backward(gy, self.drawn, gx, False, "nearest"))
        return gx


CLASSES: dict[type[Layer], type[Recorded]] = {
    CenterCrop: _FixedSize,
    FixedSize: _FixedSize,
    RandomBrightness: _Brightness,
    RandomContrast: _Contrast,
    RandomCrop: _Crop,
    RandomFlip: _Flip,
    RandomWarp: _Warp,
    Resizing: _Resizing,
}
