"""The losses of how much masks overlap on a GPU, and their gradient: Tversky's, of which Dice's is a case.

A row of predictions has one value, 1 - a ratio of sums over it: both = sum(t * p), missed = sum(t * (1 - p)) and wrong
= sum((1 - t) * p). A row may be all of a batch, so sums are taken in two stages: blocks sum shares of a row, then a
thread adds a row's shares in their order. Limited by bytes: predictions and targets are read twice and the gradient
is written once. The formulas are those of `fastconv.loss_overlap`.
"""

from __future__ import annotations

from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_sums import block_sum

THREADS = 256
COLUMNS = 2048  # that a block takes at least
SHARES = 256  # of a row at most


def scratch_shape(rows: int, columns: int) -> tuple[int, int, int]:
    """The shape of what sums are kept in: three for each share of a row."""
    return rows, max(1, min(SHARES, -(-columns // COLUMNS))), 3


def overlap(
    y_pred: Any,
    targets: Any,
    factors: Any,
    values: Any,
    gradient: Any,
    scratch: Any,
    ratio: tuple[float, float, float],
    scale: float = 1.0,
) -> list[Launch]:
    """values[row] = 1 - both / (both + alpha * missed + beta * wrong + epsilon), for the `ratio` alpha, beta, epsilon.

    Args:
        y_pred, targets: (rows, columns). factors, values: (rows,).
        gradient: of y_pred's shape: of the sum of values times factors, times `scale`; None for none.
        scratch: of `scratch_shape`.
    """
    rows, columns = y_pred.shape
    parts = scratch.shape[1]
    share = -(-columns // parts)
    numbers = tuple(map(float32, ratio))
    launches = [
        Launch(_share_sums, (rows * parts,), (THREADS,), (y_pred, targets, scratch, columns, parts, share)),
        Launch(_values, (-(-rows // THREADS),), (THREADS,), (scratch, values, rows, parts, *numbers)),
    ]
    if gradient is not None:
        arrays = targets, factors, scratch, gradient
        sizes = gradient.size, columns, parts
        grid = (-(-gradient.size // THREADS),)
        launches.append(Launch(_slopes, grid, (THREADS,), (*arrays, *sizes, *numbers[:2], float32(scale))))
    return launches


@cuda_jit(FLOATS, FLOATS, FLOATS, int32, int32, int32, launch_bounds=THREADS)
def _share_sums(y_pred, targets, scratch, columns, parts, share):
    parts_of_both = cuda.shared.array(THREADS, float32)
    parts_of_missed = cuda.shared.array(THREADS, float32)
    parts_of_wrong = cuda.shared.array(THREADS, float32)
    thread, row = uint32(cuda.threadIdx.x), uint32(uint32(cuda.blockIdx.x) // uint32(parts))
    part, first = uint32(cuda.blockIdx.x - row * parts), uint32(row * columns)
    column = uint32(part * share + thread)
    end = uint32(min(int32(columns), int32((part + 1) * share)))
    both, missed, wrong = float32(0), float32(0), float32(0)
    while column < end:
        p, t = y_pred[uint32(first + column)], targets[uint32(first + column)]
        both += t * p
        missed += t * (float32(1) - p)
        wrong += (float32(1) - t) * p
        column = uint32(column + THREADS)
    both = block_sum(parts_of_both, thread, THREADS, both)
    missed = block_sum(parts_of_missed, thread, THREADS, missed)
    wrong = block_sum(parts_of_wrong, thread, THREADS, wrong)
    if thread == uint32(0):
        place = uint32(3 * cuda.blockIdx.x)
        scratch[place], scratch[uint32(place + 1)], scratch[uint32(place + 2)] = both, missed, wrong


@cuda_jit(FLOATS, FLOATS, int32, int32, float32, float32, float32, launch_bounds=THREADS)
def _values(scratch, values, rows, parts, alpha, beta, epsilon):
    row = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if row < uint32(rows):
        both, missed, wrong = float32(0), float32(0), float32(0)
        first = uint32(3 * row * parts)
        part = uint32(0)
        while part < uint32(parts):
            place = uint32(first + 3 * part)
            both += scratch[place]
            missed += scratch[uint32(place + 1)]
            wrong += scratch[uint32(place + 2)]
            part = uint32(part + 1)
        below = both + alpha * missed + beta * wrong + epsilon
        values[row] = float32(1) - both / below
        scratch[first], scratch[uint32(first + 1)] = both, below  # for the slopes


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, int32, int32, int32, float32, float32, float32, launch_bounds=THREADS)
def _slopes(targets, factors, scratch, gradient, count, columns, parts, alpha, beta, scale):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        row = uint32(i // uint32(columns))
        first = uint32(3 * row * parts)
        both, below, t = scratch[first], scratch[uint32(first + 1)], targets[i]
        slope = both * (t - alpha * t + beta * (float32(1) - t)) - below * t
        gradient[i] = slope / (below * below) * factors[row] * scale
