"""Penalties on weights and outputs on a GPU, and their gradients.

A penalty is a sum in two stages: blocks sum shares, one block adds these in their order. The formulas are those of
`fastconv.regularizers`. Limited by bytes, but for the cosines of rows: a thread each pair of rows, limited by latency.
"""

from __future__ import annotations

import math
from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_sums import block_sum
from fastconv.kernels.cuda_totals import SHARES, add_shares

THREADS = 256


def penalise(value: Any, gradient: Any, l1: float, l2: float) -> list[Launch]:
    """gradient += the slope of l1 * |value| + l2 * value**2."""
    arguments = (value, gradient, value.size, float32(l1), float32(2 * l2))
    return [Launch(_penalise, (-(-value.size // THREADS),), (THREADS,), arguments)]


def penalty(value: Any, l1: float, l2: float, shares: Any, totals: Any, row: Any, column: int) -> list[Launch]:
    """totals[row, column] = the sum of l1 * |value| + l2 * value**2.

    Args:
        shares: float32 (SHARES,), to write on.
        totals: (rows, columns).
        row: one number, float32, which may change from launch to launch.
    """
    count = min(SHARES, -(-value.size // THREADS))
    stages = (value, shares, value.size, count, float32(l1), float32(l2))
    added = add_shares(shares, count, totals, row, column)
    return [Launch(_penalty_shares, (count,), (THREADS,), stages), added]


def cosines(matrix: Any, by_rows: bool, norms: Any, found: Any, epsilon: float) -> list[Launch]:
    """found[i, j] = the cosine between rows i and j of a matrix, or columns; 0 where i is j.

    Args:
        norms: float32, an element a row, which gets its norm, at least `epsilon`.
        found: float32 (rows, rows).
    """
    rows, terms, row_step, term_step = _steps(matrix, by_rows)
    measured = Launch(_norms, (rows,), (THREADS,), (matrix, norms, terms, row_step, term_step, float32(epsilon)))
    arguments = (matrix, norms, found, rows, terms, row_step, term_step)
    return [measured, Launch(_cosines, (-(-rows * rows // THREADS),), (THREADS,), arguments)]


def turn_apart(
    matrix: Any, by_rows: bool, norms: Any, found: Any, scratch: Any, gradient: Any, factor: float
) -> list[Launch]:
    """gradient += the slope of `factor` times the sum of the absolute cosines of all pairs of rows, or columns.

    norms, found: as `cosines` left them; scratch: float32 of the matrix's size.
    """
    rows, terms, row_step, term_step = _steps(matrix, by_rows)
    arguments = (matrix, norms, found, scratch, gradient, rows, terms, row_step, term_step, float32(factor))
    return [Launch(_turn_apart, (rows,), (THREADS,), arguments)]


def _steps(matrix: Any, by_rows: bool) -> tuple[int, int, int, int]:
    """How many rows, or columns; how many elements each; and how far apart both lie."""
    rows, columns = matrix.shape
    return (rows, columns, columns, 1) if by_rows else (columns, rows, 1, columns)


@cuda_jit(FLOATS, FLOATS, int32, float32, float32, launch_bounds=THREADS)
def _penalise(value, gradient, count, l1, twice_l2):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        v = value[i]
        slope = twice_l2 * v
        if v > float32(0):
            slope += l1
        elif v < float32(0):
            slope -= l1
        gradient[i] += slope


@cuda_jit(FLOATS, FLOATS, int32, int32, float32, float32, launch_bounds=THREADS)
def _penalty_shares(value, shares, count, blocks, l1, l2):
    parts = cuda.shared.array(THREADS, float32)
    thread = uint32(cuda.threadIdx.x)
    total = float32(0)
    i = uint32(cuda.blockIdx.x * THREADS + thread)
    while i < uint32(count):
        v = value[i]
        total += l1 * abs(v) + l2 * v * v
        i = uint32(i + blocks * THREADS)
    total = block_sum(parts, thread, THREADS, total)
    if thread == uint32(0):
        shares[uint32(cuda.blockIdx.x)] = total


@cuda_jit(FLOATS, FLOATS, int32, int32, int32, float32, launch_bounds=THREADS)
def _norms(matrix, norms, terms, row_step, term_step, epsilon):
    parts = cuda.shared.array(THREADS, float32)
    thread, row = uint32(cuda.threadIdx.x), uint32(cuda.blockIdx.x)
    total = float32(0)
    term = thread
    while term < uint32(terms):
        v = matrix[uint32(row * row_step + term * term_step)]
        total += v * v
        term = uint32(term + THREADS)
    total = block_sum(parts, thread, THREADS, total)
    if thread == uint32(0):
        norms[row] = max(math.sqrt(total), epsilon)


@cuda_jit(FLOATS, FLOATS, FLOATS, int32, int32, int32, int32, launch_bounds=THREADS)
def _cosines(matrix, norms, found, rows, terms, row_step, term_step):
    pair = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if pair < uint32(rows * rows):
        one = uint32(pair // uint32(rows))
        other = uint32(pair - one * rows)
        total = float32(0)
        if one != other:
            term = uint32(0)
            while term < uint32(terms):
                a = matrix[uint32(one * row_step + term * term_step)]
                total += a * matrix[uint32(other * row_step + term * term_step)]
                term = uint32(term + 1)
            total /= norms[one] * norms[other]
        found[pair] = total


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, int32, int32, int32, int32, float32, launch_bounds=THREADS)
def _turn_apart(matrix, norms, found, scratch, gradient, rows, terms, row_step, term_step, factor):
    parts = cuda.shared.array(THREADS, float32)
    thread, row = uint32(cuda.threadIdx.x), uint32(cuda.blockIdx.x)
    along = float32(0)  # growing a row along itself does not turn it
    term = thread
    while term < uint32(terms):
        total = float32(0)
        other = uint32(0)
        while other < uint32(rows):
            cosine = found[uint32(row * rows + other)]
            share = matrix[uint32(other * row_step + term * term_step)] / norms[other]
            if cosine > float32(0):
                total += share
            elif cosine < float32(0):
                total -= share
            other = uint32(other + 1)
        place = uint32(row * row_step + term * term_step)
        scratch[place] = total
        along += total * matrix[place] / norms[row]
        term = uint32(term + THREADS)
    along = block_sum(parts, thread, THREADS, along)
    term = thread
    while term < uint32(terms):
        place = uint32(row * row_step + term * term_step)
        gradient[place] += factor * (scratch[place] - along * matrix[place] / norms[row]) / norms[row]
        term = uint32(term + THREADS)
