"""Layers in a program that convolve or pool: their launches forward and backward.

A class below belongs to the class of layers whose `forward` and `backward` it stands for. Arrays are as the layers see
them: images of a channels_first model are (N, C, H, W) views of (N, H, W, C) memory.
"""

from __future__ import annotations

import copy
from typing import Any

from fastconv import activations
from fastconv.gpu import penalties
from fastconv.gpu.elementwise import activate, slope, unknown
from fastconv.gpu.penalties import Penalty
from fastconv.gpu.recorded import Recorded
from fastconv.kernels import cuda_global_max
from fastconv.kernels.cuda_strided import ADD, combine
from fastconv.kernels.registry import device_of
from fastconv.layers import Layer
from fastconv.layers.global_pooling import GlobalMaxPooling
from fastconv.layers.layout import in_memory
from fastconv.layers.pooling import Pooling
from fastconv.layers.separable import SeparableConv
from fastconv.layers.transpose import ConvTranspose
from fastconv.layers.weighted import KernelLayer
from fastconv.models.backward_plan import BackwardStep
from fastconv.models.plan import Step


class _Kernel(Recorded):
    """Dense and the layers that convolve."""

    @staticmethod
    def unsupported(layer: KernelLayer) -> str | None:
        regularizers = [weight.regularizer for weight in layer.weights]
        return penalties.unsupported(layer.activity_regularizer, *regularizers) or unknown(layer.activation)

    def forward(self, x: Any, training: bool) -> Any:
        layer = self.layer
        self._leading = x.shape[:-1]
        problem = self._problem = layer.as_problem(x.shape)
        images = self._images = self.contiguous(layer.as_images(x, problem.x_shape))
        output = self.empty(problem.y_shape)
        kernel = self._parameters.of(layer.kernel).reshape(problem.w_shape)
        bias = None if layer.bias is None else self._parameters.of(layer.bias)
        is_relu = activations.serialize(layer.activation) == "relu"
        fused = self._recorder.kernel(
            "conv2d", problem, images, kernel, bias, output, algorithm=_on_gpu(layer.algorithm), relu=is_relu or None
        )
        return self.activated(output, fused)

    def activated(self, output: Any, fused: bool) -> Any:
        """The layer's output from the convolution's; `fused` if the activation is in it already."""
        layer = self.layer
        output = layer.from_images(output, self._leading)
        self._before = output if layer.activation.needs_input else None
        y = self._y = output if fused else activate(self._recorder, layer.activation, output, self)
        self._activity: Penalty | None = None
        if layer.activity_regularizer is not None:  # for the penalty of each element its place is nothing
            self._activity = Penalty(self._recorder, layer.activity_regularizer, in_memory(y), len(y))
        return y

    def activity_penalties(self) -> list[Penalty]:
        """What the layer's output adds to the loss."""
        return [] if self._activity is None else [self._activity]

    def penalties(self) -> list[Penalty]:
        return self.activity_penalties() + super().penalties()

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        layer, problem = self.layer, self._problem
        gy = self.before_activation(gy, problem.y_shape, through_activation)
        if back.need_weight_grad:
            gw, *gb = map(self.gradient_of, layer.weights)
            bias = gb[0] if gb else None
            arrays = (self._images, gy, gw.reshape(problem.w_shape), bias)
            self._recorder.kernel("conv2d_backward_filter", problem, *arrays)
            self.add_penalty_slopes(back)
        if not back.need_input_grad:
            return None
        gx = self.empty(problem.x_shape)
        kernel = self._parameters.of(layer.kernel).reshape(problem.w_shape)
        relu = self._images if back.through_input_relu else None
        fused = self._recorder.kernel("conv2d_backward_data", problem, gy, kernel, gx, relu=relu)
        if back.through_input_relu and not fused:
            slope(self._recorder, activations.relu, gx, self._images, None, self)
        return layer.from_images(gx, self._leading)

    def before_activation(self, gy: Any, shape: tuple[int, int, int, int], through_activation: bool) -> Any:
        """The gradient for the convolution's output, of that shape, from that for the layer's."""
        if self._activity is not None:
            self._activity.add_slope(in_memory(gy))
        if through_activation:
            gy = slope(self._recorder, self.layer.activation, gy, self._y, self._before, self)
        return self.contiguous(self.layer.as_images(gy, shape))


