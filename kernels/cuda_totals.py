"""Sums that a step leaves in its row of a table on a GPU: of losses, metrics and penalties.

A sum is taken in two stages: blocks sum shares, one block adds these in their order. Limited by bytes; the sum of a
small batch by the latency of two launches.
"""

from __future__ import annotations

from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_sums import block_sum

THREADS = 256
SHARES = 256  # that a sum has at most


def weighted_sum(values: Any, factors: Any, shares: Any, totals: Any, row: Any, column: int) -> list[Launch]:
    """totals[row, column] = the sum of values times factors.

    Args:
        values, factors: of one size.
        shares: float32 (SHARES,), to write on.
        totals: (rows, columns).
        row: one number, float32, which may change from launch to launch.
    """
    count = min(SHARES, -(-values.size // THREADS))
    first = Launch(_weighted_shares, (count,), (THREADS,), (values, factors, shares, values.size, count))
    return [first, add_shares(shares, count, totals, row, column)]


def add_shares(shares: Any, count: int, totals: Any, row: Any, column: int) -> Launch:
    """totals[row, column] = the sum of the first `count` shares."""
    return Launch(_add_shares, (1,), (THREADS,), (shares, totals, row, count, column, totals.shape[1]))


@cuda_jit(FLOATS, FLOATS, FLOATS, int32, int32, launch_bounds=THREADS)
def _weighted_shares(values, factors, shares, count, blocks):
    parts = cuda.shared.array(THREADS, float32)
    thread = uint32(cuda.threadIdx.x)
    total = float32(0)
    i = uint32(cuda.blockIdx.x * THREADS + thread)
    while i < uint32(count):
        total += values[i] * factors[i]
        i = uint32(i + blocks * THREADS)
    total = block_sum(parts, thread, THREADS, total)
    if thread == uint32(0):
        shares[uint32(cuda.blockIdx.x)] = total


@cuda_jit(FLOATS, FLOATS, FLOATS, int32, int32, int32, launch_bounds=THREADS)
def _add_shares(shares, totals, row, count, column, columns):
    parts = cuda.shared.array(THREADS, float32)
    thread = uint32(cuda.threadIdx.x)
    total = float32(0)
    if thread < uint32(count):
        total = shares[thread]
    total = block_sum(parts, thread, THREADS, total)
    if thread == uint32(0):
        totals[uint32(uint32(row[0]) * columns + column)] = total
