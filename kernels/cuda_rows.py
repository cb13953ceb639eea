"""Rows of an array on a GPU, wherever their elements lie, and which threads take them.

`cuda_units.Units` says where: its sums are the rows, its terms their elements. A warp takes a row (ALONE); a block
takes one where rows are long (TOGETHER); and where not the elements of a row but those of neighbouring rows lie side by
side, as along an image's rows, a block takes 32 rows (ACROSS): each lane has one, and the warps share its elements.
Sums are taken in an order that follows from the rows alone.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.kernels.cuda import cuda, device_function, float32, uint32
from fastconv.kernels.cuda_sums import warp_sum
from fastconv.kernels.cuda_units import Units

WARP = 32
WARPS, MOST_WARPS = 8, 32  # of a block, and of a large one
THREADS = WARP * MOST_WARPS
LONG, VERY_LONG = 1024, 8192  # elements of a row for which a warp, and a small block, are too few

ALONE, TOGETHER, ACROSS = range(3)


class Sharing(NamedTuple):
    """How rows are shared out."""

    way: int
    grid: tuple[int]
    block: tuple[int, int]


def sharing(rows: Units) -> Sharing:
    """How threads share these rows."""
    if rows.unit1 == 1 and rows.term1 != 1:
        return Sharing(ACROSS, (-(-rows.units // WARP),), (WARP, WARPS if rows.terms < LONG else MOST_WARPS))
    if rows.terms < LONG:
        return Sharing(ALONE, (-(-rows.units // WARPS),), (WARP, WARPS))
    return Sharing(TOGETHER, (rows.units,), (WARP, WARPS if rows.terms < VERY_LONG else MOST_WARPS))


@device_function
def share_of(way, rows):
    """A thread's row, its first element there, how `after` goes on from that to the next, and the row's end.

    An element is its number in the row, its place in memory, and its number along the second axis. A thread beyond the
    last row has nothing of it: its end is 0.
    """
    lane, line = uint32(cuda.threadIdx.x), uint32(cuda.threadIdx.y)
    if way == ACROSS:
        row, term, step = uint32(cuda.blockIdx.x * WARP + lane), line, uint32(cuda.blockDim.y)
    elif way == ALONE:
        row, term, step = uint32(cuda.blockIdx.x * WARPS + line), lane, uint32(WARP)
    else:
        row, term, step = uint32(cuda.blockIdx.x), uint32(line * WARP + lane), uint32(WARP * cuda.blockDim.y)
    outer_row = uint32(row // uint32(rows.n))
    start = uint32(outer_row * rows.unit0 + (row - outer_row * rows.n) * rows.unit1)
    outer, outer_step = uint32(term // uint32(rows.m)), uint32(step // uint32(rows.m))
    inner, inner_step = uint32(term - outer * rows.m), uint32(step - outer_step * rows.m)
    first = term, uint32(start + outer * rows.term0 + inner * rows.term1), inner
    carry = uint32(rows.term0 - rows.m * rows.term1)  # to the next line along the first axis
    steps = step, uint32(outer_step * rows.term0 + inner_step * rows.term1), inner_step, carry
    return row, first, steps, uint32(rows.terms) if row < uint32(rows.units) else uint32(0)


@device_function
def after(element, steps, rows):
    """A thread's next element of its row: no division is needed from one to the next."""
    term, place, inner = element
    step, place_step, inner_step, carry = steps
    place, inner = uint32(place + place_step), uint32(inner + inner_step)
    if inner >= uint32(rows.m):
        place, inner = uint32(place + carry), uint32(inner - rows.m)
    return uint32(term + step), place, inner


@device_function
def row_sum(shares, way, value):
    """The sum over a row's threads, in each of them. shares: shared memory, THREADS numbers."""
    if way != ACROSS:
        value = warp_sum(value)
    if way != ALONE:
        lane = uint32(cuda.threadIdx.x)
        shares[uint32(cuda.threadIdx.y * WARP + lane)] = value
        cuda.syncthreads()
        value = float32(0)
        for line in range(cuda.blockDim.y):
            value += shares[uint32(line * WARP + lane)]
        cuda.syncthreads()  # the numbers there have been read
    return value


@device_function
def row_largest(shares, way, value):
    """The largest over a row's threads, in each of them; NaN if one is. shares: as for `row_sum`."""
    if way != ACROSS:
        for bits in (16, 8, 4, 2, 1):
            other = cuda.shfl_xor_sync(0xFFFFFFFF, value, bits)
            if not other <= value:
                value = other
    if way != ALONE:
        lane = uint32(cuda.threadIdx.x)
        shares[uint32(cuda.threadIdx.y * WARP + lane)] = value
        cuda.syncthreads()
        for line in range(cuda.blockDim.y):
            other = shares[uint32(line * WARP + lane)]
            if not other <= value:
                value = other
        cuda.syncthreads()
    return value
