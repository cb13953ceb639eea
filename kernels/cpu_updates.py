"""An optimizer's update of all weights in one pass: each element's value, gradient and slots are read and written once.

NumPy needs a pass over memory for each of the formula's operations, a dozen of them for Adam, and a call for each
weight. Here the weights are taken as one long row, of which each thread does a share: a table has the addresses of
their arrays, which stay where they are. All arrays are C-contiguous and of one dtype, in which the factors are
computed, too. Limited by bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import carray

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import at_address

_WORK = 16  # multiply-adds that an element's roots and quotients are worth


class Rows:
    """Arrays that belong together, such as value, gradient and slots of each weight, seen as a few long rows.

    Args:
        columns: for each weight its arrays, all of one shape; as many for each weight.

    Raises:
        ValueError: an array is not C-contiguous, or of another dtype than the first.
    """

    def __init__(self, columns: Sequence[Sequence[np.ndarray]]) -> None:
        self.columns = [tuple(arrays) for arrays in columns]  # keeps them alive
        dtype = self.columns[0][0].dtype
        for array in (array for arrays in self.columns for array in arrays):
            if not array.flags.c_contiguous or array.dtype != dtype:
                raise ValueError(
                    f"weights, gradients and slots must be C-contiguous arrays of {dtype}; received one of "
                    f"{array.dtype} and shape {array.shape} with strides {array.strides}."
                )
        sizes = [arrays[0].size for arrays in self.columns]
        self.addresses = np.array([[array.ctypes.data for array in arrays] for arrays in self.columns], np.int64)
        self.ends = np.cumsum(sizes, dtype=np.int64)
        self.like = np.empty(0, dtype)

    def __reduce__(self) -> tuple[type[Rows], tuple[list[tuple[np.ndarray, ...]]]]:
        return Rows, (self.columns,)  # a copy's arrays have addresses of their own

    def consists_of(self, columns: Sequence[Sequence[np.ndarray]]) -> bool:
        """Whether these are its arrays."""
        return len(columns) == len(self.columns) and all(
            one is other
            for arrays, own in zip(columns, self.columns, strict=True)
            for one, other in zip(arrays, own, strict=True)
        )

    @property
    def threads(self) -> int:
        """That the work is worth."""
        return threads_for(_WORK * int(self.ends[-1]))


def sgd(rows: Rows, rate: float, momentum: float, nesterov: bool) -> None:
    """rows: value, gradient, velocity. value += velocity = momentum * velocity - rate * gradient; with `nesterov` value
    += momentum * velocity - rate * gradient, for the new velocity."""
    number = rows.like.dtype.type
    _sgd(rows.addresses, rows.ends, rows.like, number(rate), number(momentum), nesterov, rows.threads)


def adam(rows: Rows, rate: float, fraction: float, square_fraction: float, epsilon: float) -> None:
    """rows: value, gradient, mean, mean_square and, for AMSGrad, largest. Running means of the gradient and its square
    move by a fraction of the way to them; value -= rate * mean / (sqrt(mean_square) + epsilon), or with the largest
    mean_square so far."""
    number = rows.like.dtype.type
    amsgrad = True if rows.addresses.shape[1] > 4 else None  # a type of its own: only what is used is compiled
    _adam(
        rows.addresses, rows.ends, rows.like, amsgrad, number(rate), number(fraction), number(square_fraction),
        number(epsilon), rows.threads,
    )  # fmt: skip


def rmsprop(rows: Rows, rate: float, rho: float, epsilon: float, momentum: float, centered: bool) -> None:
    """rows: value, gradient, mean_square, with momentum velocity, if centered mean. mean_square, and mean, are running
    means with weight rho; the step is rate * gradient / sqrt(mean_square - mean**2 + epsilon). With momentum it is
    added to velocity, and that taken from value."""
    number = rows.like.dtype.type
    _rmsprop(
        rows.addresses, rows.ends, rows.like, True if momentum else None, True if centered else None, number(rate),
        number(rho), number(1 - rho), number(epsilon), number(momentum), rows.threads,
    )  # fmt: skip


@cpu_jit(inner=True)
def _array(addresses, weight, row, begin, end, like):
    """Elements begin .. end - 1 of a weight's array; a loop over it begins at 0, so that LLVM makes vectors of it."""
    return carray(at_address(addresses[weight, row] + begin * like.itemsize, like), end - begin)


