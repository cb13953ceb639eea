"""An optimizer's update of one weight in one pass: each element's value, gradient and slots are read and written once.

NumPy needs a pass over memory for each of the formula's operations, a dozen of them for Adam. All arrays are
C-contiguous, of one shape and dtype; the factors are computed in that dtype. Limited by bytes.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for

_WORK = 16  # multiply-adds that an element's roots and quotients are worth


def sgd(value, gradient, velocity, rate, momentum, nesterov):
    """value += velocity = momentum * velocity - rate * gradient; with `nesterov` value += momentum * velocity - rate *
    gradient, for the new velocity."""
    number = value.dtype.type
    _sgd(
        value.reshape(-1), gradient.reshape(-1), velocity.reshape(-1), number(rate), number(momentum), nesterov,
        threads_for(_WORK * value.size),
    )  # fmt: skip


def adam(value, gradient, mean, mean_square, largest, rate, fraction, square_fraction, epsilon):
    """Running means of the gradient and its square move by a fraction of the way to them; value -= rate * mean /
    (sqrt(mean_square) + epsilon).

    largest: None, or the largest mean_square so far, which is divided by instead (AMSGrad).
    """
    number = value.dtype.type
    largest = None if largest is None else largest.reshape(-1)
    _adam(
        value.reshape(-1), gradient.reshape(-1), mean.reshape(-1), mean_square.reshape(-1), largest,
        number(rate), number(fraction), number(square_fraction), number(epsilon), threads_for(_WORK * value.size),
    )  # fmt: skip


@cpu_jit(inner=True)
def _part(thread, threads, size):
    """A thread's share of an array; the loops over such slices begin at 0, which lets LLVM make vectors of them."""
    return slice(size * thread // threads, size * (thread + 1) // threads)


@cpu_jit(inner=True)
def _sgd_part(thread, value, gradient, velocity, rate, momentum, nesterov, threads):
    part = _part(thread, threads, value.size)
    value, gradient, velocity = value[part], gradient[part], velocity[part]
    for i in range(value.size):
        step = rate * gradient[i]
        velocity[i] = momentum * velocity[i] - step
        value[i] += momentum * velocity[i] - step if nesterov else velocity[i]


@cpu_jit
def _sgd(value, gradient, velocity, rate, momentum, nesterov, threads):
    parallel_for(_sgd_part, threads, (value, gradient, velocity, rate, momentum, nesterov, threads))


@cpu_jit(inner=True)
def _adam_steps(value, gradient, mean, mean_square, largest, rate, fraction, square_fraction, epsilon):
    for i in range(value.size):
        slope = gradient[i]
        mean[i] += (slope - mean[i]) * fraction
        square = mean_square[i] + (slope * slope - mean_square[i]) * square_fraction
        mean_square[i] = square
        if largest is not None:
            square = max(largest[i], square)
            largest[i] = square
        value[i] -= rate * mean[i] / (np.sqrt(square) + epsilon)


@cpu_jit(inner=True)
def _adam_part(thread, value, gradient, mean, mean_square, largest, rate, fraction, square_fraction, epsilon, threads):
    part = _part(thread, threads, value.size)
    if largest is None:
        _adam_steps(
            value[part], gradient[part], mean[part], mean_square[part], None, rate, fraction, square_fraction, epsilon
        )
    else:
        _adam_steps(
            value[part], gradient[part], mean[part], mean_square[part], largest[part], rate, fraction, square_fraction,
            epsilon,
        )  # fmt: skip


@cpu_jit
def _adam(value, gradient, mean, mean_square, largest, rate, fraction, square_fraction, epsilon, threads):
    parallel_for(
        _adam_part,
        threads,
        (value, gradient, mean, mean_square, largest, rate, fraction, square_fraction, epsilon, threads),
    )
