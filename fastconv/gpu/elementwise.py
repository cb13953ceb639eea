"""Activations in a program, and the layers that are one: how the kernels know each, and launches in any layout."""

from __future__ import annotations

import math
from typing import Any

from fastconv import activations
from fastconv.gpu import penalties
from fastconv.gpu.along import Along
from fastconv.gpu.program import Recorder
from fastconv.gpu.recorded import Recorded
from fastconv.kernels import cuda_activations, cuda_prelu, cuda_softmax
from fastconv.layers import Activation, Layer, PReLU
from fastconv.layers.layout import from_last, in_memory
from fastconv.models.backward_plan import BackwardStep

_INFINITY = math.inf

# The kind, and which of the activation's numbers the kernel asks for.
_KINDS: dict[type, tuple[int, *tuple[str, ...]]] = {
    activations.ELU: (cuda_activations.ELU, "alpha", "scale"),
    activations.SELU: (cuda_activations.ELU, "alpha", "scale"),
    activations.Sigmoid: (cuda_activations.SIGMOID,),
    activations.Tanh: (cuda_activations.TANH,),
    activations.Softplus: (cuda_activations.SOFTPLUS,),
    activations.Softsign: (cuda_activations.SOFTSIGN,),
    activations.Exponential: (cuda_activations.EXPONENTIAL,),
    activations.HardSigmoid: (cuda_activations.HARD_SIGMOID,),
    activations.SiLU: (cuda_activations.SILU,),
    activations.HardSiLU: (cuda_activations.HARD_SILU,),
    activations.Mish: (cuda_activations.MISH,),
    activations.CELU: (cuda_activations.CELU, "alpha"),
    activations.HardShrink: (cuda_activations.SHRINK, "threshold"),
    activations.SoftShrink: (cuda_activations.SOFT_SHRINK, "threshold"),
    activations.SparsePlus: (cuda_activations.SPARSE_PLUS,),
    activations.LogSigmoid: (cuda_activations.LOG_SIGMOID,),
    activations.SparseSigmoid: (cuda_activations.SPARSE_SIGMOID,),
    activations.HardTanh: (cuda_activations.HARD_TANH,),
    activations.Threshold: (cuda_activations.THRESHOLD, "threshold", "default_value"),
    activations.SquarePlus: (cuda_activations.SQUARE_PLUS, "b"),
    activations.TanhShrink: (cuda_activations.TANH_SHRINK,),
}
_OF_ROWS: dict[type, int] = {
    activations.Softmax: cuda_softmax.SOFTMAX,
    activations.LogSoftmax: cuda_softmax.LOG_SOFTMAX,
    activations.Sparsemax: cuda_softmax.SPARSEMAX,
}


def code(activation: Any) -> tuple[int, tuple[float, float, float]] | None:
    """An elementwise activation as `cuda_activations` knows it; None for others."""
    kind = type(activation)
    if kind in (activations.ReLU, activations.ReLU6, activations.LeakyReLU):
        largest = _INFINITY if activation.max_value is None else activation.max_value
        return cuda_activations.RELU, (activation.negative_slope, largest, activation.threshold)
    if kind is activations.GELU:
        return (cuda_activations.GELU_TANH if activation.approximate else cuda_activations.GELU), (0.0, 0.0, 0.0)
    if kind not in _KINDS:
        return None
    number, *names = _KINDS[kind]
    a, b, c, *_ = [*(getattr(activation, name) for name in names), 0.0, 0.0, 0.0]
    return number, (a, b, c)


def unknown(activation: Any) -> str | None:
    """Why an activation cannot run on a GPU, or None."""
    kind = type(activation)
    if kind in (activations.Linear, activations.GLU) or kind in _OF_ROWS or code(activation) is not None:
        return None
    return f"the activation {activation.name} is for the CPU"


def activate(recorder: Recorder, activation: Any, x: Any, owner: Recorded, in_place: bool = True) -> Any:
    """y = activation(x): x itself where it is not needed any more."""
    kind = type(activation)
    if kind is activations.Linear:
        return x
    in_place = in_place and not activation.needs_input
    if kind is activations.GLU:
        return _gated(recorder, activation, x, owner)
    if kind in _OF_ROWS:
        along = Along(owner, x, _axes(activation))
        before = along.memory(x)
        after = before if in_place else owner.empty(before.shape)
        recorder.add(cuda_softmax.forward(_OF_ROWS[kind], before, after, along.rows))
        return along.back(after)
    y = x if in_place else owner.like(x)
    number, parameters = code(activation)  # type: ignore[misc]
    recorder.add(cuda_activations.forward(number, parameters, in_memory(x), in_memory(y)))
    return y


