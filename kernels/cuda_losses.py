"""Losses, their gradients and metrics on a GPU: a warp takes a row, the last axis of the predictions.

A row gives one value; the factor that belongs to it has the sample's weight and what the reduction divides by, so that
a loss is the sum of values times factors, and the gradient has the factor in it. Sums are taken in a fixed order. Where
targets are class numbers a row's target is 1 at that place and 0 elsewhere. The formulas are those of `fastconv.losses`
and `fastconv.metrics`. Limited by the latency of a launch in a classifier's ten columns, else by bytes.
"""

from __future__ import annotations

import math
from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_sums import warp_max, warp_sum

WARP = 32
ROWS = 8  # of a block
THREADS = WARP * ROWS

# What a row's value is: of all its columns together ...
CROSSENTROPY, CROSSENTROPY_OF_LOGITS, CATEGORICAL_HINGE, COSINE = range(4)
# ... a sum over its columns ...
BINARY, BINARY_OF_LOGITS, SQUARED, ABSOLUTE, PERCENTAGE, LOGARITHMIC, HUBER = range(4, 11)
LOG_COSH, POISSON, HINGE, SQUARED_HINGE, KL = range(11, 16)
# ... or whether the prediction is right.
SAME, SAME_SIDE, SAME_LARGEST, IN_TOP = range(16, 20)

_INFINITY = float32(math.inf)
_LOG_2 = float32(math.log(2))


