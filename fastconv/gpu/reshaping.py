"""Layers in a program that give elements other places: views, and copies where memory has to have another order."""

from __future__ import annotations

import itertools
import math
from typing import Any

from fastconv.gpu.recorded import Recorded
from fastconv.kernels import cuda_strided
from fastconv.layers import Flatten, Identity, Layer, Permute, RepeatVector, Reshape, UpSampling2D
from fastconv.layers.layout import from_last, last, to_last
from fastconv.layers.spatial import Cropping, ZeroPadding, inside
from fastconv.models.plan import BackwardStep


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
    """UpSampling2D: one launch; and backward one for each of the pixels that a pixel becomes."""

    @staticmethod
    def unsupported(layer: UpSampling2D) -> str | None:
        return None if layer.interpolation == "nearest" else f"the interpolation {layer.interpolation} is for the CPU"

    def forward(self, x: Any, training: bool) -> Any:
        repeated = self.output_for(x)
        self._shape = self.turned(x).shape
        self._recorder.add(cuda_strided.copy(self.turned(x)[:, :, None, :, None], self._blocks(repeated)))
        return self.back(repeated)

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        blocks, gx = self._blocks(self.turned(gy)), self.empty(self._shape)
        for row, column in itertools.product(*map(range, self.layer.size)):
            part = blocks[:, :, row, :, column]
            first = (row, column) == (0, 0)
            self._recorder.add(
                cuda_strided.copy(part, gx) if first else cuda_strided.combine(cuda_strided.ADD, gx, part, gx)
            )
        return self.back(gx)

    def _blocks(self, repeated: Any) -> Any:
        N, H, W, C = self._shape
        rows, columns = self.layer.size
        return repeated.reshape(N, H, rows, W, columns, C)


CLASSES: dict[type[Layer], type[Recorded]] = {
    Cropping: _Cropping,
    Flatten: _Flatten,
    Identity: _Identity,
    Permute: _Permute,
    RepeatVector: _RepeatVector,
    Reshape: _Reshape,
    UpSampling2D: _UpSampling,
    ZeroPadding: _ZeroPadding,
}
