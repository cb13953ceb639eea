"""Correlations of predictions with targets on a GPU, for metrics: a warp takes a row.

The formulas are those of `fastconv.metric_scores`, with deviations from a row's first number in place of the numbers,
so that large means take no digits away and what does not vary has a variance of exactly 0. Limited by bytes.
"""

from __future__ import annotations

import math
from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_sums import warp_sum

WARP = 32
ROWS = 8  # of a block
THREADS = WARP * ROWS


def correlations(y_pred: Any, targets: Any, values: Any, is_concordance: bool, epsilon: float) -> list[Launch]:
    """values[row] = the linear or the concordance correlation of a row of y_pred and targets, (rows, columns)."""
    rows, columns = y_pred.shape
    numbers = (rows, columns, int(is_concordance), float32(epsilon))
    return [Launch(_correlations, (-(-rows // ROWS),), (WARP, ROWS), (y_pred, targets, values, *numbers))]


@cuda_jit(FLOATS, FLOATS, FLOATS, int32, int32, int32, float32, launch_bounds=THREADS)
def _correlations(y_pred, targets, values, rows, columns, is_concordance, epsilon):
    lane, row = uint32(cuda.threadIdx.x), uint32(cuda.blockIdx.x * ROWS + cuda.threadIdx.y)
    if row >= uint32(rows):
        return  # a whole warp
    first, share = uint32(row * columns), float32(1) / float32(columns)
    first_p, first_t = y_pred[first], targets[first]
    mean_p, mean_t = float32(0), float32(0)
    column = lane
    while column < uint32(columns):
        i = uint32(first + column)
        mean_p += y_pred[i] - first_p
        mean_t += targets[i] - first_t
        column = uint32(column + WARP)
    mean_p, mean_t = warp_sum(mean_p) * share, warp_sum(mean_t) * share
    squares_p, squares_t, products = float32(0), float32(0), float32(0)
    column = lane
    while column < uint32(columns):
        i = uint32(first + column)
        p, t = y_pred[i] - first_p - mean_p, targets[i] - first_t - mean_t
        squares_p += p * p
        squares_t += t * t
        products += p * t
        column = uint32(column + WARP)
    squares_p, squares_t, products = warp_sum(squares_p), warp_sum(squares_t), warp_sum(products)
    if lane == uint32(0):
        if is_concordance:
            apart = (first_t - first_p) + (mean_t - mean_p)
            spread = (squares_p + squares_t) * share + apart * apart
            values[row] = float32(2) * products * share / (spread + epsilon)
        else:
            values[row] = products / (math.sqrt(squares_p) * math.sqrt(squares_t))
