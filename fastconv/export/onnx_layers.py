"""Layers as ONNX nodes: a function for each class, found by the class's name in a table that others can add to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.export.onnx_activations import convert_activation, is_elementwise
from fastconv.export.onnx_graph import OnnxGraph

# (graph, layer, the input's name or a list of names, its shape or a list of shapes) -> the output's name
Convert = Callable[[OnnxGraph, Any, Any, Any], str]
_TABLE: dict[str, Convert] = {}


def converts(*names: str) -> Callable[[Convert], Convert]:
    """Decorates the function that makes the nodes of layers of the classes of these names, and of the library's own
    classes derived from them."""

    def register(convert: Convert) -> Convert:
        _TABLE.update(dict.fromkeys(names, convert))
        return convert

    return register


def supported_layers() -> list[str]:
    """The names of the classes, and base classes, that can be exported."""
    return sorted(_TABLE)


def convert_layer(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    """The nodes for a layer, behind those that make x.

    Raises:
        ValueError: there are none for it; the message lists those that there are.
    """
    cls = type(layer)
    # A class of the user's own may compute something else than the one that it is derived from.
    bases = cls.__mro__ if cls.__module__.startswith("fastconv.layers.") else (cls,)
    convert = next((_TABLE[base.__name__] for base in bases if base.__name__ in _TABLE), None)
    if convert is None:
        raise ValueError(
            f'the layer "{layer.name}" ({type(layer).__name__}) has no ONNX form here. There are '
            f"{', '.join(supported_layers())}; fastconv.export.converts adds others."
        )
    return convert(graph, layer, x, shape)


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
)
def _nothing(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    return x


@converts("Conv")
def _conv(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    return _convolution(graph, layer, x, shape, layer.kernel.value, layer.groups)


@converts("DepthwiseConv")
def _depthwise(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    *window, channels, multiplier = layer.kernel.shape
    kernel = layer.kernel.value.reshape(*window, 1, channels * multiplier)
    return _convolution(graph, layer, x, shape, kernel, channels)


def _convolution(graph: OnnxGraph, layer: Any, x: str, shape: Any, kernel: np.ndarray, groups: int) -> str:
    filters = np.moveaxis(kernel, (-1, -2), (0, 1))  # (out, in, rows, columns)
    inputs = [_to_first(graph, layer, x, shape), graph.constant(filters)]
    if layer.use_bias:
        inputs.append(graph.constant(layer.bias.value))
    options = {
        "kernel_shape": list(layer.kernel_size),
        "strides": list(layer.strides),
        "dilations": list(layer.dilation_rate),
        "group": groups,
    }
    y = graph.op("Conv", inputs, **options, **_pads(layer, shape))
    return _activated(graph, layer.activation, y, layer, len(shape))


def _activated(graph: OnnxGraph, activation: Any, first: str, layer: Any, rank: int) -> str:
    """The activation of a value with its channels first, in the layer's layout."""
    if is_elementwise(activation):
        return _from_first(graph, layer, convert_activation(graph, activation, first), rank)
    return convert_activation(graph, activation, _from_first(graph, layer, first, rank))


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


@converts("MaxPooling1D", "MaxPooling2D")
def _max_pooling(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    return _pooling(graph, layer, x, shape, "MaxPool")


@converts("AveragePooling1D", "AveragePooling2D")
def _average_pooling(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    return _pooling(graph, layer, x, shape, "AveragePool")


def _pooling(graph: OnnxGraph, layer: Any, x: str, shape: Any, kind: str) -> str:
    options = {"kernel_shape": list(layer.pool_size), "strides": list(layer.strides), **_pads(layer, shape)}
    y = graph.op(kind, [_to_first(graph, layer, x, shape)], **options)
    return _from_first(graph, layer, y, len(shape))


@converts("GlobalAveragePooling1D", "GlobalAveragePooling2D")
def _global_average(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    return graph.op("ReduceMean", [x], axes=_between_n_and_c(layer, shape), keepdims=int(layer.keepdims))


@converts("GlobalMaxPooling1D", "GlobalMaxPooling2D")
def _global_max(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    return graph.op("ReduceMax", [x], axes=_between_n_and_c(layer, shape), keepdims=int(layer.keepdims))


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


@converts("ZeroPadding1D", "ZeroPadding2D")
def _zero_padding(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    before, after = _sides(layer, layer.padding)
    return graph.op("Pad", [x, graph.constant([*before, *after], "int64"), graph.constant(0.0)])


@converts("Cropping1D", "Cropping2D")
def _cropping(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    before, after = _sides(layer, layer.cropping)
    ends = [-size if size else np.iinfo(np.int64).max for size in after]
    return graph.op("Slice", [x, graph.constant(before, "int64"), graph.constant(ends, "int64")])


@converts("UpSampling1D", "UpSampling2D")
def _up_sampling(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    modes = {
        "nearest": {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        "bilinear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    }
    interpolation = getattr(layer, "interpolation", "nearest")
    if interpolation not in modes:
        raise ValueError(
            f'the layer "{layer.name}" has interpolation={interpolation!r}; ONNX has {" and ".join(modes)}.'
        )
    scales = graph.constant([1, 1, *layer.factors], "float32")
    y = graph.op("Resize", [_to_first(graph, layer, x, shape), "", scales], **modes[interpolation])
    return _from_first(graph, layer, y, len(shape))


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


_TABLE.update(
    Add=_merge("Add"),
    Subtract=_merge("Sub"),
    Multiply=_merge("Mul"),
    Average=_merge("Mean"),
    Maximum=_merge("Max"),
    Minimum=_merge("Min"),
)


# Layouts and padding.


def _to_first(graph: OnnxGraph, layer: Any, x: str, shape: Any) -> str:
    return x if layer.data_format == "channels_first" else graph.channels_first(x, len(shape))


def _from_first(graph: OnnxGraph, layer: Any, y: str, rank: int) -> str:
    return y if layer.data_format == "channels_first" else graph.channels_last(y, rank)


def _between_n_and_c(layer: Any, shape: Any) -> list[int]:
    first = layer.data_format == "channels_first"
    return list(range(2, len(shape))) if first else list(range(1, len(shape) - 1))


def _sides(layer: Any, sides: Any) -> tuple[list[int], list[int]]:
    """What is before and behind each axis."""
    before, after = [side[0] for side in sides], [side[1] for side in sides]
    if layer.data_format == "channels_first":
        return [0, 0, *before], [0, 0, *after]
    return [0, *before, 0], [0, *after, 0]


def _pads(layer: Any, shape: Any) -> dict[str, Any]:
    """The padding of a convolution or pooling; "same" by its name where the image's size is not known."""
    sizes = [shape[axis] for axis in _between_n_and_c(layer, shape)]
    if layer.padding == "same" and None in sizes:
        return {"auto_pad": "SAME_UPPER"}
    if layer.padding == "causal":
        return {"pads": [layer.window[0] - 1, 0]}
    if layer.padding == "same":
        totals = [
            max((-(-size // stride) - 1) * stride + window - size, 0)
            for size, stride, window in zip(sizes, layer.strides, layer.window, strict=True)
        ]
        before = [total // 2 for total in totals]
        return {"pads": [*before, *(total - first for total, first in zip(totals, before, strict=True))]}
    if layer.padding == "valid":
        return {}
    return {"pads": [side[0] for side in layer.padding] + [side[1] for side in layer.padding]}
