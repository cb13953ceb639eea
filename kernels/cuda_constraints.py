"""What weights obey after a step on a GPU: a thread an element, or for norms a block 32 units of a layer.

A unit's norm is the sum over its weights' squares; 16 threads take turns at them, and their sums are added in a fixed
order. Limited by bytes where the units' weights lie side by side, as in the kernels of all layers here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32

THREADS = 256
WARP = 32  # units of a block
SHARES = 16  # threads of a unit
BLOCK = WARP * SHARES


class Units(NamedTuple):
    """Where the weights of a layer's units lie: two axes of units with their strides, and two of a unit's weights."""

    units: int
    n: int  # units along the second axis
    unit0: int
    unit1: int
    terms: int
    m: int  # weights along the second axis
    term0: int
    term1: int


def not_negative(value: Any) -> list[Launch]:
    """Negative elements become 0."""
    return [Launch(_not_negative, (-(-value.size // THREADS),), (THREADS,), (value, value.size))]


def limit_norms(
    value: Any, axes: Sequence[int], smallest: float, largest: float, rate: float, epsilon: float
) -> list[Launch]:
    """Norms over `axes` go a part `rate` of the way into [smallest, largest]; see `constraints.MinMaxNorm`."""
    units = units_of(value.shape, axes)
    numbers = map(float32, (smallest, largest, rate, epsilon))
    return [Launch(_limit_norms, (-(-units.units // WARP),), (WARP, SHARES), (value, units, *numbers))]


def units_of(shape: Sequence[int], axes: Sequence[int]) -> Units:
    """The units of an array of that shape, whose weights lie along `axes`.

    Raises:
        ValueError: an axis is not one of the array's, or the axes are too mixed: more than two runs of either kind.
    """
    rank = len(shape)
    if any(not -rank <= axis < rank for axis in axes):
        raise ValueError(f"axes {tuple(axes)} are not those of an array of shape {tuple(shape)}.")
    wanted = {axis % rank for axis in axes}
    kinds: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    stride = math.prod(shape)
    for axis, size in enumerate(shape):
        stride //= size
        runs = kinds[axis in wanted]
        if runs and runs[-1][1] == size * stride:
            runs[-1] = (runs[-1][0] * size, stride)
        elif size > 1:
            runs.append((size, stride))
    if max(map(len, kinds)) > 2:
        raise ValueError(f"norms over the axes {tuple(axes)} of an array of shape {tuple(shape)} are too mixed.")
    numbers: list[int] = []
    for runs in kinds:
        (outer, outer_stride), (inner, inner_stride) = [(1, 0)] * (2 - len(runs)) + runs
        numbers += [outer * inner, inner, outer_stride, inner_stride]
    return Units(*numbers)


@cuda_jit(FLOATS, int32, launch_bounds=THREADS)
def _not_negative(value, count):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count) and value[i] < float32(0):
        value[i] = float32(0)


@cuda_jit(FLOATS, Units, float32, float32, float32, float32, launch_bounds=BLOCK)
def _limit_norms(value, u, smallest, largest, rate, epsilon):
    shares = cuda.shared.array(BLOCK, float32)
    lane, share = uint32(cuda.threadIdx.x), uint32(cuda.threadIdx.y)
    unit, thread = uint32(cuda.blockIdx.x * WARP + lane), uint32(share * WARP + lane)
    row = uint32(unit // uint32(u.n))
    first = uint32(row * u.unit0 + (unit - row * u.n) * u.unit1)
    total = float32(0)
    term = share
    if unit < uint32(u.units):
        while term < uint32(u.terms):
            row = uint32(term // uint32(u.m))
            w = value[uint32(first + row * u.term0 + (term - row * u.m) * u.term1)]
            total += w * w
            term = uint32(term + SHARES)
    shares[thread] = total
    cuda.syncthreads()
    half = uint32(SHARES // 2)
    while half > uint32(0):
        if share < half:
            shares[thread] += shares[uint32(thread + half * WARP)]
        cuda.syncthreads()
        half = uint32(half // 2)
    if unit < uint32(u.units):
        norm = math.sqrt(shares[lane])
        near = smallest if norm < smallest else largest if norm > largest else norm
        factor = (rate * near + (float32(1) - rate) * norm) / (epsilon + norm)
        term = share
        while term < uint32(u.terms):
            row = uint32(term // uint32(u.m))
            value[uint32(first + row * u.term0 + (term - row * u.m) * u.term1)] *= factor
            term = uint32(term + SHARES)
