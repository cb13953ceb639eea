"""Layers that slide windows over images, or give them another size, as ONNX nodes."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.export.onnx_activations import convert_activation, is_elementwise
from fastconv.export.onnx_graph import OnnxGraph
from fastconv.export.onnx_table import converts
from fastconv.layers.layout import last
from fastconv.layers.windows import plane


@converts("Conv")
def _conv(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    return _convolution(graph, layer, x, shape, layer.kernel.value, layer.groups)


@converts("DepthwiseConv")
def _depthwise(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    *window, channels, multiplier = layer.kernel.shape
    kernel = layer.kernel.value.reshape(*window, 1, channels * multiplier)
    return _convolution(graph, layer, x, shape, kernel, channels)


@converts("Resizing")
def _resizing(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    modes = {
        "nearest": {"mode": "nearest", "nearest_mode": "round_prefer_ceil"},
        "bilinear": {"mode": "linear"},
    }
    plain = not (layer.crop_to_aspect_ratio or layer.pad_to_aspect_ratio or layer.antialias)
    if layer.interpolation not in modes or not plain:
        raise ValueError(
            f'the layer "{layer.name}" has no ONNX form: there are {" and ".join(modes)} interpolation, without '
            "crop_to_aspect_ratio, pad_to_aspect_ratio and antialias."
        )
    first = _to_first(graph, layer, x, shape)
    sizes = graph.op(
        "Concat", [graph.op("Shape", [first], end=2), graph.constant([layer.height, layer.width], "int64")], axis=0
    )
    options = {**modes[layer.interpolation], "coordinate_transformation_mode": "half_pixel"}
    return _from_first(graph, layer, graph.op("Resize", [first, "", "", sizes], **options), len(shape))


@converts("SeparableConv")
def _separable(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    between = _depthwise(graph, layer.depthwise, x, shape)
    return _conv(graph, layer.pointwise, between, layer.depthwise.compute_output_shape(shape))


@converts("ConvTranspose")
def _conv_transpose(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    batch, *sizes, channels = last(shape, layer.data_format)
    known = [size or 1 for size in sizes]  # the padding does not depend on them
    problem = layer.make_problem((1, *plane(known, 1), channels))
    skipped = 2 - layer.rank
    before = [problem.pad_top, problem.pad_left][skipped:]
    after = [problem.pad_bottom, problem.pad_right][skipped:]
    spanned = [
        (size - 1) * stride + window - sum(pads)
        for size, stride, window, *pads in zip(known, layer.strides, layer.window, before, after, strict=True)
    ]
    made = [problem.H, problem.W][skipped:]
    inputs = [_to_first(graph, layer, x, shape), graph.constant(np.moveaxis(layer.kernel.value, (-1, -2), (0, 1)))]
    if layer.use_bias:
        inputs.append(graph.constant(layer.bias.value))
    y = graph.op(
        "ConvTranspose",
        inputs,
        kernel_shape=list(layer.kernel_size),
        strides=list(layer.strides),
        dilations=list(layer.dilation_rate),
        pads=[*before, *after],
        output_padding=[size - span for size, span in zip(made, spanned, strict=True)],
    )
    return _activated(graph, layer.activation, y, layer, len(shape))


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


@converts("MaxPooling")
def _max_pooling(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    return _pooling(graph, layer, x, shape, "MaxPool")


@converts("AveragePooling")
def _average_pooling(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    return _pooling(graph, layer, x, shape, "AveragePool")


def _pooling(graph: OnnxGraph, layer: Any, x: str, shape: Any, kind: str) -> str:
    options = {"kernel_shape": list(layer.pool_size), "strides": list(layer.strides), **_pads(layer, shape)}
    y = graph.op(kind, [_to_first(graph, layer, x, shape)], **options)
    return _from_first(graph, layer, y, len(shape))


@converts("GlobalAveragePooling")
def _global_average(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    return graph.op("ReduceMean", [x], axes=_between_n_and_c(layer, shape), keepdims=int(layer.keepdims))


@converts("GlobalMaxPooling")
def _global_max(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    return graph.op("ReduceMax", [x], axes=_between_n_and_c(layer, shape), keepdims=int(layer.keepdims))


@converts("ZeroPadding")
def _zero_padding(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    before, after = _sides(layer)
    return graph.op("Pad", [x, graph.constant([*before, *after], "int64"), graph.constant(0.0)])


@converts("Cropping")
def _cropping(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    before, after = _sides(layer)
    ends = [-size if size else np.iinfo(np.int64).max for size in after]
    return graph.op("Slice", [x, graph.constant(before, "int64"), graph.constant(ends, "int64")])


@converts("UpSampling")
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


def _to_first(graph: OnnxGraph, layer: Any, x: str, shape: Any) -> str:
    return x if layer.data_format == "channels_first" else graph.channels_first(x, len(shape))


def _from_first(graph: OnnxGraph, layer: Any, y: str, rank: int) -> str:
    return y if layer.data_format == "channels_first" else graph.channels_last(y, rank)


def _between_n_and_c(layer: Any, shape: Any) -> list[int]:
    first = layer.data_format == "channels_first"
    return list(range(2, len(shape))) if first else list(range(1, len(shape) - 1))


def _sides(layer: Any) -> tuple[list[int], list[int]]:
    """What is before and behind each axis."""
    before, after = [side[0] for side in layer.sides], [side[1] for side in layer.sides]
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
