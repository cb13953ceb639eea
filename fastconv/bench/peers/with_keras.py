"""Keras on TensorFlow: the TensorFlow op under each layer, traced beforehand; channels last, its only layout here."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from fastconv.bench.contestant import Contestant, Unsupported
from fastconv.testing.kernel_cases import Arrays

_started: list[int] = []


def use_threads(count: int) -> None:
    """Let TensorFlow use `count` threads; it decides once in a process.

    Raises:
        Unsupported: it runs with another number already.
    """
    if not _started:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(count)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        _started.append(count)
    if _started[0] != count:
        raise Unsupported(
            f"TensorFlow keeps the {_started[0]} threads it started with; time {count} in a run of its own"
        )


def contestants(op: str, problem: Any, inputs: Arrays, device: str = "cpu") -> list[Contestant]:
    """TensorFlow's op for channels last.

    Raises:
        Unsupported: it has no such option, or the op is not compared.
    """
    if device != "cpu":
        raise Unsupported("compared on the CPU only")
    import tensorflow as tf

    if op not in _FUNCTIONS:
        raise Unsupported(f"no such op is compared: {op}")
    function = _FUNCTIONS[op](problem)
    arrays = {name: tf.constant(array) for name, array in inputs.items()}
    traced = tf.function(lambda: function(**arrays), jit_compile=False)
    traced.get_concrete_function()
    last: dict[str, Any] = {}

    def call() -> None:
        last.update(traced())

    return [Contestant("keras", "peer", call, lambda: {name: value.numpy() for name, value in last.items()})]


def _options(p: Any) -> dict[str, Any]:
    sides = [p.pad_top, p.pad_bottom, p.pad_left, p.pad_right]
    explicit = {"padding": "EXPLICIT", "explicit_paddings": [0, 0, *sides, 0, 0]}
    return {"strides": [1, p.stride_h, p.stride_w, 1], **(explicit if any(sides) else {"padding": "VALID"})}


def _conv_options(p: Any) -> dict[str, Any]:
    return {**_options(p), "dilations": [1, p.dilation_h, p.dilation_w, 1]}


def _is_depthwise(p: Any) -> bool:
    if p.groups > 1 and (p.groups != p.C or p.stride_h != p.stride_w):
        raise Unsupported("TensorFlow on the CPU has depthwise convolutions of equal strides, but no grouped ones")
    return bool(p.groups > 1)


def _conv2d(p: Any) -> Callable[..., Arrays]:
    import tensorflow as tf

    options = _conv_options(p)
    if _is_depthwise(p):
        options |= _valid_or_same(p)
        options.pop("explicit_paddings", None)
        shape = (p.R, p.S, p.C, p.K // p.C)  # K = c * multiplier + m in both
        return lambda x, w, bias: {
            "y": tf.raw_ops.DepthwiseConv2dNative(input=x, filter=tf.reshape(w, shape), **options) + bias
        }
    return lambda x, w, bias: {"y": tf.nn.bias_add(tf.raw_ops.Conv2D(input=x, filter=w, **options), bias)}


def _conv2d_backward_data(p: Any) -> Callable[..., Arrays]:
    import tensorflow as tf

    options = _conv_options(p)
    if _is_depthwise(p):
        raise Unsupported("depthwise gradients are not compared")
    return lambda gy, w: {
        "gx": tf.raw_ops.Conv2DBackpropInput(input_sizes=p.x_shape, filter=w, out_backprop=gy, **options)
    }


def _conv2d_backward_filter(p: Any) -> Callable[..., Arrays]:
    import tensorflow as tf

    options = _conv_options(p)
    if _is_depthwise(p):
        raise Unsupported("depthwise gradients are not compared")
    return lambda x, gy: {
        "gw": tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=p.w_shape, out_backprop=gy, **options),
        "gb": tf.raw_ops.BiasAddGrad(out_backprop=gy),
    }


def _valid_or_same(p: Any) -> dict[str, Any]:
    """As `_options`, for the ops that take no explicit padding."""
    from fastconv.kernels.problem import resolve_padding

    sides = p.pad_top, p.pad_bottom, p.pad_left, p.pad_right
    size, window = (p.H, p.W), (p.R, p.S)
    for padding in ("valid", "same"):
        if sides == resolve_padding(padding, size, window, (p.stride_h, p.stride_w), (p.dilation_h, p.dilation_w)):
            return {"strides": [1, p.stride_h, p.stride_w, 1], "padding": padding.upper()}
    raise Unsupported('padding other than "valid" and "same"')


def _window(p: Any) -> dict[str, Any]:
    if (p.dilation_h, p.dilation_w) != (1, 1):
        raise Unsupported("no dilated pooling")
    return {"ksize": [1, p.R, p.S, 1]}


def _max_pool2d(p: Any) -> Callable[..., Arrays]:
    import tensorflow as tf

    options = {**_window(p), **_options(p)}
    return lambda x: {"y": tf.raw_ops.MaxPool(input=x, **options)}


def _max_pool2d_backward(p: Any) -> Callable[..., Arrays]:
    import tensorflow as tf

    options = {**_window(p), **_options(p)}
    kept: list[Any] = []

    def backward(x: Any, gy: Any) -> Arrays:
        if not kept:  # the forward pass keeps its output; it is not part of the gradient's time
            with tf.init_scope():
                kept.append(tf.raw_ops.MaxPool(input=x, **options))
        return {"gx": tf.raw_ops.MaxPoolGrad(orig_input=x, orig_output=kept[0], grad=gy, **options)}

    return backward


def _average_pool2d(p: Any) -> Callable[..., Arrays]:
    import tensorflow as tf

    options = {**_window(p), **_valid_or_same(p)}
    return lambda x: {"y": tf.raw_ops.AvgPool(value=x, **options)}


def _average_pool2d_backward(p: Any) -> Callable[..., Arrays]:
    import tensorflow as tf

    options = {**_window(p), **_valid_or_same(p)}
    return lambda gy: {"gx": tf.raw_ops.AvgPoolGrad(orig_input_shape=p.x_shape, grad=gy, **options)}


_FUNCTIONS: dict[str, Callable[[Any], Callable[..., Arrays]]] = {
    "conv2d": _conv2d,
    "conv2d_backward_data": _conv2d_backward_data,
    "conv2d_backward_filter": _conv2d_backward_filter,
    "max_pool2d": _max_pool2d,
    "max_pool2d_backward": _max_pool2d_backward,
    "average_pool2d": _average_pool2d,
    "average_pool2d_backward": _average_pool2d_backward,
}
