"""Brightness and contrast of images on a GPU: a thread an element, all numbers of an image read anew in each launch.

Limited by bytes: x read, y written.
"""

from __future__ import annotations

import math
from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32

THREADS = 256
EVERYTHING = (-math.inf, math.inf)


def brighten(x: Any, numbers: Any, y: Any, limits: tuple[float, float]) -> list[Launch]:
    """y = x + numbers[n], cut off at the limits; x, y: (N, H, W, C), which may be one; numbers: (N,)."""
    return _launch(_brighten, x, (x, numbers, y, x.size, x.size // len(x), *map(float32, limits)))


def spread(x: Any, numbers: Any, sums: Any, y: Any, limits: tuple[float, float] = EVERYTHING) -> list[Launch]:
    """y = (x - mean) * numbers[n] + mean, cut off at the limits; arrays as for `brighten`.

    sums: (N, C), of the pixels of a channel, from which the means follow.
    """
    sizes = x.size // len(x), x.shape[-1]
    share = float32(x.shape[-1] / sizes[0])
    return _launch(_spread, x, (x, numbers, sums, y, x.size, *sizes, share, *map(float32, limits)))


def within(gy: Any, y: Any, gx: Any, limits: tuple[float, float]) -> list[Launch]:
    """gx = gy where y lies between the limits, else 0; gx may be gy."""
    return _launch(_within, gy, (gy, y, gx, gy.size, *map(float32, limits)))


def _launch(kernel: Any, x: Any, arguments: tuple[Any, ...]) -> list[Launch]:
    return [Launch(kernel, (-(-x.size // THREADS),), (THREADS,), arguments)]


@cuda_jit(FLOATS, FLOATS, FLOATS, int32, int32, float32, float32, launch_bounds=THREADS)
def _brighten(x, numbers, y, count, size, lowest, highest):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        value = x[i] + numbers[uint32(i // uint32(size))]
        value = lowest if value < lowest else value  # a NaN stays one
        y[i] = highest if value > highest else value


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, int32, int32, int32, float32, float32, float32, launch_bounds=THREADS)
def _spread(x, numbers, sums, y, count, size, channels, share, lowest, highest):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        n = uint32(i // uint32(size))
        mean = sums[uint32(n * channels + i % uint32(channels))] * share
        value = (x[i] - mean) * numbers[n] + mean
        value = lowest if value < lowest else value
        y[i] = highest if value > highest else value


@cuda_jit(FLOATS, FLOATS, FLOATS, int32, float32, float32, launch_bounds=THREADS)
def _within(gy, y, gx, count, lowest, highest):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        gx[i] = gy[i] if lowest < y[i] < highest else float32(0)