def slope(recorder: Recorder, activation: Any, gy: Any, y: Any, x: Any, owner: Recorded) -> Any:
    """gy times the activation's slope, in gy's memory where that can be."""
    kind = type(activation)
    if kind is activations.Linear:
        return gy
    if kind is activations.GLU:
        return _gated_slope(recorder, activation, gy, x, owner)
    if kind in _OF_ROWS:
        along = Along(owner, y, _axes(activation))
        memory = along.memory(gy)
        recorder.add(cuda_softmax.backward(_OF_ROWS[kind], memory, along.memory(y), memory, along.rows))
        return along.back(memory)
    number, parameters = code(activation)  # type: ignore[misc]
    memory = in_memory(gy)
    before = y if x is None else x
    recorder.add(cuda_activations.backward(number, parameters, memory, in_memory(y), in_memory(before), memory))
    return gy


def _axes(activation: Any) -> tuple[int, ...]:
    """Along which a softmax works."""
    return (activation.axis,) if isinstance(activation.axis, int) else tuple(activation.axis)


def _gated(recorder: Recorder, activation: Any, x: Any, owner: Recorded) -> Any:
    """What GLU makes of x."""
    memory = in_memory(x)
    is_first = memory is not x
    shape = list(memory.shape)
    axis = _axis_in_memory(activation.axis % x.ndim, x.ndim, is_first)
    shape[axis] //= 2
    y = owner.empty(tuple(shape))
    recorder.add(cuda_activations.glu(memory, y, math.prod(shape[axis:])))
    return from_last(y, "channels_first") if is_first else y


def _gated_slope(recorder: Recorder, activation: Any, gy: Any, x: Any, owner: Recorded) -> Any:
    """The gradient for what GLU took."""
    memory, gx = in_memory(gy), owner.like(x)
    axis = _axis_in_memory(activation.axis % x.ndim, x.ndim, memory is not gy)
    recorder.add(cuda_activations.glu_backward(memory, in_memory(x), in_memory(gx), math.prod(memory.shape[axis:])))
    return gx


def _axis_in_memory(axis: int, rank: int, is_first: bool) -> int:
    """Where an axis lies in memory, for images with the channels first in memory last."""
    return axis if not is_first or axis == 0 else rank - 1 if axis == 1 else axis - 1


class _Activation(Recorded):
    """Activation, ReLU, Softmax and the like."""

    @staticmethod
    def unsupported(layer: Activation) -> str | None:
        return unknown(layer.activation)

    def forward(self, x: Any, training: bool) -> Any:
        self._before = x
        self._y = activate(self._recorder, self.layer.activation, x, self, in_place=False)
        return self._y

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        if not through_activation:
            return gy
        return slope(self._recorder, self.layer.activation, gy, self._y, self._before, self)


class _PReLU(Recorded):
    """PReLU; alpha is spread over the batch and the axes that share it."""

    @staticmethod
    def unsupported(layer: PReLU) -> str | None:
        return penalties.unsupported(layer.alpha_regularizer)

    def forward(self, x: Any, training: bool) -> Any:
        self._x, y = x, self.like(x)
        self._alpha = self._parameters.of(self.layer.alpha)
        self._recorder.add(cuda_prelu.leak(x, self._alpha, y))
        return y

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        x, alpha = self._x, self.layer.alpha
        products = self.like(x) if back.need_weight_grad else None
        self._recorder.add(cuda_prelu.leak_backward(gy, x, self._alpha, gy, products))
        if products is not None:
            shared = sorted({0, *(self.layer.shared_axes or ())})
            order = (*shared, *(axis for axis in range(x.ndim) if axis not in shared))
            self._recorder.sum_over(
                self.contiguous(products.transpose(order)), range(len(shared)), self.gradient_of(alpha)
            )
            self.add_penalty_slopes(back)
        return gy


CLASSES: dict[type[Layer], type[Recorded]] = {Activation: _Activation, PReLU: _PReLU}
