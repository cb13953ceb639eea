"""What weights obey after a step on a GPU: a thread an element, or for norms as `cuda_units` sums. Limited by bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_units import BLOCK, SHARES, WARP, Units, blocks, first_of, place_of, shared_sum, units_of

THREADS = 256


def not_negative(value: Any) -> list[Launch]:
    """Negative elements become 0."""
    return [Launch(_not_negative, (-(-value.size // THREADS),), (THREADS,), (value, value.size))]


def limit_norms(
    value: Any, axes: Sequence[int], smallest: float, largest: float, rate: float, epsilon: float
) -> list[Launch]:
    """Norms over `axes` go a part `rate` of the way into [smallest, largest]; see `constraints.MinMaxNorm`."""
    units = units_of(value.shape, axes)
    numbers = map(float32, (smallest, largest, rate, epsilon))
    return [Launch(_limit_norms, *blocks(units), (value, units, *numbers))]


@cuda_jit(FLOATS, int32, launch_bounds=THREADS)
def _not_negative(value, count):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count) and value[i] < float32(0):
        value[i] = float32(0)


@cuda_jit(FLOATS, Units, float32, float32, float32, float32, launch_bounds=BLOCK)
def _limit_norms(value, u, smallest, largest, rate, epsilon):
    shares = cuda.shared.array(BLOCK, float32)
    lane, share = uint32(cuda.threadIdx.x), uint32(cuda.threadIdx.y)
    unit = uint32(cuda.blockIdx.x * WARP + lane)
    first, term, total = first_of(unit, u), share, float32(0)
    if unit < uint32(u.units):
        while term < uint32(u.terms):
            w = value[place_of(first, term, u)]
            total += w * w
            term = uint32(term + SHARES)
    norm = math.sqrt(shared_sum(shares, lane, share, total))
    if unit < uint32(u.units):
        near = smallest if norm < smallest else largest if norm > largest else norm
        factor = (rate * near + (float32(1) - rate) * norm) / (epsilon + norm)
        term = share
        while term < uint32(u.terms):
            value[place_of(first, term, u)] *= factor
            term = uint32(term + SHARES)
