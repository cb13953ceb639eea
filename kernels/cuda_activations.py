"""Activations and their gradients on a GPU: a thread an element, and for a softmax a warp a row.

One kernel serves all activations that look at an element by itself: which one it is is an argument, equal for all
threads, so the branch costs nothing beside the bytes. The formulas are those of `fastconv.activations`. Limited by
bytes: two numbers an element forward, three or four backward.
"""

from __future__ import annotations

import math
from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_sums import warp_sum

THREADS = 256
WARP = 32
ROWS = THREADS // WARP  # a block's, of a softmax

LINEAR, RELU, ELU, SIGMOID, TANH, SOFTPLUS, SOFTSIGN, EXPONENTIAL = range(8)
HARD_SIGMOID, SILU, HARD_SILU, GELU, GELU_TANH, MISH = range(8, 14)

_SQRT_HALF = float32(math.sqrt(0.5))
_GELU_SLOPE = float32(math.sqrt(0.5 / math.pi))
_SQRT_2_OVER_PI = float32(math.sqrt(2 / math.pi))
_GELU_CUBIC = float32(0.044715)
_INFINITY = float32(math.inf)


def forward(kind: int, parameters: tuple[float, float, float], x: Any, y: Any) -> list[Launch]:
    """y = activation(x), elementwise; y may be x.

    parameters: RELU: negative_slope, max_value (infinity for none), threshold; ELU: alpha, scale; others ignore them.
    """
    return [Launch(_forward, (-(-x.size // THREADS),), (THREADS,), (x, y, x.size, kind, *map(float32, parameters)))]


def backward(kind: int, parameters: tuple[float, float, float], gy: Any, y: Any, x: Any, gx: Any) -> list[Launch]:
    """gx = gy * the slope at x; gx may be gy.

    x: what went in; y in its place where the slope follows from that (up to EXPONENTIAL, and HARD_SIGMOID).
    """
    grid, numbers = (-(-gy.size // THREADS),), map(float32, parameters)
    return [Launch(_backward, grid, (THREADS,), (gy, y, x, gx, gy.size, kind, *numbers))]


def softmax(x: Any, y: Any, columns: int, log: bool) -> list[Launch]:
    """y = softmax(x), or its logarithm, of rows of `columns` elements; y may be x."""
    rows = x.size // columns
    return [Launch(_softmax, (-(-rows // ROWS),), (WARP, ROWS), (x, y, rows, columns, int(log)))]


def softmax_backward(gy: Any, y: Any, gx: Any, columns: int, log: bool) -> list[Launch]:
    """gx for the input of a softmax, or of its logarithm, whose output was y; gx may be gy."""
    rows = y.size // columns
    return [Launch(_softmax_backward, (-(-rows // ROWS),), (WARP, ROWS), (gy, y, gx, rows, columns, int(log)))]


@device_function
def _logistic(x):
    small = math.exp(-abs(x))
    return (small if x < float32(0) else float32(1)) / (float32(1) + small)


@device_function
def _log1p_exp(x):
    return max(x, float32(0)) + math.log1p(math.exp(-abs(x)))


@device_function
def _hard_gate(x):
    gate = x / float32(6) + float32(0.5)
    return float32(0) if gate < float32(0) else float32(1) if gate > float32(1) else gate


@device_function
def _gelu_gate(kind, x):
    """The factor on x."""
    if kind == GELU:
        return float32(0.5) * math.erfc(-x * _SQRT_HALF)
    near = min(max(x, float32(-40)), float32(40))  # whose cube does not overflow
    return (float32(1) + math.tanh(_SQRT_2_OVER_PI * near * (float32(1) + _GELU_CUBIC * near * near))) / float32(2)


@cuda_jit(FLOATS, FLOATS, int32, int32, float32, float32, float32, launch_bounds=THREADS)
def _forward(x, y, count, kind, a, b, c):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        v = x[i]
        if kind == RELU:
            if v <= c:
                v = a * (v - c) if a != float32(0) else float32(0)
            if v > b:
                v = b
        elif kind == ELU:
            v = b * a * math.expm1(v) if v <= float32(0) else b * v
        elif kind == SIGMOID:
            v = _logistic(v)
        elif kind == TANH:
            v = math.tanh(v)
        elif kind == SOFTPLUS:
            v = _log1p_exp(v)
        elif kind == SOFTSIGN:
            v = v / (float32(1) + abs(v))
        elif kind == EXPONENTIAL:
            v = math.exp(v)
        elif kind == HARD_SIGMOID:
            v = _hard_gate(v)
        elif kind == SILU:
            v = v * _logistic(v)
        elif kind == HARD_SILU:
            v = v * _hard_gate(v)
        elif kind == GELU or kind == GELU_TANH:
            v = v * _gelu_gate(kind, v)
        elif kind == MISH:
            v = v * math.tanh(_log1p_exp(v))
        y[i] = v


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, int32, int32, float32, float32, float32, launch_bounds=THREADS)
def _backward(gy, y, x, gx, count, kind, a, b, c):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        out, slope = y[i], float32(1)
        if kind == RELU:
            if not out > float32(0):
                slope = a
            if b < _INFINITY and not out < b:
                slope = float32(0)
        elif kind == ELU:
            slope = b if out > float32(0) else out + b * a
        elif kind == SIGMOID:
            slope = out * (float32(1) - out)
        elif kind == TANH:
            slope = float32(1) - out * out
        elif kind == SOFTPLUS:
            slope = -math.expm1(-out)
        elif kind == SOFTSIGN:
            slope = (float32(1) - abs(out)) * (float32(1) - abs(out))
        elif kind == EXPONENTIAL:
            slope = out
        elif kind == HARD_SIGMOID:
            slope = float32(1 / 6) if float32(0) < out < float32(1) else float32(0)
        elif kind == SILU:
            gate = _logistic(x[i])
            slope = gate + out * (float32(1) - gate)
        elif kind == HARD_SILU:
            v = x[i]
            if abs(v) < float32(3):
                slope = v / float32(3) + float32(0.5)
            elif not v > float32(0):
                slope = float32(0)
        elif kind == GELU or kind == GELU_TANH:
            v = x[i]
            gate = _gelu_gate(kind, v)
            near = min(max(v, float32(-40)), float32(40))
            if kind == GELU:
                slope = gate + v * math.exp(float32(-0.5) * near * near) * _GELU_SLOPE
            else:
                t = float32(2) * gate - float32(1)
                inner = _SQRT_2_OVER_PI * (float32(0.5) + float32(1.5) * _GELU_CUBIC * near * near)
                slope = gate + v * (float32(1) - t * t) * inner
        elif kind == MISH:
            v = x[i]
            gate = math.tanh(_log1p_exp(v))
            slope = gate + v * (float32(1) - gate * gate) * _logistic(v)
        gx[i] = gy[i] * slope


@cuda_jit(FLOATS, FLOATS, int32, int32, int32, launch_bounds=THREADS)
def _softmax(x, y, rows, columns, log):
    lane, row = uint32(cuda.threadIdx.x), uint32(cuda.blockIdx.x * ROWS + cuda.threadIdx.y)
    if row >= uint32(rows):
        return  # a whole warp
    start, end = uint32(row * columns + lane), uint32((row + 1) * columns)
    largest = -_INFINITY
    i = start
    while i < end:
        v = x[i]
        if not v <= largest:  # a NaN, too
            largest = v
        i = uint32(i + WARP)
    for bits in (16, 8, 4, 2, 1):
        other = cuda.shfl_xor_sync(0xFFFFFFFF, largest, bits)
        if not other <= largest:
            largest = other
    total = float32(0)
    i = start
    while i < end:
        total += math.exp(x[i] - largest)
        i = uint32(i + WARP)
    total = warp_sum(total)
    i = start
    while i < end:
        v = x[i] - largest
        y[i] = v - math.log(total) if log else math.exp(v) / total
        i = uint32(i + WARP)


@cuda_jit(FLOATS, FLOATS, FLOATS, int32, int32, int32, launch_bounds=THREADS)
def _softmax_backward(gy, y, gx, rows, columns, log):
    lane, row = uint32(cuda.threadIdx.x), uint32(cuda.blockIdx.x * ROWS + cuda.threadIdx.y)
    if row >= uint32(rows):
        return
    start, end = uint32(row * columns + lane), uint32((row + 1) * columns)
    total = float32(0)
    i = start
    while i < end:
        total += gy[i] if log else gy[i] * y[i]
        i = uint32(i + WARP)
    total = warp_sum(total)
    i = start
    while i < end:
        gx[i] = gy[i] - math.exp(y[i]) * total if log else (gy[i] - total) * y[i]
        i = uint32(i + WARP)
