"""Layers without windows as ONNX nodes: dense ones, activations, reshaping, merging."""

from __future__ import annotations

from typing import Any

from fastconv.export.onnx_activations import convert_activation, is_elementwise
from fastconv.export.onnx_graph import OnnxGraph
from fastconv.export.onnx_table import Convert, converts


# What inference leaves as it is.
@converts(
    "Identity",
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "GaussianNoise",
    "GaussianDropout",
    "AlphaDropout",
    "ActivityRegularization",
    "RandomImageLayer",
)
def _nothing(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    return x


@converts("Dense")
def _dense(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    y = graph.op("MatMul", [x, graph.constant(layer.kernel.value)])
    if layer.use_bias:
        y = graph.op("Add", [y, graph.constant(layer.bias.value)])
    return convert_activation(graph, layer.activation, y)


@converts("Activation")  # and ReLU, LeakyReLU, ELU, Softmax
def _activation(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    activation = layer.activation
    if not is_elementwise(activation):
        return convert_activation(graph, activation, x)
    return graph.elementwise(lambda value: convert_activation(graph, activation, value), x, rank=len(shape))


@converts("PReLU")
def _prelu(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    return graph.op("PRelu", [x, graph.constant(layer.alpha.value)])


@converts("Flatten")
def _flatten(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    if layer.data_format == "channels_first" and len(shape) > 2:
        x = graph.op("Transpose", [x], perm=[0, *range(2, len(shape)), 1])
    return graph.op("Reshape", [x, graph.constant([0, -1] if len(shape) > 1 else [-1, 1], "int64")])


@converts("Reshape")
def _reshape(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    sizes = layer.compute_output_shape(shape)[1:]
    target = [-1, *sizes] if None not in sizes else [0, *layer.target_shape]
    return graph.op("Reshape", [x, graph.constant(target, "int64")])


@converts("Permute")
def _permute(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    return graph.op("Transpose", [x], perm=[0, *layer.dims])


@converts("RepeatVector")
def _repeat_vector(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    rows = graph.op("Unsqueeze", [x, graph.constant([1], "int64")])
    return graph.op("Tile", [rows, graph.constant([1, layer.n, 1], "int64")])


@converts("Concatenate")
def _concatenate(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    rank, axis = len(shape[0]), layer.axis % len(shape[0])
    if not all(graph.has_channels_first(value) for value in x):
        return graph.op("Concat", x, axis=axis)
    first = [graph.channels_first(value, rank) for value in x]
    return graph.channels_last(graph.op("Concat", first, axis=1 if axis == rank - 1 else axis + 1), rank)


def _merge(kind: str) -> Convert:
    def convert(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
        rank = max(map(len, shape))
        values = []
        for value, own in zip(x, shape, strict=True):
            missing = rank - len(own)
            between = graph.constant(list(range(1, 1 + missing)), "int64") if missing else ""
            values.append(graph.op("Unsqueeze", [value, between]) if missing else value)
        if kind == "Mean" or len(set(shape)) > 1:
            return _joined(graph, kind, values)
        return graph.elementwise(lambda *parts: _joined(graph, kind, parts), *values, rank=rank)

    return convert


def _joined(graph: OnnxGraph, kind: str, values: Any) -> str:
    if kind in ("Max", "Min", "Mean"):
        return graph.op(kind, values)
    first, *others = values
    for value in others:
        first = graph.op(kind, [first, value])
    return first


for _name, _kind in {
    "Add": "Add",
    "Subtract": "Sub",
    "Multiply": "Mul",
    "Average": "Mean",
    "Maximum": "Max",
    "Minimum": "Min",
}.items():
    converts(_name)(_merge(_kind))
