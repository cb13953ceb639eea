"""2-D max and average pooling and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.kernels.problem import Padding, Pool2DProblem
from fastconv.ops.arrays import Result, as_arrays, resolve_data_format, to_nhwc
from fastconv.ops.dispatch import run


def max_pool(
    inputs: Any,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "valid",
    data_format: str | None = None,
    *,
    algorithm: str = "auto",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The largest element of each window, `keras.ops.max_pool` for images; NaN in a window gives NaN.

    Args:
        inputs: (N, H, W, C), or (N, C, H, W) with data_format "channels_first".
        pool_size, strides: an integer or a (height, width) pair; strides None means pool_size.
        padding: "valid", "same" or ((top, bottom), (left, right)) smaller than the window; padding takes no part.
        algorithm: "auto" or the name of a variant of max_pool2d.
        out: receives the result.

    Returns:
        (N, P, Q, C), or (N, C, P, Q).

    Raises:
        ValueError: shapes or options that make no pooling, or an algorithm that cannot run them.
        TypeError: inputs that hold no real numbers.
    """
    return _forward("max_pool2d", inputs, pool_size, strides, padding, data_format, algorithm, out)


def average_pool(
    inputs: Any,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "valid",
    data_format: str | None = None,
    *,
    algorithm: str = "auto",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The mean of each window, `keras.ops.average_pool` for images; padding is not counted. Arguments as `max_pool`."""
    return _forward("average_pool2d", inputs, pool_size, strides, padding, data_format, algorithm, out)


def max_pool_backward(
    inputs: Any,
    grad: Any,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "valid",
    data_format: str | None = None,
    *,
    algorithm: str = "auto",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of `max_pool`'s inputs: each output's goes to its window's first maximum (or first NaN).

    Args:
        inputs: what was pooled.
        grad: gradient of the output, (N, P, Q, C) or (N, C, P, Q).

    The other arguments as in `max_pool`. Returns an array of the inputs' shape.

    Raises:
        ValueError: `grad` has not the output's shape, or as `max_pool`.
    """
    layout = resolve_data_format(data_format)
    x, gy = as_arrays(inputs=inputs, grad=grad)
    x, gy = to_nhwc(x, "inputs", layout), to_nhwc(gy, "grad", layout)
    problem = Pool2DProblem.of(x.shape, pool_size, strides, padding, x.dtype)
    _check_grad(gy, problem)
    result = Result(problem.x_shape, x, layout, out)
    run("max_pool2d_backward", problem, x, gy, result.array, algorithm=algorithm)
    return result.finish()


def average_pool_backward(
    grad: Any,
    input_shape: Sequence[int],
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "valid",
    data_format: str | None = None,
    *,
    algorithm: str = "auto",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of `average_pool`'s inputs: each output's is shared equally by its window's elements.

    Args:
        grad: gradient of the output, (N, P, Q, C) or (N, C, P, Q).
        input_shape: of what was pooled, in data_format.

    The other arguments as in `max_pool`. Returns an array of `input_shape`.

    Raises:
        ValueError: `grad` has not the output's shape, or as `average_pool`.
    """
    layout = resolve_data_format(data_format)
    (gy,) = as_arrays(grad=grad)
    gy = to_nhwc(gy, "grad", layout)
    sizes = tuple(input_shape)
    if layout == "channels_first" and len(sizes) == 4:
        sizes = tuple(sizes[i] for i in (0, 2, 3, 1))
    problem = Pool2DProblem.of(sizes, pool_size, strides, padding, gy.dtype)
    _check_grad(gy, problem)
    result = Result(problem.x_shape, gy, layout, out)
    run("average_pool2d_backward", problem, gy, result.array, algorithm=algorithm)
    return result.finish()


def _forward(op, inputs, pool_size, strides, padding, data_format, algorithm, out):  # type: ignore[no-untyped-def]
    layout = resolve_data_format(data_format)
    (x,) = as_arrays(inputs=inputs)
    x = to_nhwc(x, "inputs", layout)
    problem = Pool2DProblem.of(x.shape, pool_size, strides, padding, x.dtype)
    result = Result(problem.y_shape, x, layout, out)
    run(op, problem, x, result.array, algorithm=algorithm)
    return result.finish()


def _check_grad(gy: np.ndarray, problem: Pool2DProblem) -> None:
    if gy.shape != problem.y_shape:
        raise ValueError(f"grad must have the output's shape, {problem.y_shape} channels last; received {gy.shape}.")
