"""The focal losses and the generalized cross-entropy on a GPU, and their gradients: a warp takes a row.

Arrays are as in `cuda_losses`: y_pred (rows, columns), factors and values (rows,), the gradient of y_pred's shape or
None, times `scale`. The formulas are those of `fastconv.loss_focal`. Limited by powers and logarithms.
"""

from __future__ import annotations

import math
from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_losses import clip
from fastconv.kernels.cuda_sums import warp_max, warp_sum

WARP = 32
ROWS = 8  # of a block
THREADS = WARP * ROWS
_INFINITY = float32(math.inf)


def binary(
    y_pred: Any,
    targets: Any,
    factors: Any,
    values: Any,
    gradient: Any,
    gamma: float,
    alpha: float | None,
    from_logits: bool,
    epsilon: float,
    scale: float = 1.0,
) -> list[Launch]:
    """The mean over a row; targets like y_pred. alpha: the weight of ones, None for no balancing."""
    flags = (int(gradient is not None), int(from_logits), int(alpha is not None))
    numbers = (gamma, alpha or 0.0, epsilon, scale)
    return _over(_binary, y_pred, (targets, factors, values), gradient, flags, numbers)


def categorical(
    y_pred: Any,
    targets: Any,
    factors: Any,
    values: Any,
    gradient: Any,
    alphas: Any,
    gamma: float,
    from_logits: bool,
    epsilon: float,
    scale: float = 1.0,
) -> list[Launch]:
    """The sum over a row; targets like y_pred, alphas (columns,)."""
    flags = (int(gradient is not None), int(from_logits))
    arrays = (targets, factors, values, alphas)
    return _over(_categorical, y_pred, arrays, gradient, flags, (gamma, epsilon, scale))


def generalized(
    y_pred: Any, targets: Any, factors: Any, values: Any, gradient: Any, q: float, scale: float = 1.0
) -> list[Launch]:
    """(1 - p ** q) / q for the row's p at the class number targets[row]."""
    arrays = (targets, factors, values)
    return _over(_generalized, y_pred, arrays, gradient, (int(gradient is not None),), (q, scale))


