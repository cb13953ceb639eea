"""Sums by place on a GPU, for metrics that count: an item has a place and a weight, a place gets its weights' sum.

A thread takes a place and goes over a block's items, which wait in shared memory, in their order: no atomics, and the
same bits in every run. A block's share of the items is summed in float32, so counts of up to 2**24 items are exact;
shares are then added in their order to running sums of two numbers each, of which the second has the digits that the
first has no room for. Limited by comparisons, one for each item and place; where there are few places, by the latency
of reading shared memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32

THREADS = 256
ROWS = 1024  # that a block takes at least
SHARES = 256  # blocks of a group at most
NOWHERE = -1.0  # the place of items that do not count


def shares_of(rows: int) -> int:
    """Into how many shares the items of a group are cut."""
    return max(1, min(SHARES, -(-rows // ROWS)))


def tally(places: Any, weights: Any, shares: Any, sums: Any) -> list[Launch]:
    """sums[group, place] += the weights of the group's items with that place.

    Args:
        places, weights: (rows, groups), float32; a place is a whole number, those outside of `sums` do not count.
        shares: (shares_of(rows), groups, places), to write on.
        sums: (groups, places, 2), float32; see `total`.
    """
    (rows, groups), (parts, _, size) = places.shape, shares.shape
    passes = -(-size // THREADS)
    share = -(-rows // parts)
    numbers = (rows, groups, size, share)
    added = (shares, sums, groups * size, parts)
    return [
        Launch(_shares, (parts, groups, passes), (THREADS,), (places, weights, shares, *numbers)),
        Launch(_add, (-(-groups * size // THREADS),), (THREADS,), added),
    ]


def total(sums: np.ndarray) -> np.ndarray:
    """The sums of `tally`, a copy of the host's, as float64 of shape (groups, places)."""
    high, low = np.moveaxis(sums.astype(np.float64), -1, 0)
    return np.where(np.isfinite(high), high + low, high)


@cuda_jit(FLOATS, FLOATS, FLOATS, int32, int32, int32, int32, launch_bounds=THREADS)
def _shares(places, weights, shares, rows, groups, size, share):
    place_of_item = cuda.shared.array(THREADS, float32)
    weight_of_item = cuda.shared.array(THREADS, float32)
    thread, part, group = uint32(cuda.threadIdx.x), uint32(cuda.blockIdx.x), uint32(cuda.blockIdx.y)
    mine = uint32(cuda.blockIdx.z * THREADS + thread)
    place, total = float32(int32(mine)), float32(0)
    first = uint32(part * share)
    end = uint32(min(int32(rows), int32(first + share)))
    while first < end:
        row = uint32(first + thread)
        if row < end:
            item = uint32(row * groups + group)
            place_of_item[thread] = places[item]
            weight_of_item[thread] = weights[item]
        cuda.syncthreads()
        count = uint32(min(int32(THREADS), int32(end - first)))
        i = uint32(0)
        while i < count:
            if place_of_item[i] == place:
                total += weight_of_item[i]
            i = uint32(i + 1)
        cuda.syncthreads()
        first = uint32(first + THREADS)
    if mine < uint32(size):
        shares[uint32((part * groups + group) * size + mine)] = total


@cuda_jit(FLOATS, FLOATS, int32, int32, launch_bounds=THREADS)
def _add(shares, sums, count, parts):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        high, low = sums[uint32(2 * i)], sums[uint32(2 * i + 1)]
        part = uint32(0)
        while part < uint32(parts):
            more = shares[uint32(part * count + i)]
            grown = high + more
            taken = grown - high
            low += (high - (grown - taken)) + (more - taken)  # what was rounded off (Knuth's two-sum)
            high = grown
            part = uint32(part + 1)
        sums[uint32(2 * i)], sums[uint32(2 * i + 1)] = high, low
