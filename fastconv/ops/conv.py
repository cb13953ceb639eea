"""2-D convolution and its two gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.kernels.problem import Conv2DProblem, Padding
from fastconv.ops.arrays import Result, array_module, as_arrays, is_on_gpu, resolve_data_format, to_nhwc
from fastconv.ops.dispatch import run


def conv(
    inputs: Any,
    kernel: Any,
    strides: int | Sequence[int] = 1,
    padding: Padding = "valid",
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
    *,
    bias: Any = None,
    algorithm: str = "auto",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """2-D convolution (cross-correlation), `keras.ops.conv` for images.

    Args:
        inputs: (N, H, W, C), or (N, C, H, W) with data_format "channels_first".
        kernel: (R, S, C / groups, K), in either data_format; groups follow from C.
        strides, dilation_rate: an integer or a (height, width) pair; both may exceed 1 together.
        padding: "valid", "same" (TensorFlow's rule) or ((top, bottom), (left, right)).
        bias: (K,), added to each pixel; None for none.
        algorithm: "auto" or the name of a variant of conv2d.
        out: receives the result.

    Returns:
        (N, P, Q, K), or (N, K, P, Q).

    Raises:
        ValueError: shapes or options that make no convolution, or an algorithm that cannot run them.
        TypeError: arrays that hold no real numbers.
    """
    layout = resolve_data_format(data_format)
    if bias is None:
        x, w = as_arrays(inputs=inputs, kernel=kernel)
        b = None
    else:
        x, w, b = as_arrays(inputs=inputs, kernel=kernel, bias=bias)
    x = to_nhwc(x, "inputs", layout)
    problem = Conv2DProblem.of(x.shape, w.shape, strides, padding, dilation_rate, x.dtype)
    if b is not None and b.shape != (problem.K,):
        raise ValueError(f"bias must have shape ({problem.K},), one element a filter; received {b.shape}.")
    result = Result(problem.y_shape, x, layout, out)
    run("conv2d", problem, x, w, b, result.array, algorithm=algorithm)
    return result.finish()


def depthwise_conv(
    inputs: Any,
    kernel: Any,
    strides: int | Sequence[int] = 1,
    padding: Padding = "valid",
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
    *,
    bias: Any = None,
    algorithm: str = "auto",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Convolution of each channel by itself, `keras.ops.depthwise_conv` for images.

    Args:
        kernel: (R, S, C, M): M filters for each channel; output channel c * M + m is channel c by filter m.

    The other arguments, what is returned and raised: as `conv`, with K = C * M.
    """
    (array,) = as_arrays(kernel=kernel)
    if array.ndim != 4:
        raise ValueError(f"kernel must have shape (R, S, C, depth multiplier); received {array.shape}.")
    shape = inputs.shape if is_on_gpu(inputs) else np.shape(inputs)
    channels = shape[1 if resolve_data_format(data_format) == "channels_first" else -1]
    if array.shape[2] != channels:
        raise ValueError(f"kernel of shape {array.shape} is for {array.shape[2]} channels; inputs have {channels}.")
    grouped = array.reshape(*array.shape[:2], 1, -1)
    return conv(inputs, grouped, strides, padding, data_format, dilation_rate, bias=bias, algorithm=algorithm, out=out)


def conv_backward_data(
    grad: Any,
    kernel: Any,
    input_shape: Sequence[int],
    strides: int | Sequence[int] = 1,
    padding: Padding = "valid",
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
    *,
    algorithm: str = "auto",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of `conv`'s inputs.

    Args:
        grad: gradient of the output, (N, P, Q, K) or (N, K, P, Q).
        kernel: (R, S, C / groups, K).
        input_shape: of the inputs, in data_format.

    The other arguments as in `conv`. Returns an array of `input_shape`.

    Raises:
        ValueError: `grad` has not the shape of that convolution's output, or as `conv`.
    """
    layout = resolve_data_format(data_format)
    gy, w = as_arrays(grad=grad, kernel=kernel)
    gy = to_nhwc(gy, "grad", layout)
    problem = Conv2DProblem.of(_nhwc_shape(input_shape, layout), w.shape, strides, padding, dilation_rate, gy.dtype)
    _check_grad(gy, problem)
    result = Result(problem.x_shape, gy, layout, out)
    run("conv2d_backward_data", problem, gy, w, result.array, algorithm=algorithm)
    return result.finish()


def conv_backward_filter(
    inputs: Any,
    grad: Any,
    kernel_shape: Sequence[int],
    strides: int | Sequence[int] = 1,
    padding: Padding = "valid",
    data_format: str | None = None,
    dilation_rate: int | Sequence[int] = 1,
    *,
    algorithm: str = "auto",
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The gradients of `conv`'s kernel and bias.

    Args:
        inputs: (N, H, W, C) or (N, C, H, W).
        grad: gradient of the output, (N, P, Q, K) or (N, K, P, Q).
        kernel_shape: (R, S, C / groups, K).
        out: receives the kernel's gradient.

    The other arguments as in `conv`. Returns the gradients of the kernel, of `kernel_shape`, and of the bias, (K,).

    Raises:
        ValueError: `grad` has not the shape of that convolution's output, or as `conv`.
    """
    layout = resolve_data_format(data_format)
    x, gy = as_arrays(inputs=inputs, grad=grad)
    x, gy = to_nhwc(x, "inputs", layout), to_nhwc(gy, "grad", layout)
    problem = Conv2DProblem.of(x.shape, kernel_shape, strides, padding, dilation_rate, x.dtype)
    _check_grad(gy, problem)
    result = Result(problem.w_shape, x, "channels_last", out)
    bias = array_module(x).empty(problem.K, x.dtype)
    run("conv2d_backward_filter", problem, x, gy, result.array, bias, algorithm=algorithm)
    return result.finish(), bias


def _nhwc_shape(shape: Sequence[int], layout: str) -> tuple[int, ...]:
    sizes = tuple(shape)
    if len(sizes) != 4:
        raise ValueError(f"input_shape must have four dimensions; received {sizes}.")
    return sizes if layout == "channels_last" else tuple(sizes[i] for i in (0, 2, 3, 1))


def _check_grad(gy: np.ndarray, problem: Conv2DProblem) -> None:
    if gy.shape != problem.y_shape:
        raise ValueError(f"grad must have the output's shape, {problem.y_shape} channels last; received {gy.shape}.")