def _over(
    kernel: Any, y_pred: Any, arrays: tuple[Any, ...], gradient: Any, flags: tuple[int, ...], numbers: tuple[float, ...]
) -> list[Launch]:
    rows, columns = y_pred.shape
    arguments = (y_pred, *arrays, y_pred if gradient is None else gradient, rows, columns, *flags)
    return [Launch(kernel, (-(-rows // ROWS),), (WARP, ROWS), (*arguments, *map(float32, numbers)))]


@cuda_jit(*(FLOATS,) * 5, *(int32,) * 5, *(float32,) * 4, launch_bounds=THREADS)
def _binary(
    y_pred,
    targets,
    factors,
    values,
    gradient,
    rows,
    columns,
    has_gradient,
    from_logits,
    balances,
    gamma,
    alpha,
    epsilon,
    scale,
):
    lane, row = uint32(cuda.threadIdx.x), uint32(cuda.blockIdx.x * ROWS + cuda.threadIdx.y)
    if row >= uint32(rows):
        return  # a whole warp
    one, share = float32(1), float32(1) / float32(columns)
    value = float32(0)
    column = lane
    while column < uint32(columns):
        i = uint32(row * columns + column)
        p, t = y_pred[i], targets[i]
        if from_logits:
            small = math.exp(-abs(p))
            p = (small if p < float32(0) else one) / (one + small)
        clipped = clip(p, epsilon, one - epsilon)
        entropy = -(t * math.log(clipped) + (one - t) * math.log(one - clipped))
        focus = one - (t * p + (one - t) * (one - p))  # what the wrong answer is given
        weight = t * alpha + (one - t) * (one - alpha) if balances else one
        power = math.pow(focus, gamma)
        value += weight * power * entropy
        if has_gradient:
            slope = float32(0)
            if clipped == p:
                slope = power * (clipped - t) / (clipped * (one - clipped))
            if gamma != float32(0):
                slope += gamma * math.pow(focus, gamma - one) * (one - t - t) * entropy
            if from_logits:
                slope *= p * (one - p)
            gradient[i] = weight * slope * share * factors[row] * scale
        column = uint32(column + WARP)
    value = warp_sum(value)
    if lane == uint32(0):
        values[row] = value * share


@device_function
def _focal_slope(p, gamma, epsilon):
    """The derivative of -(1 - p) ** gamma * log(p), for p off 0 and 1; 0 where it is clipped."""
    one, slope = float32(1), float32(0)
    if epsilon <= p <= one - epsilon:
        slope = -math.pow(one - p, gamma) / p
        if gamma != float32(0):
            slope += gamma * math.pow(one - p, gamma - one) * math.log(p)
    return slope


@cuda_jit(*(FLOATS,) * 6, *(int32,) * 4, *(float32,) * 3, launch_bounds=THREADS)
def _categorical(
    y_pred,
    targets,
    factors,
    values,
    alphas,
    gradient,
    rows,
    columns,
    has_gradient,
    from_logits,
    gamma,
    epsilon,
    scale,
):
    lane, row = uint32(cuda.threadIdx.x), uint32(cuda.blockIdx.x * ROWS + cuda.threadIdx.y)
    if row >= uint32(rows):
        return  # a whole warp
    first, one, largest = uint32(row * columns), float32(1), float32(0)
    if from_logits:
        largest = -_INFINITY
        column = lane
        while column < uint32(columns):
            v = y_pred[uint32(first + column)]
            if not v <= largest:
                largest = v
            column = uint32(column + WARP)
        largest = warp_max(largest)
    total = float32(0)
    column = lane
    while column < uint32(columns):
        v = y_pred[uint32(first + column)]
        total += math.exp(v - largest) if from_logits else v
        column = uint32(column + WARP)
    total = warp_sum(total)
    value, product = float32(0), float32(0)
    column = lane
    while column < uint32(columns):
        i = uint32(first + column)
        p = (math.exp(y_pred[i] - largest) if from_logits else y_pred[i]) / total
        clipped = clip(p, epsilon, one - epsilon)
        weight = alphas[column] * targets[i]
        value -= weight * math.pow(one - clipped, gamma) * math.log(clipped)
        if has_gradient:
            product += weight * _focal_slope(p, gamma, epsilon) * p
        column = uint32(column + WARP)
    value, product = warp_sum(value), warp_sum(product)
    if lane == uint32(0):
        values[row] = value
    if has_gradient:
        factor = factors[row] * scale
        column = lane
        while column < uint32(columns):
            i = uint32(first + column)
            p = (math.exp(y_pred[i] - largest) if from_logits else y_pred[i]) / total
            slope = alphas[column] * targets[i] * _focal_slope(p, gamma, epsilon) - product
            gradient[i] = (slope * p if from_logits else slope / total) * factor
            column = uint32(column + WARP)


@cuda_jit(*(FLOATS,) * 5, *(int32,) * 3, *(float32,) * 2, launch_bounds=THREADS)
def _generalized(y_pred, targets, factors, values, gradient, rows, columns, has_gradient, q, scale):
    lane, row = uint32(cuda.threadIdx.x), uint32(cuda.blockIdx.x * ROWS + cuda.threadIdx.y)
    if row >= uint32(rows):
        return  # a whole warp
    first, label = uint32(row * columns), uint32(int32(targets[row]))
    p = y_pred[uint32(first + label)]
    if lane == uint32(0):
        values[row] = (float32(1) - math.pow(p, q)) / q
    if has_gradient:
        slope = -math.pow(p, q - float32(1)) * factors[row] * scale
        column = lane
        while column < uint32(columns):
            gradient[uint32(first + column)] = slope if column == label else float32(0)
            column = uint32(column + WARP)