@cpu_jit(inner=True)
def _share(ends, weight, thread, threads):
    """(begin, end): a thread's elements of a weight."""
    first = ends[weight - 1] if weight > 0 else 0
    begin, end = ends[-1] * thread // threads, ends[-1] * (thread + 1) // threads
    return max(0, begin - first), min(ends[weight], end) - first


@cpu_jit(inner=True)
def _sgd_share(thread, addresses, ends, like, rate, momentum, nesterov, threads):
    for weight in range(ends.size):
        begin, end = _share(ends, weight, thread, threads)
        if begin < end:
            value = _array(addresses, weight, 0, begin, end, like)
            gradient = _array(addresses, weight, 1, begin, end, like)
            velocity = _array(addresses, weight, 2, begin, end, like)
            for i in range(value.size):
                step = rate * gradient[i]
                velocity[i] = momentum * velocity[i] - step
                value[i] += momentum * velocity[i] - step if nesterov else velocity[i]


@cpu_jit
def _sgd(addresses, ends, like, rate, momentum, nesterov, threads):
    parallel_for(_sgd_share, threads, (addresses, ends, like, rate, momentum, nesterov, threads))


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
def _adam_share(thread, addresses, ends, like, amsgrad, rate, fraction, square_fraction, epsilon, threads):
    for weight in range(ends.size):
        begin, end = _share(ends, weight, thread, threads)
        if begin < end:
            value = _array(addresses, weight, 0, begin, end, like)
            gradient = _array(addresses, weight, 1, begin, end, like)
            mean = _array(addresses, weight, 2, begin, end, like)
            mean_square = _array(addresses, weight, 3, begin, end, like)
            if amsgrad is None:
                _adam_steps(value, gradient, mean, mean_square, None, rate, fraction, square_fraction, epsilon)
            else:
                largest = _array(addresses, weight, 4, begin, end, like)
                _adam_steps(value, gradient, mean, mean_square, largest, rate, fraction, square_fraction, epsilon)


@cpu_jit
def _adam(addresses, ends, like, amsgrad, rate, fraction, square_fraction, epsilon, threads):
    parallel_for(
        _adam_share, threads, (addresses, ends, like, amsgrad, rate, fraction, square_fraction, epsilon, threads)
    )


@cpu_jit(inner=True)
def _rmsprop_steps(value, gradient, mean_square, velocity, mean, rate, rho, fraction, epsilon, momentum):
    for i in range(value.size):
        slope = gradient[i]
        mean_square[i] = rho * mean_square[i] + fraction * slope * slope
        spread = mean_square[i]
        if mean is not None:
            mean[i] = rho * mean[i] + fraction * slope
            spread -= mean[i] * mean[i]
        step = rate * slope / np.sqrt(spread + epsilon)
        if velocity is not None:
            velocity[i] = step = momentum * velocity[i] + step
        value[i] -= step


@cpu_jit(inner=True)
def _rmsprop_share(thread, addresses, ends, like, moves, centered, rate, rho, fraction, epsilon, momentum, threads):
    for weight in range(ends.size):
        begin, end = _share(ends, weight, thread, threads)
        if begin < end:
            value = _array(addresses, weight, 0, begin, end, like)
            gradient = _array(addresses, weight, 1, begin, end, like)
            mean_square = _array(addresses, weight, 2, begin, end, like)
            velocity = None if moves is None else _array(addresses, weight, 3, begin, end, like)
            last = addresses.shape[1] - 1
            mean = None if centered is None else _array(addresses, weight, last, begin, end, like)
            _rmsprop_steps(value, gradient, mean_square, velocity, mean, rate, rho, fraction, epsilon, momentum)


@cpu_jit
def _rmsprop(addresses, ends, like, moves, centered, rate, rho, fraction, epsilon, momentum, threads):
    parallel_for(
        _rmsprop_share,
        threads,
        (addresses, ends, like, moves, centered, rate, rho, fraction, epsilon, momentum, threads),
    )
