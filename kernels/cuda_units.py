"""Sums over some axes of an array on a GPU: a block takes 32 sums, 16 threads take turns at the terms of each.

Few sums of many terms, such as a bias's gradient over all pixels of a batch, would leave most of a GPU without a block,
and each thread waits for one load after another: their terms are cut into chunks, and a second launch adds the chunks'
sums in their order. Limited by bytes, x read once, where the sums lie side by side, as those of channels or of a
layer's units do; sums whose terms lie side by side read lines of which a block uses a part at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_chunks import Chunks

WARP = 32  # sums of a block
SHARES = 16  # threads of a sum
BLOCK = WARP * SHARES
LEAST = 32 * SHARES  # terms of a chunk


class Units(NamedTuple):
    """Where the terms of sums lie: two axes of sums with their strides, and two of a sum's terms."""

    units: int
    n: int  # units along the second axis
    unit0: int
    unit1: int
    terms: int
    m: int  # terms along the second axis
    term0: int
    term1: int


def units_of(shape: Sequence[int], axes: Sequence[int]) -> Units:
    """The sums over `axes` of an array of that shape.

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
        raise ValueError(f"sums over the axes {tuple(axes)} of an array of shape {tuple(shape)} are too mixed.")
    numbers: list[int] = []
    for runs in kinds:
        (outer, outer_stride), (inner, inner_stride) = [(1, 0)] * (2 - len(runs)) + runs
        numbers += [outer * inner, inner, outer_stride, inner_stride]
    return Units(*numbers)


def blocks(units: Units) -> tuple[tuple[int], tuple[int, int]]:
    """The grid and the block of a kernel that makes the sums."""
    return (-(-units.units // WARP),), (WARP, SHARES)


def partial_shape(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, int]:
    """(chunks, sums): the shape of what the sums over `axes` of an array of that shape are kept in."""
    units = units_of(shape, axes)
    return _chunks(units).number, units.units


def sum_over(x: Any, axes: Sequence[int], y: Any, partial: Any = None) -> list[Launch]:
    """y = the sums of x over `axes`; y has an element for each, in their order.

    partial: of `partial_shape`, to write on; None to take all terms of a sum as one chunk.
    """
    units = units_of(x.shape, axes)
    grid, block = blocks(units)
    chunks = Chunks(1, units.terms) if partial is None else _chunks(units)
    if chunks.number == 1:
        return [Launch(_sum_over, grid, block, (x, y, units, units.terms))]
    first = Launch(_sum_over, (*grid, chunks.number), block, (x, partial, units, chunks.terms))
    return [first, *sum_over(partial, (0,), y)]


def _chunks(units: Units) -> Chunks:
    return Chunks.of(units.terms, -(-units.units // WARP), LEAST)


@device_function
def first_of(unit, u):
    """Where the first term of a sum lies."""
    row = uint32(unit // uint32(u.n))
    return uint32(row * u.unit0 + (unit - row * u.n) * u.unit1)


@device_function
def place_of(first, term, u):
    """Where a term lies."""
    row = uint32(term // uint32(u.m))
    return uint32(first + row * u.term0 + (term - row * u.m) * u.term1)


@device_function
def shared_sum(shares, lane, share, value):
    """The sum over a lane's SHARES threads, in each of them. shares: shared memory, a number a thread of the block."""
    thread = uint32(share * WARP + lane)
    shares[thread] = value
    cuda.syncthreads()
    half = uint32(SHARES // 2)
    while half > uint32(0):
        if share < half:
            shares[thread] += shares[uint32(thread + half * WARP)]
        cuda.syncthreads()
        half = uint32(half // 2)
    return shares[lane]


@cuda_jit(FLOATS, FLOATS, Units, int32, launch_bounds=BLOCK)
def _sum_over(x, y, u, terms):
    shares = cuda.shared.array(BLOCK, float32)
    lane, share, chunk = uint32(cuda.threadIdx.x), uint32(cuda.threadIdx.y), uint32(cuda.blockIdx.y)
    unit = uint32(cuda.blockIdx.x * WARP + lane)
    total = float32(0)
    if unit < uint32(u.units):
        first, term = first_of(unit, u), uint32(chunk * terms + share)
        end = uint32(min(u.terms, int32((chunk + 1) * terms)))
        while term < end:
            total += x[place_of(first, term, u)]
            term = uint32(term + SHARES)
    total = shared_sum(shares, lane, share, total)
    if unit < uint32(u.units) and share == uint32(0):
        y[uint32(chunk * u.units + unit)] = total
