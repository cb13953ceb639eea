"""A first convolution, its ReLU and the max pooling behind it as one call each way, and one pass over memory.

The convolution's output is the largest array of many networks, and all that is needed of it is each window's maximum
and, to go back, which pixel that was. In training only a convolution is fused whose input needs no gradient; whoever
looks at layers one by one (a GPU's programs, an inner layer's output) never meets a fused call.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastconv.buffers import FRESH, Buffers
from fastconv.kernels import ConvPool2DProblem
from fastconv.layers.convolution import Conv
from fastconv.layers.layout import for_kernel
from fastconv.layers.pooling import MaxPooling
from fastconv.layers.weighted import KernelLayer
from fastconv.ops.dispatch import kernel_for, run
from fastconv.variable import Variable

_FORWARD, _BACKWARD = "conv2d_max_pool2d", "conv2d_max_pool2d_backward_filter"
_SLOW = ("cpu_naive", "reference")  # the two ops one after the other are faster


class ConvPool:
    """The two layers as one; for shapes that no fused kernel is for, one after the other.

    Args:
        convolution, pool: the layers, built; see `can_fuse`.
    """

    def __init__(self, convolution: Conv, pool: MaxPooling) -> None:
        self.convolution, self.pool = convolution, pool
        self.name = f"{convolution.name} + {pool.name}"
        self._problems: dict[tuple[tuple[int, ...], bool], ConvPool2DProblem | None] = {}
        self._saved: Any = None

    @property
    def weights(self) -> list[Variable]:
        """The convolution's."""
        return self.convolution.weights

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        """The pooled output; as `Layer.forward`."""
        layer, pool = self.convolution, self.pool
        problem = self.as_problem(x.shape, training)
        if problem is None:
            self._saved = None, None, x.shape
            return pool.forward(layer.forward(x, training, buffers), training, buffers)
        images = for_kernel(layer.as_images(x, problem.x_shape), np.dtype(layer.dtype), buffers, layer, "input")
        y = buffers.empty(pool, "output", problem.y_shape, layer.dtype)
        winners = buffers.empty(pool, "winners", problem.y_shape, layer.dtype) if training else None
        bias = None if layer.bias is None else layer.bias.value
        relu = True if layer.output_activation == "relu" else None
        run(_FORWARD, problem, images, layer.kernel.value.reshape(problem.w_shape), bias, y, winners, relu=relu)
        self._saved = images, winners, x.shape
        return pool.output_of(y)

    def backward(
        self, grad: np.ndarray, buffers: Buffers = FRESH, *, through_activation: bool = True, **_: bool
    ) -> None:
        """Fill the gradients of the convolution's weights from that of the pooled output."""
        layer, pool = self.convolution, self.pool
        images, winners, shape = self._saved
        problem = self._problems[shape, True]
        if problem is None:
            relu = layer.output_activation == "relu"
            gradient = pool.backward(grad, buffers, through_input_relu=relu)
            layer.backward(gradient, buffers, need_input_grad=False, through_activation=not relu)  # type: ignore[arg-type]
            return
        gy = for_kernel(pool.images_of(grad, problem.y_shape), np.dtype(layer.dtype), buffers, pool, "grad")
        gw = layer.gradient_array(layer.kernel).reshape(problem.w_shape)
        gb = None if layer.bias is None else layer.gradient_array(layer.bias)
        run(_BACKWARD, problem, images, gy, winners, gw, gb)
        layer.add_penalty_gradients()

    def as_problem(self, x_shape: tuple[int, ...], training: bool) -> ConvPool2DProblem | None:
        """What the fused kernels get for an input of that shape; None where there are none that pay."""
        key = x_shape, training
        if key not in self._problems:
            self._problems[key] = self._make_problem(x_shape, training)
        return self._problems[key]

    def ops(self, x_shape: tuple[int, ...]) -> list[tuple[str, Any]]:
        """(op, problem) of all kernels that a training step calls, forward and then backward."""
        problem = self.as_problem(x_shape, True)
        if problem is not None:
            return [(_FORWARD, problem), (_BACKWARD, problem)]
        convolution = self.convolution.as_problem(x_shape)
        pool = self.pool.make_problem(convolution.y_shape)
        return [
            ("conv2d", convolution),
            (self.pool.op, pool),
            (f"{self.pool.op}_backward", pool),
            ("conv2d_backward_filter", convolution),
        ]

    def _make_problem(self, x_shape: tuple[int, ...], training: bool) -> ConvPool2DProblem | None:
        convolution = self.convolution.as_problem(x_shape)
        windows = self.pool.make_problem(convolution.y_shape)
        if any((windows.pad_top, windows.pad_bottom, windows.pad_left, windows.pad_right)):
            return None
        problem = ConvPool2DProblem.pooled(convolution, (windows.R, windows.S))
        ops = (_FORWARD, _BACKWARD) if training else (_FORWARD,)
        return None if any(kernel_for(op, problem).name in _SLOW for op in ops) else problem


def can_fuse(convolution: Any, pool: Any) -> bool:
    """Whether two layers, the second behind the first, may be a `ConvPool`."""
    return (
        isinstance(convolution, Conv)
        and isinstance(pool, MaxPooling)
        and type(convolution).forward is KernelLayer.forward
        and type(convolution).backward is KernelLayer.backward
        and (type(pool).forward, type(pool).backward) == (MaxPooling.forward, MaxPooling.backward)
        and convolution.output_activation in ("linear", "relu")
        and (convolution.algorithm, pool.algorithm) == ("auto", "auto")
        and (convolution.rank, convolution.data_format, convolution.dtype) == (pool.rank, pool.data_format, pool.dtype)
        and pool.strides == pool.pool_size
    )


def pairs(plan: Any) -> dict[int, tuple[Any, Any]]:
    """id of a step -> (that step, the one behind it) for all steps of a `ForwardPlan` that can be fused."""
    following = {step.source: step for step in plan.steps if step.is_plain and plan.consumers[step.source] == 1}
    found = {}
    for step in plan.steps:
        pool = following.get(step.target)
        if pool is not None and step.is_plain and can_fuse(step.layer, pool.layer):
            found[id(step)] = step, pool
    return found


def fused(calls: Iterable[tuple[Any, Any, Any, int]], steps: Iterable[tuple[Any, Any, Any]]) -> list[Any]:
    """A plan's calls with each pair's replaced by one; steps: of each pair, and what takes its place."""
    first = {convolution.target: made for convolution, _, made in steps}
    last = {made.target for made in first.values()}
    result = []
    for call in calls:
        target = call[3]
        if target in first:
            made = first[target]
            result.append((None, made.layer, made.source, made.target))
        elif target not in last:
            result.append(call)
    return result
