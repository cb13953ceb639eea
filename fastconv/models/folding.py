"""Batch normalization folded into the convolution before it: inference reads and writes every activation once less.

Without training it is a factor and a summand for each channel, as a convolution's filters and bias are: the factors go
into the filters, the summands into the bias, and a ReLU behind it into the convolution as well. The folded weights are
made anew for each `predict` and `evaluate` of more than two batches, which make up for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import activations
from fastconv.buffers import Buffers
from fastconv.layers.activation import Activation
from fastconv.layers.layout import for_kernel
from fastconv.layers.normalization import BatchNormalization
from fastconv.layers.weighted import KernelLayer
from fastconv.ops.dispatch import keep


class Folded:
    """A layer that convolves, the batch normalization behind it and, perhaps, a ReLU, as one call.

    Args:
        convolution, norm: the two, built; the first without an activation.
        relu: whether a ReLU follows.
    """

    def __init__(self, convolution: KernelLayer, norm: BatchNormalization, relu: bool) -> None:
        self.convolution, self.norm, self.relu = convolution, norm, relu

    def forward(self, x: np.ndarray, training: bool, buffers: Buffers) -> np.ndarray:
        """The last one's output; as `Layer.forward`, within `dispatch.fixed_filters`."""
        layer = self.convolution
        problem = layer.as_problem(x.shape)
        images = for_kernel(layer.as_images(x, problem.x_shape), np.dtype(layer.dtype), buffers, layer, "input")
        kernel, bias = keep(self, self._weights)
        output, fused = layer.convolve(problem, images, kernel, bias, self.relu, True, buffers)
        if self.relu and not fused:
            activations.relu.forward(output, output)
        return layer.from_images(output, x.shape[:-1])

    def _weights(self) -> tuple[np.ndarray, np.ndarray]:
        """The filters, flat but for the last axis, and the bias."""
        layer, norm = self.convolution, self.norm
        factor = 1 / np.sqrt(norm.moving_variance.value.astype(np.float64) + norm.epsilon)
        if norm.gamma is not None:
            factor *= norm.gamma.value
        bias = -norm.moving_mean.value * factor
        if layer.bias is not None:
            bias += layer.bias.value * factor
        if norm.beta is not None:
            bias += norm.beta.value
        kernel = layer.kernel.value.reshape(-1, len(factor)) * factor.astype(layer.dtype)
        return kernel, bias.astype(layer.dtype)


def folded_calls(plan: Any) -> list[tuple[Any, Any, int, int]]:
    """The calls of a `ForwardPlan` with whatever can be folded in one: (step or None, what to call, source, target)."""
    following = {step.source: step for step in plan.steps if step.is_plain and plan.consumers[step.source] == 1}
    done: set[int] = set()
    calls: list[tuple[Any, Any, int, int]] = []
    for call in plan.fused_calls:
        step = plan.makers.get(call[3])
        if id(step) in done:
            continue
        norm = following.get(step.target)
        if norm is None or not _can_fold(step, norm.layer):
            calls.append(call)
            continue
        last, relu = norm, following.get(norm.target)
        is_relu = relu is not None and isinstance(relu.layer, Activation) and relu.layer.output_activation == "relu"
        if is_relu:
            last = relu
        done.update((id(norm), id(last)))
        calls.append((None, Folded(step.layer, norm.layer, is_relu), step.source, last.target))
    return calls


def _can_fold(step: Any, norm: Any) -> bool:
    layer = step.layer
    if type(norm) is not BatchNormalization or not step.is_plain or type(layer).forward is not KernelLayer.forward:
        return False
    axes = len(layer.output_shape)
    channels = 1 if getattr(layer, "data_format", None) == "channels_first" else axes - 1
    return layer.output_activation == "linear" and norm.axis % axes == channels