def loss(
    kind: int,
    y_pred: Any,
    targets: Any,
    factors: Any,
    values: Any,
    gradient: Any = None,
    *,
    columns: int,
    labels: bool = False,
    fused: bool = False,
    epsilon: float = 1e-7,
    parameter: float = 0.0,
    scale: float = 1.0,
) -> list[Launch]:
    """One value for each row of y_pred and, where wanted, the gradient of the sum of values times factors.

    Args:
        y_pred: (rows, columns); targets: the same, or with `labels` class numbers (rows,); factors, values: (rows,).
        gradient: of y_pred's shape; may be y_pred. None for none.
        fused: y_pred is the output of the softmax or sigmoid that the loss is combined with; the gradient is by its
            input.
        epsilon: keeps probabilities off 0 and 1.
        parameter: HUBER's delta, or how many IN_TOP takes.
        scale: what the gradient is multiplied by.
    """
    rows = y_pred.size // columns
    has_gradient = int(gradient is not None)
    arrays = (y_pred, targets, factors, values, y_pred if gradient is None else gradient)
    kernel = _of_rows if kind <= COSINE else _of_columns if kind <= KL else _matches
    flags = (int(labels), int(fused), has_gradient)
    numbers = (rows, columns, kind, *flags, *map(float32, (epsilon, parameter, scale)))
    return [Launch(kernel, (-(-rows // ROWS),), (WARP, ROWS), (*arrays, *numbers))]


@device_function
def _target(targets, labels, row, column, i):
    if labels:
        return float32(1) if targets[row] == float32(column) else float32(0)
    return targets[i]


@device_function
def clip(x, low, high):
    """x, or the end of low .. high that it is beyond; NaN stays."""
    return low if x < low else high if x > high else x


@cuda_jit(
    *(FLOATS,) * 5,
    *(int32,) * 6,
    *(float32,) * 3,
    launch_bounds=THREADS,
)
def _of_rows(
    y_pred, targets, factors, values, gradient, rows, columns, kind, labels, fused, has_gradient, epsilon, unused, scale
):
    lane, row = uint32(cuda.threadIdx.x), uint32(cuda.blockIdx.x * ROWS + cuda.threadIdx.y)
    if row >= uint32(rows):
        return  # a whole warp
    first, high = uint32(row * columns), float32(float32(1) - epsilon)
    # What the whole row has to be known for: sums, or largest elements.
    a, b, c = float32(0), float32(0), float32(0)
    if kind == CROSSENTROPY_OF_LOGITS or kind == CATEGORICAL_HINGE:
        a = -_INFINITY
    column = lane
    while column < uint32(columns):
        i = uint32(first + column)
        p, t = y_pred[i], _target(targets, labels, row, column, i)
        if kind == CROSSENTROPY:
            a += p
            b += t
        elif kind == CROSSENTROPY_OF_LOGITS:
            if not p <= a:
                a = p
            b += t
        elif kind == CATEGORICAL_HINGE:
            if not (float32(1) - t) * p <= a:
                a = (float32(1) - t) * p
            b += t * p
        else:
            a += p * p
            b += t * t
            c += p * t
        column = uint32(column + WARP)
    if kind == CROSSENTROPY_OF_LOGITS or kind == CATEGORICAL_HINGE:
        a = warp_max(a)
    else:
        a = warp_sum(a)
    b, c = warp_sum(b), warp_sum(c)
    place = int32(columns)  # of the largest wrong element
    if kind == CROSSENTROPY_OF_LOGITS:
        column = lane
        while column < uint32(columns):
            c += math.exp(y_pred[uint32(first + column)] - a)
            column = uint32(column + WARP)
        c = warp_sum(c)
    elif kind == CATEGORICAL_HINGE:
        column = lane
        while column < uint32(columns):
            i = uint32(first + column)
            if (float32(1) - _target(targets, labels, row, column, i)) * y_pred[i] == a:
                place = min(place, int32(column))
            column = uint32(column + WARP)
        for bits in (16, 8, 4, 2, 1):
            place = min(place, int32(cuda.shfl_xor_sync(0xFFFFFFFF, place, bits)))
    elif kind == COSINE:
        a, b = max(math.sqrt(a), epsilon), max(math.sqrt(b), epsilon)

    value = float32(0)
    counted_targets = float32(0)
    if kind == CROSSENTROPY or kind == CROSSENTROPY_OF_LOGITS:
        column = lane
        while column < uint32(columns):
            i = uint32(first + column)
            t = _target(targets, labels, row, column, i)
            if kind == CROSSENTROPY:
                p = y_pred[i] / a
                clipped = clip(p, epsilon, high)
                if t != float32(0):  # or 0 times the logarithm of nothing
                    value -= t * math.log(clipped)
                if clipped == p:
                    counted_targets += t
            elif t != float32(0):
                value -= t * (y_pred[i] - a - math.log(c))
            column = uint32(column + WARP)
        value, counted_targets = warp_sum(value), warp_sum(counted_targets)
    elif kind == CATEGORICAL_HINGE:
        value = max(a - b + float32(1), float32(0))
    else:
        value = -c / (a * b)
    if lane == uint32(0):
        values[row] = value

    if has_gradient:
        factor = factors[row] * scale
        column = lane
        while column < uint32(columns):
            i = uint32(first + column)
            p, t = y_pred[i], _target(targets, labels, row, column, i)
            if kind == CROSSENTROPY_OF_LOGITS:
                slope = math.exp(p - a) / c * b - t
            elif kind == CROSSENTROPY:
                if fused:
                    slope = p * b - t
                else:
                    clipped = clip(p / a, epsilon, high)
                    slope = (counted_targets - (t / clipped if clipped == p / a else float32(0))) / a
            elif kind == CATEGORICAL_HINGE:
                slope = -t
                if int32(column) == place:
                    slope += float32(1) - t
                if not value > float32(0):
                    slope = float32(0)
            else:
                slope = (p / a * (c / (a * b)) - t / b) / a
            gradient[i] = slope * factor
            column = uint32(column + WARP)


@device_function
def _value(kind, p, t, epsilon, delta):
    """A column's share in its row's value."""
    value = float32(0)
    if kind == BINARY:
        p = clip(p, epsilon, float32(1) - epsilon)
        value = -(t * math.log(p) + (float32(1) - t) * math.log(float32(1) - p))
    elif kind == BINARY_OF_LOGITS:
        value = max(p, float32(0)) + math.log1p(math.exp(-abs(p))) - p * t
    elif kind == SQUARED:
        value = (p - t) * (p - t)
    elif kind == ABSOLUTE:
        value = abs(p - t)
    elif kind == PERCENTAGE:
        value = float32(100) * abs(p - t) / max(abs(t), epsilon)
    elif kind == LOGARITHMIC:
        value = math.log(max(p, epsilon) + float32(1)) - math.log(max(t, epsilon) + float32(1))
        value *= value
    elif kind == HUBER:
        error = abs(p - t)
        value = float32(0.5) * error * error
        if not error <= delta:
            value = delta * (error - float32(0.5) * delta)
    elif kind == LOG_COSH:
        error = abs(p - t)
        value = error + math.log1p(math.exp(float32(-2) * error)) - _LOG_2
    elif kind == POISSON:
        value = p - t * math.log(p + epsilon)
    elif kind == HINGE:
        value = max(float32(1) - t * p, float32(0))
    elif kind == SQUARED_HINGE:
        value = max(float32(1) - t * p, float32(0))
        value *= value
    else:
        t = clip(t, epsilon, float32(1))
        value = t * math.log(t / clip(p, epsilon, float32(1)))
    return value


@device_function
def _slope(kind, p, t, fused, epsilon, delta):
    """The derivative of `_value` by p."""
    slope = float32(0)
    if kind == BINARY:
        if fused:
            slope = p - t
        elif epsilon <= p <= float32(1) - epsilon:
            slope = (p - t) / (p * (float32(1) - p))
    elif kind == BINARY_OF_LOGITS:
        small = math.exp(-abs(p))
        slope = (small if p < float32(0) else float32(1)) / (float32(1) + small) - t
    elif kind == SQUARED:
        slope = float32(2) * (p - t)
    elif kind == ABSOLUTE:
        slope = float32(1) if p > t else float32(-1) if p < t else float32(0)
    elif kind == PERCENTAGE:
        slope = (float32(100) if p > t else float32(-100) if p < t else float32(0)) / max(abs(t), epsilon)
    elif kind == LOGARITHMIC:
        if p > epsilon:
            slope = math.log(p + float32(1)) - math.log(max(t, epsilon) + float32(1))
            slope *= float32(2) / (p + float32(1))
    elif kind == HUBER:
        slope = clip(p - t, -delta, delta)
    elif kind == LOG_COSH:
        slope = math.tanh(p - t)
    elif kind == POISSON:
        slope = float32(1) - t / (p + epsilon)
    elif kind == HINGE:
        slope = -t if t * p < float32(1) else float32(0)
    elif kind == SQUARED_HINGE:
        slope = float32(-2) * t * max(float32(1) - t * p, float32(0))
    elif epsilon <= p <= float32(1):
        slope = -clip(t, epsilon, float32(1)) / p
    return slope


@cuda_jit(
    *(FLOATS,) * 5,
    *(int32,) * 6,
    *(float32,) * 3,
    launch_bounds=THREADS,
)
def _of_columns(
    y_pred, targets, factors, values, gradient, rows, columns, kind, labels, fused, has_gradient, epsilon, delta, scale
):
    lane, row = uint32(cuda.threadIdx.x), uint32(cuda.blockIdx.x * ROWS + cuda.threadIdx.y)
    if row >= uint32(rows):
        return
    share = float32(1)  # of a column: values are means over them
    if kind != KL:
        share = float32(1) / float32(columns)
    value, factor = float32(0), float32(0)
    if has_gradient:
        factor = factors[row] * scale
    column = lane
    while column < uint32(columns):
        i = uint32(row * columns + column)
        p, t = y_pred[i], targets[i]
        value += _value(kind, p, t, epsilon, delta)
        if has_gradient:
            gradient[i] = _slope(kind, p, t, fused, epsilon, delta) * share * factor
        column = uint32(column + WARP)
    value = warp_sum(value)
    if lane == uint32(0):
        values[row] = value * share


@cuda_jit(
    *(FLOATS,) * 5,
    *(int32,) * 6,
    *(float32,) * 3,
    launch_bounds=THREADS,
)
def _matches(
    y_pred,
    targets,
    factors,
    values,
    gradient,
    rows,
    columns,
    kind,
    labels,
    fused,
    has_gradient,
    epsilon,
    parameter,
    scale,
):
    lane, row = uint32(cuda.threadIdx.x), uint32(cuda.blockIdx.x * ROWS + cuda.threadIdx.y)
    if row >= uint32(rows):
        return
    first = uint32(row * columns)
    if kind == SAME or kind == SAME_SIDE:
        value = float32(0)
        column = lane
        while column < uint32(columns):
            i = uint32(first + column)
            p = y_pred[i]
            if kind == SAME_SIDE:
                p = float32(1) if p > parameter else float32(0)
            if p == targets[i]:
                value += float32(1)
            column = uint32(column + WARP)
        value = warp_sum(value) / float32(columns)
    else:
        wanted = _first_largest(targets, first, columns, lane) if not labels else int32(targets[row])
        if kind == SAME_LARGEST:
            value = float32(1) if _first_largest(y_pred, first, columns, lane) == wanted else float32(0)
        else:
            value = float32(0)
            if wanted >= int32(0) and wanted < columns:
                at_wanted = y_pred[uint32(first + wanted)]
                column = lane
                while column < uint32(columns):
                    if y_pred[uint32(first + column)] > at_wanted:
                        value += float32(1)
                    column = uint32(column + WARP)
                value = warp_sum(value)
                value = float32(1) if value < parameter and abs(at_wanted) < _INFINITY else float32(0)
    if lane == uint32(0):
        values[row] = value


@device_function
def _first_largest(x, first, columns, lane):
    """The place of a row's first largest element, or of its first NaN, in every lane."""
    largest, place = -_INFINITY, int32(columns)
    column = lane
    while column < uint32(columns):
        v = x[uint32(first + column)]
        if not v <= largest or place == columns:
            if largest == largest:  # not past a NaN
                largest, place = v, int32(column)
        column = uint32(column + WARP)
    for bits in (16, 8, 4, 2, 1):
        other = cuda.shfl_xor_sync(0xFFFFFFFF, largest, bits)
        other_place = int32(cuda.shfl_xor_sync(0xFFFFFFFF, place, bits))
        is_nan, is_other_nan = largest != largest, other != other
        if is_other_nan and is_nan or not is_other_nan and not is_nan and other == largest:
            place = min(place, other_place)
        elif not is_nan and (is_other_nan or other > largest):
            largest, place = other, other_place
    return place