class _Transpose(_Kernel):
    """The layers that are a convolution's gradient."""

    def forward(self, x: Any, training: bool) -> Any:
        layer = self.layer
        self._leading = x.shape[:-1]
        problem = self._problem = layer.as_problem(x.shape)
        images = self._images = self.contiguous(layer.as_images(x, problem.y_shape))
        output = self.empty(problem.x_shape)
        kernel = self._kernel = self._parameters.of(layer.kernel).reshape(problem.w_shape)
        self._recorder.kernel("conv2d_backward_data", problem, images, kernel, output)
        if layer.bias is not None:
            self._recorder.add(combine(ADD, output, self._parameters.of(layer.bias), output))
        return self.activated(output, fused=False)

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        layer, problem = self.layer, self._problem
        gy = self.before_activation(gy, problem.x_shape, through_activation)
        if back.need_weight_grad:
            gw, *gb = map(self.gradient_of, layer.weights)
            self._recorder.kernel(
                "conv2d_backward_filter", problem, gy, self._images, gw.reshape(problem.w_shape), None
            )
            for bias in gb:
                self._recorder.sum_over(gy, (0, 1, 2), bias)
            self.add_penalty_slopes(back)
        if not back.need_input_grad:
            return None
        gx = self.empty(problem.y_shape)
        self._recorder.kernel("conv2d", problem, gy, self._kernel, None, gx)
        if back.through_input_relu:
            slope(self._recorder, activations.relu, gx, self._images, None, self)
        return layer.from_images(gx, self._leading)


class _Separable(Recorded):
    """The layers that are two convolutions, one after the other."""

    def __init__(self, step: Step, network: Any) -> None:
        super().__init__(step, network)
        parts = self.layer.depthwise, self.layer.pointwise
        self._depthwise, self._pointwise = (
            _Kernel(Step(part, step.source, step.target, step.training), network) for part in parts
        )

    @staticmethod
    def unsupported(layer: SeparableConv) -> str | None:
        return _Kernel.unsupported(layer.depthwise) or _Kernel.unsupported(layer.pointwise)

    def forward(self, x: Any, training: bool) -> Any:
        return self._pointwise.forward(self._depthwise.forward(x, training), training)

    def penalties(self) -> list[Penalty]:
        return self._pointwise.activity_penalties() + super().penalties()

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        first, last = copy.copy(back), copy.copy(back)
        first.through_activation = False  # there is none
        last.need_input_grad, last.through_input_relu = True, False
        return self._depthwise.backward(self._pointwise.backward(gy, last, through_activation), first, False)


class _Pooling(Recorded):
    """Layers that pool."""

    def forward(self, x: Any, training: bool) -> Any:
        layer = self.layer
        self._problem = layer.as_problem(x.shape)
        self._leading = x.shape[:-1]
        self._images = self.contiguous(layer.as_images(x, self._problem.x_shape))
        y = self.empty(self._problem.y_shape)
        self._recorder.kernel(layer.op, self._problem, self._images, y, algorithm=_on_gpu(layer.algorithm))
        return layer.output_of(y)

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        if not back.need_input_grad:
            return None
        layer = self.layer
        gx = self.empty(self._problem.x_shape)
        arrays = layer.backward_arrays(self._images, layer.images_of(gy, self._problem.y_shape))
        relu = True if back.through_input_relu else None
        fused = self._recorder.kernel(f"{layer.op}_backward", self._problem, *arrays, gx, relu=relu)
        if back.through_input_relu and not fused:
            slope(self._recorder, activations.relu, gx, self._images, None, self)
        return layer.from_images(gx, self._leading)


class _GlobalMaxPooling(_Pooling):
    """Global max pooling, whose gradient equal maxima share."""

    def forward(self, x: Any, training: bool) -> Any:
        layer = self.layer
        self._problem, self._leading = layer.as_problem(x.shape), x.shape[:-1]
        self._images = self.contiguous(layer.as_images(x, self._problem.x_shape))
        self._largest = self.empty(self._problem.y_shape)
        self._recorder.kernel("max_pool2d", self._problem, self._images, self._largest)
        return layer.output_of(self._largest)

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        gx = self.empty(self._problem.x_shape)
        gy = self.layer.images_of(gy, self._problem.y_shape)
        self._recorder.add(cuda_global_max.global_max_backward(self._images, self._largest, gy, gx))
        return self.layer.from_images(gx, self._leading)


CLASSES: dict[type[Layer], type[Recorded]] = {
    KernelLayer: _Kernel,
    Pooling: _Pooling,
    ConvTranspose: _Transpose,
    GlobalMaxPooling: _GlobalMaxPooling,
    SeparableConv: _Separable,
}


def _on_gpu(algorithm: str) -> str:
    """A layer's choice, where it is of kernels for a GPU."""
    return algorithm if algorithm != "auto" and device_of(algorithm) == "gpu" else "auto"
