"""Places and weights of what metrics count, on a GPU, for `cuda_tallies`: a thread a prediction, or a row of them.

The meanings are those of `fastconv.metric_confusion`, `metric_auc`, `metric_iou` and `metric_scores`. Limited by bytes;
where only the largest of a row count, by comparisons: as many for each prediction as there are columns.

A sample's weight is `weights[item // per]`; `weights` is None where all count once.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_tallies import NOWHERE

THREADS = 256
WARP = 32
ROWS = THREADS // WARP  # of a block whose warps take rows

# What a row of predictions says of the class: its one number is it, or is 1 from a threshold on, or the largest is it.
CLASS, REACHES, LARGEST = range(3)

_NOWHERE, _LOWEST, _ALMOST_ZERO = float32(NOWHERE), float32(-1e10), float32(1e-9)


class Cuts(NamedTuple):
    """How thresholds cut predictions.

    thresholds: how many; even: whether they are so from 0 to 1; least: of them below every number.
    top: how many of a row's largest can lie above any, 0 for all; sigmoid: whether predictions are logits.
    """

    thresholds: int
    even: int
    least: int
    top: int
    sigmoid: int


def by_threshold(
    y_pred: Any, positive: Any, weights: Any, of_columns: Any, ascending: Any, cuts: Cuts, places: Any, counted: Any
) -> list[Launch]:
    """A place is how many thresholds lie below a prediction, and for negatives as many more as there are places.

    Args:
        y_pred, positive: (rows, columns), the second 0 or 1.
        of_columns: (columns,), what weights are multiplied by; None for 1.
        ascending: the thresholds.
        places, counted: get the places and weights, in y_pred's order.
    """
    count, columns = y_pred.size, y_pred.shape[-1]
    arrays = (y_pred, positive, _or(weights, y_pred), _or(of_columns, y_pred), ascending, places, counted)
    numbers = (count, columns, _per(weights, count), int(of_columns is not None), cuts)
    return [Launch(_by_threshold, (-(-count // THREADS),), (THREADS,), (*arrays, *numbers))]


def by_class(
    y_pred: Any, classes: Any, weights: Any, number: int, kind: int, threshold: float, places: Any, counted: Any
) -> list[Launch]:
    """A place is the true class times `number` plus the predicted one.

    Args:
        y_pred: (rows, columns); kind: CLASS, REACHES or LARGEST.
        classes: (rows,), below 0 for those that do not count.
        places, counted: (rows,).
    """
    rows, columns = y_pred.shape
    arrays = (y_pred, classes, _or(weights, y_pred), places, counted)
    numbers = (rows, columns, _per(weights, rows), number, kind, float32(threshold))
    return [Launch(_by_class, (-(-rows // THREADS),), (THREADS,), (*arrays, *numbers))]


def by_choice(
    y_pred: Any, targets: Any, weights: Any, threshold: float | None, places: Any, counted: Any
) -> list[Launch]:
    """Places 0, 1 and 2: chosen and right, chosen and wrong, missed. Chosen is what lies above the threshold or, for
    None, the largest of a row.

    Args:
        y_pred, targets: (rows, columns), targets from 0 to 1.
        places, counted: (2, rows, columns): a target counts as right, and what it lacks to 1 as wrong.
    """
    rows, columns = y_pred.shape
    arrays = (y_pred, targets, _or(weights, y_pred), places, counted)
    numbers = (rows, columns, _per(weights, y_pred.size), int(threshold is not None), float32(threshold or 0))
    return [Launch(_by_choice, (-(-rows // ROWS),), (WARP, ROWS), (*arrays, *numbers))]


def squared_errors(y_pred: Any, targets: Any, weights: Any, places: Any, counted: Any) -> list[Launch]:
    """Place 0 for all, and what counts is the weight times the squared error."""
    count = y_pred.size
    arrays = (y_pred, targets, _or(weights, y_pred), places, counted)
    return [Launch(_squared_errors, (-(-count // THREADS),), (THREADS,), (*arrays, count, _per(weights, count)))]


def _or(array: Any, other: Any) -> Any:
    """What a kernel is given in the place of an array that it does not read."""
    return other if array is None else array


def _per(weights: Any, items: int) -> int:
    """How many items share a weight; 0 without weights."""
    return 0 if weights is None else max(1, items // weights.size)


@device_function
def _weight(weights, item, per):
    weight = float32(1)
    if per:
        weight = weights[uint32(item // uint32(per))]
    return weight


@cuda_jit(*(FLOATS,) * 7, int32, int32, int32, int32, Cuts, launch_bounds=THREADS)
def _by_threshold(
    y_pred, positive, weights, of_columns, ascending, places, counted, count, columns, per, has_columns, cuts
):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        p = y_pred[i]
        first = uint32(i // uint32(columns) * uint32(columns))
        if cuts.top:
            before = int32(0)  # in the order from the largest on
            other = first
            while other < uint32(first + columns):
                v = y_pred[other]
                if v > p or v == p and other < i:  # no NaN lies above a threshold, wherever it comes
                    before = int32(before + 1)
                other = uint32(other + 1)
            if before >= int32(cuts.top):
                p = _LOWEST
        if cuts.sigmoid:
            small = math.exp(-abs(p))
            p = (small if p < float32(0) else float32(1)) / (float32(1) + small)
        passed = int32(0)
        if p == p:
            if cuts.even:
                scaled = min(max(p, float32(0)), float32(1)) * float32(cuts.thresholds - 1)
                passed = int32(scaled)
                if float32(passed) < scaled:
                    passed = int32(passed + 1)
                passed = max(passed, int32(cuts.least))
            else:
                end = int32(cuts.thresholds)
                while passed < end:
                    middle = int32(uint32(passed + end) // uint32(2))
                    if ascending[uint32(middle)] < p:
                        passed = int32(middle + 1)
                    else:
                        end = middle
        if positive[i] == float32(0):
            passed = int32(passed + cuts.thresholds + 1)
        places[i] = float32(passed)
        weight = _weight(weights, i, per)
        if has_columns:
            weight *= of_columns[uint32(i - first)]
        counted[i] = weight


@cuda_jit(*(FLOATS,) * 5, int32, int32, int32, int32, int32, float32, launch_bounds=THREADS)
def _by_class(y_pred, classes, weights, places, counted, rows, columns, per, number, kind, threshold):
    row = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if row < uint32(rows):
        first = uint32(row * columns)
        p = y_pred[first]
        if kind == REACHES:
            p = float32(1) if p >= threshold else float32(0)
        elif kind == LARGEST:  # the first largest, or the first NaN
            largest, place = p, int32(0)
            column = int32(1)
            while column < columns and largest == largest:
                v = y_pred[uint32(first + column)]
                if not v <= largest:
                    largest, place = v, column
                column = int32(column + 1)
            p = float32(place)
        place_of_row = _NOWHERE
        if classes[row] >= float32(0) and p > float32(-1) and p < float32(number):
            place_of_row = float32(int32(classes[row]) * number + int32(p))
        places[row] = place_of_row
        counted[row] = _weight(weights, row, per)


@cuda_jit(*(FLOATS,) * 5, int32, int32, int32, int32, float32, launch_bounds=THREADS)
def _by_choice(y_pred, targets, weights, places, counted, rows, columns, per, has_threshold, threshold):
    lane, row = uint32(cuda.threadIdx.x), uint32(cuda.blockIdx.x * ROWS + cuda.threadIdx.y)
    if row >= uint32(rows):
        return  # a whole warp
    first, limit = uint32(row * columns), threshold
    if not has_threshold:
        limit = y_pred[first]
        column = lane
        while column < uint32(columns):
            v = y_pred[uint32(first + column)]
            if not v <= limit:  # a NaN, too, and no number reaches it
                if limit == limit:
                    limit = v
            column = uint32(column + WARP)
        for bits in (16, 8, 4, 2, 1):
            other = cuda.shfl_xor_sync(0xFFFFFFFF, limit, bits)
            if not other <= limit and limit == limit:
                limit = other
    column = lane
    while column < uint32(columns):
        i = uint32(first + column)
        p, t = y_pred[i], targets[i]
        chosen = p > limit
        if not has_threshold:
            chosen = p >= limit and abs(p) > _ALMOST_ZERO
        weight = _weight(weights, i, per)
        places[i] = float32(0) if chosen else float32(2)
        counted[i] = weight * t
        lacks = uint32(i + rows * columns)
        places[lacks] = float32(1) if chosen else _NOWHERE
        counted[lacks] = weight * (float32(1) - t)
        column = uint32(column + WARP)


@cuda_jit(*(FLOATS,) * 5, int32, int32, launch_bounds=THREADS)
def _squared_errors(y_pred, targets, weights, places, counted, count, per):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        error = y_pred[i] - targets[i]
        places[i] = float32(0)
        counted[i] = _weight(weights, i, per) * error * error
