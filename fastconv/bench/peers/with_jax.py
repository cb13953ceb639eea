"""JAX on the CPU: XLA's code, compiled beforehand, in both layouts."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.bench.contestant import Contestant, Unsupported
from fastconv.testing.kernel_cases import Arrays

_started: list[int] = []


def use_threads(count: int) -> None:
    """Let XLA use `count` threads; it decides once in a process.

    Raises:
        Unsupported: it runs with another number already.
    """
    if not _started:
        if count < len(os.sched_getaffinity(0)):
            flags = f"--xla_cpu_multi_thread_eigen={'true' if count > 1 else 'false'}"
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
            os.environ["NPROC"] = str(count)  # the size of XLA's thread pool
        import jax

        jax.config.update("jax_platforms", "cpu")
        _started.append(count)
    if _started[0] != count:
        raise Unsupported(f"JAX keeps the {_started[0]} threads it started with; time {count} in a run of its own")


def contestants(op: str, problem: Any, inputs: Arrays, device: str = "cpu") -> list[Contestant]:
    """JAX in both layouts.

    Raises:
        Unsupported: the op or dtype is not compared.
    """
    if device != "cpu":
        raise Unsupported("compared on the CPU only")
    if op not in _FUNCTIONS:
        raise Unsupported(f"no such op is compared: {op}")
    if problem.dtype != "float32":
        raise Unsupported("only float32 is compared")
    return [_make(op, problem, inputs, layout) for layout in ("NHWC", "NCHW")]


def _make(op: str, problem: Any, inputs: Arrays, layout: str) -> Contestant:
    import jax

    def image(array: np.ndarray) -> Any:
        return jax.device_put(array if layout == "NHWC" else np.ascontiguousarray(array.transpose(0, 3, 1, 2)))

    arrays = {
        name: image(array) if array.ndim == 4 and name != "w" else jax.device_put(array)
        for name, array in inputs.items()
    }
    compiled = jax.jit(_FUNCTIONS[op](problem, layout)).lower(**arrays).compile()
    last: dict[str, Any] = {}

    def call() -> None:
        last.update(compiled(**arrays))
        jax.block_until_ready(last)

    def outputs() -> Arrays:
        return {
            name: np.asarray(value).transpose(0, 2, 3, 1)
            if name in ("y", "gx") and layout == "NCHW"
            else np.asarray(value)
            for name, value in last.items()
        }

    return Contestant("jax", "peer", call, outputs, layout)


def _convolution(p: Any, layout: str) -> Callable[[Any, Any], Any]:
    from jax import lax

    return lambda x, w: lax.conv_general_dilated(
        x,
        w,
        (p.stride_h, p.stride_w),
        ((p.pad_top, p.pad_bottom), (p.pad_left, p.pad_right)),
        rhs_dilation=(p.dilation_h, p.dilation_w),
        dimension_numbers=(layout, "HWIO", layout),
        feature_group_count=p.groups,
    )


def _shape(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    return shape if layout == "NHWC" else (shape[0], shape[3], shape[1], shape[2])


def _conv2d(p: Any, layout: str) -> Callable[..., Any]:
    convolve = _convolution(p, layout)
    channel = (-1,) if layout == "NHWC" else (-1, 1, 1)
    return lambda x, w, bias: {"y": convolve(x, w) + bias.reshape(channel)}


def _conv2d_backward_data(p: Any, layout: str) -> Callable[..., Any]:
    import jax

    convolve = _convolution(p, layout)
    x = jax.ShapeDtypeStruct(_shape(p.x_shape, layout), p.dtype)
    return lambda gy, w: {"gx": jax.linear_transpose(lambda x: convolve(x, w), x)(gy)[0]}


def _conv2d_backward_filter(p: Any, layout: str) -> Callable[..., Any]:
    import jax

    convolve = _convolution(p, layout)
    w = jax.ShapeDtypeStruct(p.w_shape, p.dtype)
    pixels = (0, 1, 2) if layout == "NHWC" else (0, 2, 3)
    return lambda x, gy: {"gw": jax.linear_transpose(lambda w: convolve(x, w), w)(gy)[0], "gb": gy.sum(pixels)}


def _window(p: Any, layout: str) -> dict[str, Any]:
    def spread(h: Any, w: Any, one: Any) -> tuple[Any, ...]:
        return (one, h, w, one) if layout == "NHWC" else (one, one, h, w)

    return {
        "window_dimensions": spread(p.R, p.S, 1),
        "window_strides": spread(p.stride_h, p.stride_w, 1),
        "padding": spread((p.pad_top, p.pad_bottom), (p.pad_left, p.pad_right), (0, 0)),
        "window_dilation": spread(p.dilation_h, p.dilation_w, 1),
    }


def _maximum(p: Any, layout: str) -> Callable[[Any], Any]:
    from jax import lax

    window = _window(p, layout)
    return lambda x: lax.reduce_window(x, -np.inf, lax.max, **window)


def _mean(p: Any, layout: str) -> Callable[[Any], Any]:
    import jax.numpy as jnp
    from jax import lax

    window = _window(p, layout)
    ones = np.ones(_shape((1, p.H, p.W, 1), layout), p.dtype)
    return lambda x: (
        lax.reduce_window(x, 0.0, lax.add, **window) / lax.reduce_window(jnp.asarray(ones), 0.0, lax.add, **window)
    )


def _max_pool2d(p: Any, layout: str) -> Callable[..., Any]:
    pool = _maximum(p, layout)
    return lambda x: {"y": pool(x)}


def _max_pool2d_backward(p: Any, layout: str) -> Callable[..., Any]:
    import jax

    pool = _maximum(p, layout)
    return lambda x, gy: {"gx": jax.vjp(pool, x)[1](gy)[0]}


def _average_pool2d(p: Any, layout: str) -> Callable[..., Any]:
    pool = _mean(p, layout)
    return lambda x: {"y": pool(x)}


def _average_pool2d_backward(p: Any, layout: str) -> Callable[..., Any]:
    import jax

    pool, x = _mean(p, layout), jax.ShapeDtypeStruct(_shape(p.x_shape, layout), p.dtype)
    return lambda gy: {"gx": jax.linear_transpose(pool, x)(gy)[0]}


_FUNCTIONS: dict[str, Callable[..., Callable[..., Any]]] = {
    "conv2d": _conv2d,
    "conv2d_backward_data": _conv2d_backward_data,
    "conv2d_backward_filter": _conv2d_backward_filter,
    "max_pool2d": _max_pool2d,
    "max_pool2d_backward": _max_pool2d_backward,
    "average_pool2d": _average_pool2d,
    "average_pool2d_backward": _average_pool2d_backward,
}
