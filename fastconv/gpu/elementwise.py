"""Activations in a program: how `cuda_activations` knows each, and their launches on images in any layout."""

from __future__ import annotations

import math
from typing import Any

from fastconv import activations
from fastconv.gpu.program import Recorder
from fastconv.gpu.recorded import Recorded
from fastconv.kernels import cuda_activations
from fastconv.layers.layout import in_memory

_INFINITY = math.inf

_CODES: dict[type, int] = {
    activations.Sigmoid: cuda_activations.SIGMOID,
    activations.Tanh: cuda_activations.TANH,
    activations.Softplus: cuda_activations.SOFTPLUS,
    activations.Softsign: cuda_activations.SOFTSIGN,
    activations.Exponential: cuda_activations.EXPONENTIAL,
    activations.HardSigmoid: cuda_activations.HARD_SIGMOID,
    activations.SiLU: cuda_activations.SILU,
    activations.HardSiLU: cuda_activations.HARD_SILU,
    activations.Mish: cuda_activations.MISH,
}


def code(activation: Any) -> tuple[int, tuple[float, float, float]] | None:
    """An elementwise activation as `cuda_activations` knows it; None for others."""
    kind = type(activation)
    if kind in (activations.ReLU, activations.ReLU6, activations.LeakyReLU):
        largest = _INFINITY if activation.max_value is None else activation.max_value
        return cuda_activations.RELU, (activation.negative_slope, largest, activation.threshold)
    if kind in (activations.ELU, activations.SELU):
        return cuda_activations.ELU, (activation.alpha, activation.scale, 0.0)
    if kind is activations.GELU:
        return (cuda_activations.GELU_TANH if activation.approximate else cuda_activations.GELU), (0.0, 0.0, 0.0)
    return None if kind not in _CODES else (_CODES[kind], (0.0, 0.0, 0.0))


def unknown(activation: Any) -> str | None:
    """Why an activation cannot run on a GPU, or None."""
    kind = type(activation)
    if kind is activations.Linear or code(activation) is not None:
        return None
    if is_softmax(activation):
        return None if activation.axis == -1 else f"{activation.name} along axis {activation.axis} is for the CPU"
    return f"the activation {activation.name} is for the CPU"


def is_softmax(activation: Any) -> bool:
    """Whether it looks at a whole row: a softmax, or its logarithm."""
    return type(activation) in (activations.Softmax, activations.LogSoftmax)


def activate(recorder: Recorder, activation: Any, x: Any, owner: Recorded, in_place: bool = True) -> Any:
    """y = activation(x): x itself where it is not needed any more."""
    if type(activation) is activations.Linear:
        return x
    y = x if in_place and not activation.needs_input else owner.like(x)
    if is_softmax(activation):
        log = type(activation) is activations.LogSoftmax
        recorder.add(cuda_activations.softmax(x, y, x.shape[-1], log))
    else:
        kind, parameters = code(activation)  # type: ignore[misc]
        recorder.add(cuda_activations.forward(kind, parameters, in_memory(x), in_memory(y)))
    return y


def slope(recorder: Recorder, activation: Any, gy: Any, y: Any, x: Any) -> Any:
    """gy times the activation's slope, in gy's memory."""
    if type(activation) is activations.Linear:
        return gy
    if is_softmax(activation):
        log = type(activation) is activations.LogSoftmax
        recorder.add(cuda_activations.softmax_backward(gy, y, gy, y.shape[-1], log))
    else:
        kind, parameters = code(activation)  # type: ignore[misc]
        memory = in_memory(gy)
        before = y if x is None else x
        recorder.add(cuda_activations.backward(kind, parameters, memory, in_memory(y), in_memory(before), memory))
    return gy
