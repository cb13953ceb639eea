"""BatchNormalization, Normalization and Rescaling in a program."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.gpu import penalties
from fastconv.gpu.recorded import Recorded
from fastconv.kernels import cuda_batch_norm
from fastconv.kernels.cuda_strided import ADD, DIVIDE, MULTIPLY, ROOT, SUBTRACT, combine, copy
from fastconv.layers import BatchNormalization, Layer, Normalization, Rescaling
from fastconv.layers.layout import in_memory
from fastconv.layers.scaling import LEAST_DEVIATION
from fastconv.models.backward_plan import BackwardStep
from fastconv.variable import Variable


class _BatchNormalization(Recorded):
    """BatchNormalization."""

    @staticmethod
    def unsupported(layer: BatchNormalization) -> str | None:
        return penalties.unsupported(*(weight.regularizer for weight in layer.weights))

    def forward(self, x: Any, training: bool) -> Any:
        layer = self.layer
        axis = layer.axis % x.ndim
        self._order = (*(other for other in range(x.ndim) if other != axis), axis)
        images = self.contiguous(x.transpose(*self._order))
        rows = self._rows = images.reshape(math.prod(images.shape[:-1]), images.shape[-1])
        channels = rows.shape[1]
        self._mean, self._inverse = self.empty((channels,)), self.empty((channels,))
        self._gamma, beta = (None if weight is None else self._parameters.of(weight) for weight in self._scale)
        moving = self._parameters.of(layer.moving_mean), self._parameters.of(layer.moving_variance)
        self._in_training = training and layer.trainable
        if self._in_training:
            self._partial = self.empty(cuda_batch_norm.partial_shape(*rows.shape))
            made = self._partial, self._mean, self._inverse, moving
            self._recorder.add(cuda_batch_norm.moments(rows, *made, layer.momentum, layer.epsilon))
        else:
            self._recorder.add(cuda_batch_norm.still_moments(moving, self._mean, self._inverse, layer.epsilon))
        y = self.empty(images.shape)
        given = self._mean, self._inverse, self._gamma, beta, y.reshape(rows.shape)
        self._recorder.add(cuda_batch_norm.normalize(rows, *given))
        turned = self._turned_back(y)
        return turned if in_memory(turned).flags.c_contiguous else self.contiguous(turned)

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        images = self.contiguous(gy.transpose(*self._order))
        gy_rows, rows = images.reshape(self._rows.shape), self._rows
        total, product = self.empty(self._mean.shape), self.empty(self._mean.shape)
        if back.need_weight_grad or self._in_training:
            partial = self._partial if self._in_training else self.empty(cuda_batch_norm.partial_shape(*rows.shape))
            self._recorder.add(cuda_batch_norm.gradient_sums(gy_rows, rows, self._mean, partial, total, product))
        if back.need_weight_grad:
            gamma, beta = self._scale
            if gamma is not None:
                self._recorder.add(combine(MULTIPLY, product, self._inverse, self.gradient_of(gamma)))
            if beta is not None:
                self._recorder.add(copy(total, self.gradient_of(beta)))
            self.add_penalty_slopes(back)
        if not back.need_input_grad:
            return None
        statistics = self._mean, self._inverse, self._gamma
        sums = (total, product) if self._in_training else None
        gated = back.through_input_relu
        self._recorder.add(cuda_batch_norm.input_gradient(gy_rows, rows, statistics, sums, gy_rows, gated))
        return self._turned_back(images)

    @property
    def _scale(self) -> tuple[Any, Any]:
        return self.layer.gamma, self.layer.beta

    def _turned_back(self, images: Any) -> Any:
        """Images with the channels at the end as the layer's input has them."""
        return images.transpose(*map(self._order.index, range(images.ndim)))


class _Rescaling(Recorded):
    """Rescaling."""

    def forward(self, x: Any, training: bool) -> Any:
        y = self.like(x)
        self._scale, offset = map(self._recorder.memory.copied, self.layer.arrays)
        self._recorder.add(combine(MULTIPLY, x, self._scale, y))
        self._recorder.add(combine(ADD, y, offset, y))
        return y

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        self._recorder.add(combine(MULTIPLY, gy, self._scale, gy))
        return gy


class _Normalization(Recorded):
    """Normalization, whose mean and variance `adapt` may change between two steps."""

    def forward(self, x: Any, training: bool) -> Any:
        copied = self._recorder.memory.copied
        moments = [
            self._parameters.of(moment) if isinstance(moment, Variable) else copied(moment)
            for moment in self.layer.moments
        ]
        mean, variance = (moment.reshape(self.layer.moments_shape) for moment in moments)
        least = copied(np.array([LEAST_DEVIATION], np.float32))
        self._deviation = self.empty(variance.shape)
        self._recorder.add(combine(ROOT, variance, least, self._deviation))
        y = self.like(x)
        if self.layer.invert:
            self._recorder.add(combine(MULTIPLY, x, self._deviation, y))
            self._recorder.add(combine(ADD, y, mean, y))
        else:
            self._recorder.add(combine(SUBTRACT, x, mean, y))
            self._recorder.add(combine(DIVIDE, y, self._deviation, y))
        return y

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        if back.need_input_grad:
            self._recorder.add(combine(MULTIPLY if self.layer.invert else DIVIDE, gy, self._deviation, gy))
        return gy


CLASSES: dict[type[Layer], type[Recorded]] = {
    BatchNormalization: _BatchNormalization,
    Normalization: _Normalization,
    Rescaling: _Rescaling,
}
