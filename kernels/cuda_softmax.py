"""Softmax, its logarithm and sparsemax on a GPU, along any axes: each row of elements by itself, see `cuda_rows`.

Limited by bytes where rows are many and their elements, or those of neighbouring rows, lie side by side: a row is read
several times, but from the cache if it is not very long; two numbers an element forward and three backward have to
come from memory. Sparsemax reads a row once more for each round of its search, of which there are a few.
"""

from __future__ import annotations

import math
from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32
from fastconv.kernels.cuda_rows import THREADS, after, row_largest, row_sum, share_of, sharing
from fastconv.kernels.cuda_sums import warp_sum
from fastconv.kernels.cuda_units import Units

SOFTMAX, LOG_SOFTMAX, SPARSEMAX = range(3)

_INFINITY = float32(math.inf)


def forward(kind: int, x: Any, y: Any, rows: Units) -> list[Launch]:
    """y = softmax(x), or another of the kinds, of each of the rows; y may be x."""
    way, grid, block = sharing(rows)
    return [Launch(_forward, grid, block, (x, y, kind, way, rows))]


def backward(kind: int, gy: Any, y: Any, gx: Any, rows: Units) -> list[Launch]:
    """gx for the input of a softmax, or of another, whose output was y; gx may be gy."""
    way, grid, block = sharing(rows)
    return [Launch(_backward, grid, block, (gy, y, gx, kind, way, rows))]


@cuda_jit(FLOATS, FLOATS, int32, int32, Units, launch_bounds=THREADS)
def _forward(x, y, kind, way, rows):
    shares = cuda.shared.array(THREADS, float32)
    _, first, steps, end = share_of(way, rows)
    largest = -_INFINITY
    element = first
    while element[0] < end:
        v = x[element[1]]
        if kind == SPARSEMAX:
            if v > largest:  # a NaN takes part in nothing
                largest = v
        elif not v <= largest:  # a NaN, too
            largest = v
        element = after(element, steps, rows)
    largest = row_largest(shares, way, largest)
    total = float32(0)
    if kind != SPARSEMAX:
        element = first
        while element[0] < end:
            total += math.exp(x[element[1]] - largest)
            element = after(element, steps, rows)
        total = row_sum(shares, way, total)
        if kind == LOG_SOFTMAX:
            total = math.log(total)
    else:
        # The limit rises: above the one found the elements' sum gives the next, until none of them falls out.
        # Counts fall in each round, whatever rounding does; warps go on together, as rows of a block may need others.
        total, least, goes_on = float32(-1), _INFINITY, float32(1)
        while goes_on > float32(0):
            above, count = float32(0), float32(0)
            element = first
            while element[0] < end:
                v = x[element[1]] - largest
                if v > total:
                    above += v
                    count += float32(1)
                element = after(element, steps, rows)
            above = row_sum(shares, way, above)
            count = row_sum(shares, way, count)
            fewer = count < least and count > float32(0)
            if fewer:
                least = count
                total = (above - float32(1)) / count
            goes_on = warp_sum(float32(1) if fewer else float32(0))
    element = first
    while element[0] < end:
        place = element[1]
        v = x[place] - largest
        if kind == SOFTMAX:
            v = math.exp(v) / total
        else:
            v = v - total
            if kind == SPARSEMAX and v < float32(0):
                v = float32(0)
        y[place] = v
        element = after(element, steps, rows)


@cuda_jit(FLOATS, FLOATS, FLOATS, int32, int32, Units, launch_bounds=THREADS)
def _backward(gy, y, gx, kind, way, rows):
    shares = cuda.shared.array(THREADS, float32)
    _, first, steps, end = share_of(way, rows)
    total, count = float32(0), float32(0)
    element = first
    while element[0] < end:
        place = element[1]
        if kind == SOFTMAX:
            total += gy[place] * y[place]
        elif kind == LOG_SOFTMAX:
            total += gy[place]
        elif y[place] > float32(0):
            total += gy[place]
            count += float32(1)
        element = after(element, steps, rows)
    total = row_sum(shares, way, total)
    if kind == SPARSEMAX:
        total = total / row_sum(shares, way, count)
    element = first
    while element[0] < end:
        place = element[1]
        slope, out = gy[place], y[place]
        if kind == SOFTMAX:
            slope = (slope - total) * out
        elif kind == LOG_SOFTMAX:
            slope = slope - math.exp(out) * total
        else:
            slope = slope - total if out > float32(0) else float32(0)
        gx[place] = slope
        element = after(element, steps, rows)
