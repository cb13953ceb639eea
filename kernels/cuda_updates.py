"""An optimizer's update of all weights on a GPU, in one pass over one flat buffer: a thread an element.

Weights, gradients and each slot lie in flat arrays of one length, in which a weight has the same place. What changes
from step to step, such as the learning rate, is read from `rates`, so that a launch can be replayed. The formulas are
those of `fastconv.optimizers`. Limited by bytes: Adam reads four numbers an element and writes three.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32

THREADS = 256


def sgd(value: Any, gradient: Any, slots: Sequence[Any], rates: Any, momentum: float, nesterov: bool) -> list[Launch]:
    """value -= rates[0] * gradient; or, with a momentum, value += velocity = momentum * velocity - rates[0] * gradient,
    and with `nesterov` value += momentum * velocity - rates[0] * gradient for the new velocity."""
    velocity = slots[0] if slots else value  # not read without a momentum
    numbers = (value.size, int(bool(slots)), int(nesterov), float32(momentum))
    return _over(value, _sgd, (value, gradient, velocity, rates, *numbers))


def adam(
    value: Any, gradient: Any, slots: Sequence[Any], rates: Any, fraction: float, square_fraction: float, epsilon: float
) -> list[Launch]:
    """slots: mean, mean_square and, for AMSGrad, largest. The means move by a fraction of the way to the gradient and
    its square; value -= rates[0] * mean / (sqrt(mean_square) + epsilon), or with the largest mean_square so far."""
    mean, mean_square, *largest = slots
    arrays = (value, gradient, mean, mean_square, largest[0] if largest else mean, rates)
    numbers = map(float32, (fraction, square_fraction, epsilon))
    return _over(value, _adam, (*arrays, value.size, int(bool(largest)), *numbers))


def rmsprop(
    value: Any,
    gradient: Any,
    slots: Sequence[Any],
    rates: Any,
    rho: float,
    epsilon: float,
    momentum: float,
    centered: bool,
) -> list[Launch]:
    """slots: mean_square, with a momentum velocity, if centered mean. The step is rates[0] * gradient /
    sqrt(mean_square - mean**2 + epsilon); with a momentum it is added to velocity, and that taken from value."""
    mean_square = slots[0]
    velocity, mean = (slots[1] if momentum else mean_square), (slots[-1] if centered else mean_square)
    numbers = map(float32, (rho, 1 - rho, epsilon, momentum))
    arrays = (value, gradient, mean_square, velocity, mean, rates)
    return _over(value, _rmsprop, (*arrays, value.size, int(momentum > 0), int(centered), *numbers))


def adagrad(value: Any, gradient: Any, slots: Sequence[Any], rates: Any, epsilon: float) -> list[Launch]:
    """slots: the sum of squared gradients; value -= rates[0] * gradient / sqrt(sum + epsilon)."""
    return _over(value, _adagrad, (value, gradient, slots[0], rates, value.size, float32(epsilon)))


def decay(value: Any, rates: Any) -> list[Launch]:
    """value -= rates[1] * value."""
    return _over(value, _decay, (value, rates, value.size))


def clip(gradient: Any, limit: float) -> list[Launch]:
    """Elements of `gradient` are clipped to [-limit, limit]."""
    return _over(gradient, _clip, (gradient, gradient.size, float32(limit)))


def _over(array: Any, kernel: Any, arguments: tuple[Any, ...]) -> list[Launch]:
    return [Launch(kernel, (-(-array.size // THREADS),), (THREADS,), arguments)]


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, int32, int32, int32, float32, launch_bounds=THREADS)
def _sgd(value, gradient, velocity, rates, count, moves, nesterov, momentum):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        step = -rates[0] * gradient[i]
        if moves:
            moved = momentum * velocity[i] + step
            velocity[i] = moved
            step = momentum * moved + step if nesterov else moved
        value[i] += step


@cuda_jit(
    *(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, int32, int32, float32, float32, float32), launch_bounds=THREADS
)
def _adam(value, gradient, mean, mean_square, largest, rates, count, amsgrad, fraction, square_fraction, epsilon):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        slope, old, square = gradient[i], mean[i], mean_square[i]
        moved = old + (slope - old) * fraction
        square += (slope * slope - square) * square_fraction
        mean[i], mean_square[i] = moved, square
        if amsgrad:
            square = max(largest[i], square)
            largest[i] = square
        value[i] -= rates[0] * moved / (math.sqrt(square) + epsilon)


@cuda_jit(
    *(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, int32, int32, int32, float32, float32, float32, float32),
    launch_bounds=THREADS,
)
def _rmsprop(
    value, gradient, mean_square, velocity, mean, rates, count, moves, centered, rho, fraction, epsilon, momentum
):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        slope = gradient[i]
        spread = rho * mean_square[i] + fraction * slope * slope
        mean_square[i] = spread
        if centered:
            middle = rho * mean[i] + fraction * slope
            mean[i] = middle
            spread -= middle * middle
        step = rates[0] * slope / math.sqrt(spread + epsilon)
        if moves:
            step += momentum * velocity[i]
            velocity[i] = step
        value[i] -= step


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, int32, float32, launch_bounds=THREADS)
def _adagrad(value, gradient, squares, rates, count, epsilon):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        slope = gradient[i]
        total = squares[i] + slope * slope
        squares[i] = total
        value[i] -= rates[0] * slope / math.sqrt(total + epsilon)


@cuda_jit(FLOATS, FLOATS, int32, launch_bounds=THREADS)
def _decay(value, rates, count):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        value[i] -= rates[1] * value[i]


@cuda_jit(FLOATS, int32, float32, launch_bounds=THREADS)
def _clip(gradient, count, limit):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        slope = gradient[i]
        gradient[i] = -limit if slope < -limit else limit if slope > limit else slope
