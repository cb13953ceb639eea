"""Layers that normalize or scale as ONNX nodes."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.export.onnx_graph import OnnxGraph
from fastconv.export.onnx_table import converts
from fastconv.layers.sample_normalization import LEAST_NORM


@converts("BatchNormalization")
def _batch_normalization(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    rank, axis = len(shape), layer.axis % len(shape)
    channels = shape[axis]
    gamma = layer.gamma.value if layer.scale else np.ones(channels)
    beta = layer.beta.value if layer.center else np.zeros(channels)
    values = [graph.constant(v) for v in (gamma, beta, layer.moving_mean.value, layer.moving_variance.value)]
    if axis == 1 or rank == 2:
        return graph.op("BatchNormalization", [x, *values], epsilon=layer.epsilon)
    if axis != rank - 1:
        raise ValueError(
            f'the layer "{layer.name}" has axis={layer.axis}: in ONNX only the first or last after N can be.'
        )
    y = graph.op("BatchNormalization", [graph.channels_first(x, rank), *values], epsilon=layer.epsilon)
    return graph.channels_last(y, rank)


@converts("Rescaling")
def _rescaling(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    return graph.op("Add", [graph.op("Mul", [x, graph.constant(layer._scale)]), graph.constant(layer._offset)])


@converts("Normalization")
def _normalization(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    mean, deviation = (graph.constant(value) for value in layer._moments(len(shape)))
    if layer.invert:
        return graph.op("Add", [graph.op("Mul", [x, deviation]), mean])
    return graph.op("Div", [graph.op("Sub", [x, mean]), deviation])


@converts("LayerNormalization")
def _layer_normalization(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    kept = layer._kept(len(shape))
    sizes = [size if axis in kept else 1 for axis, size in enumerate(shape)]
    return _normalized(graph, layer, x, list(kept), sizes[1:] if kept[0] else sizes)


@converts("GroupNormalization")
def _group_normalization(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    rank, axis = len(shape), layer.axis % len(shape)
    order = [*(one for one in range(rank) if one != axis), axis]
    ordered = graph.op("Transpose", [x], perm=order)
    groups = shape[axis] if layer.groups == -1 else layer.groups
    sizes = [groups, shape[axis] // groups]
    grouped = graph.op("Reshape", [ordered, graph.constant([0, -1, *sizes], "int64")])
    y = _normalized(graph, layer, grouped, [1, 3], sizes)
    y = graph.op("Reshape", [y, graph.op("Shape", [ordered])])
    return graph.op("Transpose", [y], perm=[order.index(one) for one in range(rank)])


def _normalized(graph: OnnxGraph, layer: Any, x: str, axes: list[int], sizes: list[int]) -> str:
    """x with mean 0 and variance 1 along axes, times gamma plus beta, which have these sizes."""
    centred = graph.op("Sub", [x, graph.op("ReduceMean", [x], axes=axes)])
    variance = graph.op("ReduceMean", [graph.op("Mul", [centred, centred])], axes=axes)
    deviation = graph.op("Sqrt", [graph.op("Add", [variance, graph.constant(layer.epsilon)])])
    y = graph.op("Div", [centred, deviation])
    if layer.scale:
        y = graph.op("Mul", [y, graph.constant(layer.gamma.value.reshape(sizes))])
    return graph.op("Add", [y, graph.constant(layer.beta.value.reshape(sizes))]) if layer.center else y


@converts("UnitNormalization")
def _unit_normalization(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    norm = graph.op("ReduceL2", [x], axes=[axis % len(shape) for axis in layer._over])
    return graph.op("Div", [x, graph.op("Max", [norm, graph.constant(LEAST_NORM)])])
