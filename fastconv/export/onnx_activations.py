"""Activations as ONNX nodes: a function for each name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fastconv.export.onnx_graph import OnnxGraph

Convert = Callable[[OnnxGraph, Any, str], str]


def convert_activation(graph: OnnxGraph, activation: Any, x: str) -> str:
    """The nodes for an activation, behind those that make x.

    Raises:
        ValueError: there are none for it; the message lists those that there are.
    """
    convert = _TABLE.get(activation.name)
    if convert is None:
        raise ValueError(f"the activation {activation.name!r} has no ONNX form here. There are {', '.join(_TABLE)}.")
    return convert(graph, activation, x)


def is_elementwise(activation: Any) -> bool:
    """Whether each output depends on one input alone."""
    return activation.name not in ("softmax", "log_softmax", "sparsemax")


def relu(graph: OnnxGraph, activation: Any, x: str) -> str:
    """Of any threshold, slope and maximum."""
    if activation.threshold == 0:
        y = (
            graph.op("LeakyRelu", [x], alpha=float(activation.negative_slope))
            if activation.negative_slope
            else graph.op("Relu", [x])
        )
    else:
        limit = graph.constant(activation.threshold)
        below = graph.op("Mul", [graph.op("Sub", [x, limit]), graph.constant(activation.negative_slope)])
        y = graph.op("Where", [graph.op("LessOrEqual", [x, limit]), below, x])
    return y if activation.max_value is None else graph.op("Min", [y, graph.constant(activation.max_value)])


def gelu(graph: OnnxGraph, activation: Any, x: str) -> str:
    """x times half of 1 + erf(x / sqrt(2)), or of the tanh that is near it."""
    if activation.approximate:
        cube = graph.op("Mul", [graph.op("Mul", [x, x]), graph.op("Mul", [x, graph.constant(0.044715)])])
        inner = graph.op("Mul", [graph.op("Add", [x, cube]), graph.constant(math.sqrt(2 / math.pi))])
        curve = graph.op("Tanh", [inner])
    else:
        curve = graph.op("Erf", [graph.op("Mul", [x, graph.constant(math.sqrt(0.5))])])
    half = graph.op("Mul", [graph.op("Add", [curve, graph.constant(1.0)]), graph.constant(0.5)])
    return graph.op("Mul", [x, half])


def softmax(graph: OnnxGraph, activation: Any, x: str) -> str:
    """Along one axis, or several."""
    if isinstance(activation.axis, int):
        return graph.op("Softmax", [x], axis=activation.axis)
    axes = list(activation.axis)
    shifted = graph.op("Exp", [graph.op("Sub", [x, graph.op("ReduceMax", [x], axes=axes)])])
    sums = graph.op("ReduceSum", [shifted, graph.constant(axes, "int64")])
    return graph.op("Div", [shifted, sums])


def _node(kind: str, *keys: str) -> Convert:
    """One node whose attributes are the activation's."""
    return lambda graph, activation, x: graph.op(kind, [x], **{key: float(getattr(activation, key)) for key in keys})


def _hard_sigmoid(graph: OnnxGraph, activation: Any, x: str) -> str:
    return graph.op("HardSigmoid", [x], alpha=1 / 6, beta=0.5)


def _times(gate: Convert) -> Convert:
    """x times what `gate` makes of it."""
    return lambda graph, activation, x: graph.op("Mul", [x, gate(graph, activation, x)])


_softplus = _node("Softplus")

_TABLE: dict[str, Convert] = {
    "linear": lambda graph, activation, x: x,
    "relu": relu,
    "relu6": relu,
    "leaky_relu": relu,
    "elu": _node("Elu", "alpha"),
    "selu": _node("Selu"),
    "celu": _node("Celu", "alpha"),
    "softmax": softmax,
    "log_softmax": lambda graph, activation, x: graph.op("LogSoftmax", [x], axis=activation.axis),
    "sigmoid": _node("Sigmoid"),
    "log_sigmoid": lambda graph, activation, x: graph.op("Neg", [graph.op("Softplus", [graph.op("Neg", [x])])]),
    "tanh": _node("Tanh"),
    "tanh_shrink": lambda graph, activation, x: graph.op("Sub", [x, graph.op("Tanh", [x])]),
    "softplus": _softplus,
    "softsign": _node("Softsign"),
    "exponential": _node("Exp"),
    "hard_sigmoid": _hard_sigmoid,
    "hard_tanh": lambda graph, activation, x: graph.op("Clip", [x, graph.constant(-1.0), graph.constant(1.0)]),
    "hard_shrink": lambda graph, activation, x: graph.op("Shrink", [x], lambd=float(activation.threshold)),
    "soft_shrink": lambda graph, activation, x: graph.op(
        "Shrink", [x], lambd=float(activation.threshold), bias=float(activation.threshold)
    ),
    "silu": _times(_node("Sigmoid")),
    "hard_silu": _times(_hard_sigmoid),
    "gelu": gelu,
    "mish": _times(lambda graph, activation, x: graph.op("Tanh", [_softplus(graph, activation, x)])),
}
