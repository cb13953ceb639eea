"""Activations and their gradients on a GPU: a thread an element of the output.

One kernel serves all activations that look at an element by itself: which one it is is an argument, equal for all
threads, so the branch costs nothing beside the bytes. A gated linear unit takes two elements. The formulas are those of
`fastconv.activations`. Limited by bytes: two numbers an element forward, three or four backward; three and five of a
gated one.
"""

from __future__ import annotations

import math
from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32

THREADS = 256

LINEAR, RELU, ELU, SIGMOID, TANH, SOFTPLUS, SOFTSIGN, EXPONENTIAL = range(8)
HARD_SIGMOID, SILU, HARD_SILU, GELU, GELU_TANH, MISH = range(8, 14)
CELU, SHRINK, SOFT_SHRINK, SPARSE_PLUS, LOG_SIGMOID, SPARSE_SIGMOID = range(14, 20)
HARD_TANH, THRESHOLD, SQUARE_PLUS, TANH_SHRINK = range(20, 24)

_SQRT_HALF = float32(math.sqrt(0.5))
_GELU_SLOPE = float32(math.sqrt(0.5 / math.pi))
_SQRT_2_OVER_PI = float32(math.sqrt(2 / math.pi))
_GELU_CUBIC = float32(0.044715)
_INFINITY = float32(math.inf)


def forward(kind: int, parameters: tuple[float, float, float], x: Any, y: Any) -> list[Launch]:
    """y = activation(x), elementwise; y may be x.

    parameters: RELU: negative_slope, max_value (infinity for none), threshold; ELU: alpha, scale; CELU: alpha; SHRINK
        and SOFT_SHRINK: threshold; THRESHOLD: threshold, default_value; SQUARE_PLUS: b; others ignore them.
    """
    return [Launch(_forward, (-(-x.size // THREADS),), (THREADS,), (x, y, x.size, kind, *map(float32, parameters)))]


def backward(kind: int, parameters: tuple[float, float, float], gy: Any, y: Any, x: Any, gx: Any) -> list[Launch]:
    """gx = gy * the slope at x; gx may be gy.

    x: what went in; y in its place where the slope follows from that (up to HARD_SIGMOID, and CELU to SPARSE_SIGMOID).
    """
    grid, numbers = (-(-gy.size // THREADS),), map(float32, parameters)
    return [Launch(_backward, grid, (THREADS,), (gy, y, x, gx, gy.size, kind, *numbers))]


def glu(x: Any, y: Any, inner: int) -> list[Launch]:
    """y = a * sigmoid(b), where x holds `inner` elements of a, as many of b, and so on."""
    return [Launch(_glu, (-(-y.size // THREADS),), (THREADS,), (x, y, y.size, inner))]


def glu_backward(gy: Any, x: Any, gx: Any, inner: int) -> list[Launch]:
    """The gradient for x."""
    return [Launch(_glu_backward, (-(-gy.size // THREADS),), (THREADS,), (gy, x, gx, gy.size, inner))]


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
        elif kind == CELU:
            if v <= float32(0):
                v = a * math.expm1(v / a)
        elif kind == SHRINK:
            if abs(v) <= a:
                v = float32(0)
        elif kind == SOFT_SHRINK:
            v = float32(0) if abs(v) <= a else v - a if v > float32(0) else v + a
        elif kind == SPARSE_PLUS:
            if v <= float32(-1):
                v = float32(0)
            elif not v >= float32(1):
                v = (v + float32(1)) * (v + float32(1)) / float32(4)
        elif kind == LOG_SIGMOID:
            v = -_log1p_exp(-v)
        elif kind == SPARSE_SIGMOID:
            v = (v + float32(1)) / float32(2)
            v = float32(0) if v < float32(0) else float32(1) if v > float32(1) else v
        elif kind == HARD_TANH:
            v = float32(-1) if v < float32(-1) else float32(1) if v > float32(1) else v
        elif kind == THRESHOLD:
            if v <= a:
                v = b
        elif kind == SQUARE_PLUS:
            v = (v + math.sqrt(v * v + a)) * float32(0.5)
        elif kind == TANH_SHRINK:
            v = v - math.tanh(v)
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
        elif kind == CELU:
            if not out > float32(0):
                slope = out / a + float32(1)
        elif kind == SHRINK or kind == SOFT_SHRINK:
            if out == float32(0):
                slope = float32(0)
        elif kind == SPARSE_PLUS:
            if not out >= float32(1):
                slope = math.sqrt(out)
        elif kind == LOG_SIGMOID:
            slope = -math.expm1(out)
        elif kind == SPARSE_SIGMOID:
            slope = float32(0.5) if float32(0) < out < float32(1) else float32(0)
        elif kind == HARD_TANH:
            if not abs(x[i]) <= float32(1):
                slope = float32(0)
        elif kind == THRESHOLD:
            if not x[i] > a:
                slope = float32(0)
        elif kind == SQUARE_PLUS:
            v = x[i]
            slope = out / math.sqrt(v * v + a)
        elif kind == TANH_SHRINK:
            slope = math.tanh(x[i]) * math.tanh(x[i])
        gx[i] = gy[i] * slope


@cuda_jit(FLOATS, FLOATS, int32, int32, launch_bounds=THREADS)
def _glu(x, y, count, inner):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        place = uint32(i + i // uint32(inner) * inner)
        y[i] = x[place] * _logistic(x[uint32(place + inner)])


@cuda_jit(FLOATS, FLOATS, FLOATS, int32, int32, launch_bounds=THREADS)
def _glu_backward(gy, x, gx, count, inner):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        place = uint32(i + i // uint32(inner) * inner)
        gate = _logistic(x[uint32(place + inner)])
        slope = gy[i] * gate
        gx[place] = slope
        gx[uint32(place + inner)] = slope * x[place] * (float32(1) - gate)
