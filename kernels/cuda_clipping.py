"""Gradients shortened to a norm on a GPU: each variable's by itself, or all together.

The gradients of all variables lie in one array. It is taken in chunks that belong to one variable each; a block sums a
chunk's squares, another block adds the sums of a variable's chunks in their order, and a third pass multiplies. So
there are three launches however many variables there are, and the same bits in every run. Limited by bytes: the
gradients are read twice and written once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import types

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, uint32
from fastconv.kernels.cuda_sums import block_sum

THREADS = 256
CHUNK = 4096  # elements
INTS = types.Array(types.int32, 1, "C")

_INFINITY, _NAN = float32(math.inf), float32(math.nan)


def chunks(places: Sequence[slice], together: bool) -> tuple[np.ndarray, np.ndarray]:
    """The chunks of variables at these places of an array, and which of them make a norm.

    Args:
        places: of each variable.
        together: whether all variables have one norm.

    Returns:
        int32 (chunks, 3), a row the first element, how many, and the number of its norm; and int32 (norms, 2), a row
        the first chunk and how many.
    """
    rows: list[tuple[int, int, int]] = []
    norms: list[tuple[int, int]] = []
    for place in places:
        first = len(rows)
        norm = 0 if together else len(norms)
        for start in range(place.start, place.stop, CHUNK):
            rows.append((start, min(CHUNK, place.stop - start), norm))
        norms.append((first, len(rows) - first))
    if together:
        norms = [(0, len(rows))]
    return np.array(rows, np.int32).reshape(-1, 3), np.array(norms, np.int32)


def clip_by_norm(gradient: Any, tables: tuple[Any, Any], shares: Any, scales: Any, longest: float) -> list[Launch]:
    """Parts of `gradient` whose norm is above `longest` are shortened to it; NaN if it is not finite.

    Args:
        tables: on the device, what `chunks` gave.
        shares, scales: float32 to write on, one element a chunk and one a norm.
    """
    table, norms = tables
    factors = Launch(_shortenings, (len(norms),), (THREADS,), (shares, norms, scales, float32(longest)))
    return [
        square_sums(gradient, table, shares),
        factors,
        Launch(_scale, (len(table),), (THREADS,), (gradient, table, scales)),
    ]


def square_sums(array: Any, table: Any, shares: Any) -> Launch:
    """shares[chunk] = the sum of the squares of a chunk of the array."""
    return Launch(_square_sums, (len(table),), (THREADS,), (array, table, shares))


@cuda_jit(FLOATS, INTS, FLOATS, launch_bounds=THREADS)
def _square_sums(gradient, table, shares):
    parts = cuda.shared.array(THREADS, float32)
    thread, row = uint32(cuda.threadIdx.x), uint32(3 * cuda.blockIdx.x)
    i = uint32(table[row] + thread)
    end = uint32(table[row] + table[uint32(row + 1)])
    total = float32(0)
    while i < end:
        total += gradient[i] * gradient[i]
        i = uint32(i + THREADS)
    total = block_sum(parts, thread, THREADS, total)
    if thread == uint32(0):
        shares[uint32(cuda.blockIdx.x)] = total


@cuda_jit(FLOATS, INTS, FLOATS, float32, launch_bounds=THREADS)
def _shortenings(shares, norms, scales, longest):
    parts = cuda.shared.array(THREADS, float32)
    thread, row = uint32(cuda.threadIdx.x), uint32(2 * cuda.blockIdx.x)
    i = uint32(norms[row] + thread)
    end = uint32(norms[row] + norms[uint32(row + 1)])
    total = float32(0)
    while i < end:
        total += shares[i]
        i = uint32(i + THREADS)
    total = block_sum(parts, thread, THREADS, total)
    if thread == uint32(0):
        scale = _NAN
        if total < _INFINITY:
            scale = longest / max(math.sqrt(total), longest)
        scales[uint32(cuda.blockIdx.x)] = scale


@cuda_jit(FLOATS, INTS, FLOATS, launch_bounds=THREADS)
def _scale(gradient, table, scales):
    row = uint32(3 * cuda.blockIdx.x)
    i = uint32(table[row] + cuda.threadIdx.x)
    end = uint32(table[row] + table[uint32(row + 1)])
    scale = scales[uint32(table[uint32(row + 2)])]
    while i < end:
        gradient[i] *= scale
        i = uint32(i + THREADS)
