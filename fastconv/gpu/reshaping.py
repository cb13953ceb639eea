"""Layers in a program that give elements other places: views, and copies where memory has to have another order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.gpu.recorded import Recorded
from fastconv.kernels import cuda_resample, cuda_strided
from fastconv.layers import Flatten, Identity, Layer, Permute, RepeatVector, Reshape, UpSampling2D
from fastconv.layers.interpolation import taps
from fastconv.layers.layout import from_last, last, to_last
from fastconv.layers.spatial import Cropping, UpSampling, ZeroPadding, inside
from fastconv.models.backward_plan import BackwardStep


class _Identity(Recorded):
    """Identity."""

    def forward(self, x: Any, training: bool) -> Any:
        return x

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        return gy


class _Flatten(Recorded):
    """Flatten."""

    def forward(self, x: Any, training: bool) -> Any:
        self._x = x
        ordered = to_last(x, self.layer.data_format) if x.ndim > 2 else x
        return self.contiguous(ordered).reshape(len(x), math.prod(x.shape[1:]))

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        if self._x.ndim < 3:
            return gy.reshape(self._x.shape)
        data_format = self.layer.data_format
        return from_last(gy.reshape(last(self._x.shape, data_format)), data_format)


class _Reshape(Recorded):
    """Reshape."""

    def forward(self, x: Any, training: bool) -> Any:
        self._shape = x.shape
        return self.contiguous(x).reshape(self.layer.compute_output_shape(x.shape))

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        return gy.reshape(self._shape)


class _Permute(Recorded):
    """Permute."""

    def forward(self, x: Any, training: bool) -> Any:
        return self.contiguous(x.transpose(0, *self.layer.dims))

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        order = (0, *self.layer.dims)
        return gy.transpose(*map(order.index, range(len(order))))


class _RepeatVector(Recorded):
    """RepeatVector."""

    def forward(self, x: Any, training: bool) -> Any:
        y = self.empty((len(x), self.layer.n, x.shape[1]))
        self._recorder.add(cuda_strided.copy(x[:, None], y))
        return y

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        gx = self.empty((len(gy), gy.shape[2]))
        self._recorder.sum_over(gy, (1,), gx)
        return gx


class _Spatial(Recorded):
    """Base of the layers that change the sizes of images."""

    def output_for(self, x: Any) -> Any:
        """An output of zeros, channels last."""
        return self.empty(last(self.layer.compute_output_shape(x.shape), self.layer.data_format))

    def turned(self, x: Any) -> Any:
        """Images as a channels-last view."""
        return to_last(x, self.layer.data_format)

    def back(self, images: Any) -> Any:
        """The opposite view."""
        return from_last(images, self.layer.data_format)


class _ZeroPadding(_Spatial):
    """ZeroPadding2D: the zeros are there from the beginning, nothing writes over them."""

    def forward(self, x: Any, training: bool) -> Any:
        padded = self.output_for(x)
        self._recorder.add(cuda_strided.copy(self.turned(x), padded[inside(self.layer.sides)]))
        return self.back(padded)

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        return self.back(self.turned(gy)[inside(self.layer.sides)])


class _Cropping(_Spatial):
    """Cropping2D: the gradient's zeros are there from the beginning."""

    def forward(self, x: Any, training: bool) -> Any:
        self.layer.compute_output_shape(x.shape)
        self._shape = self.turned(x).shape
        return self.back(self.contiguous(self.turned(x)[inside(self.layer.sides)]))

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        gx = self.empty(self._shape)
        self._recorder.add(cuda_strided.copy(self.turned(gy), gx[inside(self.layer.sides)]))
        return self.back(gx)


class _UpSampling(_Spatial):
    """UpSampling1D and UpSampling2D: repeated by one launch, else an axis after the other; backward always so."""

    def forward(self, x: Any, training: bool) -> Any:
        images = self.contiguous(self.turned(x))
        sizes = zip(images.shape[1:-1], self.layer.factors, strict=True)
        method = getattr(self.layer, "interpolation", "nearest")
        self._taps = [taps(size, size * factor, method) for size, factor in sizes]
        if method != "nearest":
            return self.back(self._resampled(images, 0))
        repeated = self.output_for(x)
        N, *pixels, C = images.shape
        spread = [size for pixel in pixels for size in (pixel, 1)]
        blocks = [size for pair in zip(pixels, self.layer.factors, strict=True) for size in pair]
        self._recorder.add(cuda_strided.copy(images.reshape(N, *spread, C), repeated.reshape(N, *blocks, C)))
        return self.back(repeated)

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        return self.back(self._resampled(self.contiguous(self.turned(gy)), 1))

    def _resampled(self, images: Any, direction: int) -> Any:
        """Images in the output's size, or gradients in the input's: direction 1."""
        for axis, pair in enumerate(self._taps, 1):
            table = pair[direction]
            places, weights = (
                self._recorder.memory.copied(values.astype(np.float32)) for values in (table.places, table.weights)
            )
            y = self.empty((*images.shape[:axis], len(table.places), *images.shape[axis + 1 :]))
            self._recorder.add(cuda_resample.along(images, axis, places, weights, y))
            images = y
        return images


CLASSES: dict[type[Layer], type[Recorded]] = {
    Cropping: _Cropping,
    Flatten: _Flatten,
    Identity: _Identity,
    Permute: _Permute,
    RepeatVector: _RepeatVector,
    Reshape: _Reshape,
    UpSampling: _UpSampling,
    UpSampling2D: _UpSampling,
    ZeroPadding: _ZeroPadding,
}
