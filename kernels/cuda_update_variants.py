"""The less used optimizers' updates on a GPU, running means of weights, and gradients that are collected over steps.

As in `cuda_updates`: a thread an element of flat buffers, what changes from step to step is read from `rates`, and the
formulas are those of `fastconv.optimizer_variants` and `fastconv.optimizer_base`. Limited by bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32

THREADS = 256


def adadelta(value: Any, gradient: Any, slots: Sequence[Any], rates: Any, rho: float, epsilon: float) -> list[Launch]:
    """slots: running means of the squares of gradients and of steps; value -= rates[0] * step."""
    numbers = map(float32, (1 - rho, epsilon))
    return _over(value, _adadelta, (value, gradient, *slots, rates, value.size, *numbers))


def adamax(
    value: Any, gradient: Any, slots: Sequence[Any], rates: Any, fraction: float, beta_2: float, epsilon: float
) -> list[Launch]:
    """slots: the mean, and the largest size so far, which shrinks; value -= rates[0] * mean / (largest + epsilon)."""
    numbers = map(float32, (fraction, beta_2, epsilon))
    return _over(value, _adamax, (value, gradient, *slots, rates, value.size, *numbers))


def ftrl(
    value: Any, gradient: Any, slots: Sequence[Any], rates: Any, power: float, penalties: tuple[float, float, float]
) -> list[Launch]:
    """slots: the sum of squares and the linear part; penalties: l1, l2 and the l2 that is part of the gradient.

    rates[2] is what the l2 penalty grows by.
    """
    numbers = map(float32, (power, *penalties))
    return _over(value, _ftrl, (value, gradient, *slots, rates, value.size, *numbers))


def lion(value: Any, gradient: Any, slots: Sequence[Any], rates: Any, beta_1: float, beta_2: float) -> list[Launch]:
    """slots: the mean; value -= rates[0] * the sign of a mean that looks ahead."""
    numbers = map(float32, (beta_1, 1 - beta_1, beta_2, 1 - beta_2))
    return _over(value, _lion, (value, gradient, *slots, rates, value.size, *numbers))


def nadam(
    value: Any, gradient: Any, slots: Sequence[Any], rates: Any, fraction: float, square_fraction: float, epsilon: float
) -> list[Launch]:
    """slots: mean and mean_square; value -= rates[0] * (rates[2] * mean + rates[3] * gradient) / root.

    root is sqrt(mean_square * rates[4]) + epsilon.
    """
    numbers = map(float32, (fraction, square_fraction, epsilon))
    return _over(value, _nadam, (value, gradient, *slots, rates, value.size, *numbers))


def follow(value: Any, average: Any, rates: Any, momentum: int, overwrites: int) -> list[Launch]:
    """average = average * m + value * (1 - m) for m = rates[momentum]; value = average where rates[overwrites]."""
    return _over(value, _follow, (value, average, rates, value.size, momentum, overwrites))


def collect(gradient: Any, collected: Any, steps: int, is_last: bool) -> list[Launch]:
    """collected += gradient; in the last of `steps` steps the gradient is their mean, and collected begins anew."""
    return _over(gradient, _collect, (gradient, collected, gradient.size, int(is_last), float32(steps)))


def _over(array: Any, kernel: Any, arguments: tuple[Any, ...]) -> list[Launch]:
    return [Launch(kernel, (-(-array.size // THREADS),), (THREADS,), arguments)]


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, int32, float32, float32, launch_bounds=THREADS)
def _adadelta(value, gradient, squares, steps, rates, count, fraction, epsilon):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        slope, square, length = gradient[i], squares[i], steps[i]
        square += (slope * slope - square) * fraction
        step = math.sqrt((length + epsilon) / (square + epsilon)) * slope
        squares[i] = square
        steps[i] = length + (step * step - length) * fraction
        value[i] -= rates[0] * step


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, int32, float32, float32, float32, launch_bounds=THREADS)
def _adamax(value, gradient, mean, largest, rates, count, fraction, beta_2, epsilon):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        slope, moved = gradient[i], mean[i]
        moved += (slope - moved) * fraction
        size = largest[i] * beta_2
        if not abs(slope) <= size:  # a NaN, too
            size = abs(slope)
        mean[i], largest[i] = moved, size
        value[i] -= rates[0] * moved / (size + epsilon)


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, int32, float32, float32, float32, float32, launch_bounds=THREADS)
def _ftrl(value, gradient, squares, linear, rates, count, power, l1, l2, shrinkage):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        slope, old, rate = gradient[i], value[i], rates[0]
        before = squares[i]
        after = before + slope * slope
        squares[i] = after
        root = math.pow(after, power)
        line = linear[i] - (root - math.pow(before, power)) * old / rate + slope + float32(2) * shrinkage * old
        linear[i] = line
        near = -l1 if line < -l1 else l1 if line > l1 else line
        value[i] = (near - line) / (root / rate + float32(2) * (l2 + rates[2]))


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, int32, float32, float32, float32, float32, launch_bounds=THREADS)
def _lion(value, gradient, mean, rates, count, beta_1, rest_1, beta_2, rest_2):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        slope, old = gradient[i], mean[i]
        ahead = old * beta_1 + slope * rest_1
        step = rates[0]
        if ahead < float32(0):
            step = -step
        elif not ahead > float32(0):
            step *= ahead  # 0, or a NaN
        value[i] -= step
        mean[i] = old * beta_2 + slope * rest_2


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, int32, float32, float32, float32, launch_bounds=THREADS)
def _nadam(value, gradient, mean, mean_square, rates, count, fraction, square_fraction, epsilon):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        slope, moved, square = gradient[i], mean[i], mean_square[i]
        moved += (slope - moved) * fraction
        square += (slope * slope - square) * square_fraction
        mean[i], mean_square[i] = moved, square
        step = rates[2] * moved + rates[3] * slope
        value[i] -= rates[0] * step / (math.sqrt(square * rates[4]) + epsilon)


@cuda_jit(FLOATS, FLOATS, FLOATS, int32, int32, int32, launch_bounds=THREADS)
def _follow(value, average, rates, count, momentum, overwrites):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        m = rates[uint32(momentum)]
        mean = average[i] * m + value[i] * (float32(1) - m)
        average[i] = mean
        if rates[uint32(overwrites)] > float32(0):
            value[i] = mean


@cuda_jit(FLOATS, FLOATS, int32, int32, float32, launch_bounds=THREADS)
def _collect(gradient, collected, count, is_last, steps):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        total = collected[i] + gradient[i]
        if is_last:
            gradient[i] = total / steps
            total = float32(0)
        collected[i] = total
