"""Normally distributed numbers in a thread of a GPU, and noise made of them: the numbers of `cpu_normal`, see `normal`.

A thread draws four numbers and changes four elements; nothing is kept, a gradient's are drawn again. Limited by bytes,
x read and y written, where a GPU does some 150 instructions in the time of eight bytes of an element; else by those.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_philox import THREADS, first_number, grid, key_words, words
from fastconv.kernels.normal import COSINE, LOG, LOG_2, SINE, SQRT_HALF
from fastconv.kernels.philox import LANES, STEP

_L5, _L4, _L3, _L2, _L1, _L0 = map(np.float32, LOG)
_S5, _S4, _S3, _S2, _S1, _S0 = map(np.float32, SINE)
_C5, _C4, _C3, _C2, _C1, _C0 = map(np.float32, COSINE)
_LOG_2, _SQRT_HALF = np.float32(LOG_2), np.float32(SQRT_HALF)


def add_noise(x: Any, y: Any, key: int, call: Any, deviation: float) -> list[Launch]:
    """y = x + deviation * normal numbers; y may be x. key, call: as for `cuda_dropout.dropout`."""
    return _launch(x, y, key, call, deviation, False)


def times_noise(x: Any, y: Any, key: int, call: Any, deviation: float) -> list[Launch]:
    """y = x * (1 + deviation * normal numbers); y may be x."""
    return _launch(x, y, key, call, deviation, True)


def _launch(x: Any, y: Any, key: int, call: Any, deviation: float, is_factor: bool) -> list[Launch]:
    arguments = (x, y, call, x.size, *key_words(key), int(is_factor), float32(deviation))
    return [Launch(_noise, grid(x.size), (THREADS,), arguments)]


@device_function
def _radius(word):
    """sqrt(-2 log u)."""
    count = uint32((word >> uint32(8)) + uint32(1))  # of steps that u is above 0
    zeros = uint32(cuda.clz(int32(count)))
    m = float32(int32(uint32(count << zeros) >> uint32(8))) * float32(STEP)  # from 1/2 to below 1
    e = float32(int32(8) - int32(zeros))
    if m < _SQRT_HALF:
        m = m + m
        e = e - float32(1)
    s = (m - float32(1)) / (m + float32(1))
    q = s * s
    p = cuda.fma(cuda.fma(cuda.fma(cuda.fma(cuda.fma(_L5, q, _L4), q, _L3), q, _L2), q, _L1), q, _L0)
    return math.sqrt(cuda.fma(e, _LOG_2, s * p * float32(-2)))


@device_function
def _turn(word):
    """The cosine and the sine of a whole turn times v."""
    t = float32(int32(uint32(word >> uint32(6)) & uint32(0xFFFFFF))) * float32(STEP) - float32(0.5)
    q = t * t
    sine = cuda.fma(cuda.fma(cuda.fma(cuda.fma(cuda.fma(_S5, q, _S4), q, _S3), q, _S2), q, _S1), q, _S0) * t
    cosine = cuda.fma(cuda.fma(cuda.fma(cuda.fma(cuda.fma(_C5, q, _C4), q, _C3), q, _C2), q, _C1), q, _C0)
    quadrant = uint32(word >> uint32(30))
    across, up = cosine, sine
    if quadrant % uint32(2) == uint32(1):
        across, up = sine, cosine
    if quadrant == uint32(1) or quadrant == uint32(2):
        across = -across
    if quadrant >= uint32(2):
        up = -up
    return across, up


@cuda_jit(FLOATS, FLOATS, FLOATS, *[int32] * 4, float32, launch_bounds=THREADS)
def _noise(x, y, call, count, key_low, key_high, is_factor, deviation):
    group = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    drawn = words(group, call, key_low, key_high)
    first = first_number(group)
    for pair in range(2):
        radius = _radius(drawn[2 * pair])
        turn = _turn(drawn[2 * pair + 1])
        for part in range(2):
            i = uint32(first + (2 * pair + part) * LANES)
            if i < uint32(count):
                number = radius * turn[part]
                if is_factor:
                    y[i] = x[i] * cuda.fma(number, deviation, float32(1))
                else:
                    y[i] = x[i] + cuda.fma(number, deviation, float32(0))
