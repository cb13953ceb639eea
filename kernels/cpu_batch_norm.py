"""Batch normalization's passes over memory, on images or features as (pixels, channels).

Training needs the channels' means and variances before the first output can be written, and two sums before the first
gradient: two passes each. A block of pixels is small enough to stay in a cache, so that its own mean comes
first, a sum of differences from its first pixel, and its squares are those of deviations from it: no large mean spoils
them. Blocks are merged in float64 (Chan, Golub & LeVeque 1979). A chunk of blocks is one thread's, chunks depend on the
shape alone and are merged in order: the same bits at any number of threads. Limited by bytes.

Elements are written x[r, c], not as those of a row x[r]: a view's count of references costs more than the row. The sums
of a block are compiled by themselves: as part of the code around them they take three times as long.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for

_BLOCK_ELEMENTS = 1 << 14  # 64 KiB of float32
_CHUNKS = 32  # as many threads can share the work
_WORK = 2  # multiply-adds that reading an element from memory is worth


def moments(x: np.ndarray, partial: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> None:
    """The mean and the (biased) variance of each column of x (M, C), C-contiguous, into mean, variance (C,).

    partial: scratch memory of shape `partial_shape(M, C)`, float64.
    """
    _moments(x, partial, mean, variance, _rows(x.shape[1]), _threads(x))


def normalize(x: np.ndarray, mean: np.ndarray, scale: np.ndarray, shift: np.ndarray, y: np.ndarray) -> None:
    """y = (x - mean) * scale + shift; x, y (M, C), the others (C,). y may be x."""
    _normalize(x, mean, scale, shift, y, _threads(x))


def gradient_sums(
    gy: np.ndarray, x: np.ndarray, mean: np.ndarray, partial: np.ndarray, total: np.ndarray, product: np.ndarray
) -> None:
    """The sums of gy and of gy * (x - mean) over each column, into total, product (C,); partial as for `moments`."""
    _gradient_sums(gy, x, mean, partial, total, product, _rows(x.shape[1]), _threads(x))


def input_gradient(
    gy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    factors: tuple[np.ndarray, np.ndarray, np.ndarray],
    gated: bool,
    gx: np.ndarray,
) -> None:
    """gx = gy * a + (x - mean) * b + c for factors (a, b, c), each (C,); with `gated` 0 where x <= 0. gx may be gy."""
    _input_gradient(gy, x, mean, *factors, gated, gx, _threads(x))


def partial_shape(M: int, C: int) -> tuple[int, int, int]:
    """The scratch memory's shape for M rows of C columns."""
    return max(1, min(_CHUNKS, -(-M // _rows(C)))), 2, C


def _rows(C: int) -> int:
    """Rows of a block."""
    return max(8, min(512, _BLOCK_ELEMENTS // C))


def _threads(x: np.ndarray) -> int:
    return threads_for(_WORK * x.size)


@cpu_jit
def _column_sums(x, begin, end, sums):
    """The sums of rows begin .. end - 1 less the first of them, four rows at a time."""
    C = x.shape[1]
    sums[:] = 0
    whole = begin + (end - begin) // 4 * 4
    for r in range(begin, whole, 4):
        for c in range(C):
            p = x[begin, c]
            sums[c] += ((x[r, c] - p) + (x[r + 1, c] - p)) + ((x[r + 2, c] - p) + (x[r + 3, c] - p))
    for r in range(whole, end):
        for c in range(C):
            sums[c] += x[r, c] - x[begin, c]


@cpu_jit
def _column_squares(x, begin, end, mean, sums):
    """The sums of (x - mean)**2 over rows begin .. end - 1, four rows at a time."""
    C = x.shape[1]
    sums[:] = 0
    whole = begin + (end - begin) // 4 * 4
    for r in range(begin, whole, 4):
        for c in range(C):
            m = mean[c]
            d0, d1, d2, d3 = x[r, c] - m, x[r + 1, c] - m, x[r + 2, c] - m, x[r + 3, c] - m
            sums[c] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
    for r in range(whole, end):
        for c in range(C):
            d = x[r, c] - mean[c]
            sums[c] += d * d


@cpu_jit
def _merge(mean, squares, count, block_mean, block_squares, block_count):
    """Means and sums of squared deviations of `count` rows, those of `block_count` more taken in."""
    share = block_count / (count + block_count)
    for c in range(mean.size):
        delta = block_mean[c] - mean[c]
        mean[c] += delta * share
        squares[c] += block_squares[c] + delta * delta * count * share


@cpu_jit(inner=True)
def _moments_share(thread, x, partial, rows, threads):
    M, C = x.shape
    chunks = partial.shape[0]
    rounded, squares, means = np.empty(C, x.dtype), np.empty(C, x.dtype), np.empty(C)
    for chunk in range(chunks * thread // threads, chunks * (thread + 1) // threads):
        begin, end = M * chunk // chunks, M * (chunk + 1) // chunks
        partial[chunk] = 0
        for start in range(begin, end, rows):
            stop = min(start + rows, end)
            _column_sums(x, start, stop, rounded)
            for c in range(C):
                means[c] = np.float64(x[start, c]) + np.float64(rounded[c]) / (stop - start)
                rounded[c] = means[c]
            _column_squares(x, start, stop, rounded, squares)
            _merge(partial[chunk, 0], partial[chunk, 1], start - begin, means, squares, stop - start)


@cpu_jit
def _moments(x, partial, mean, variance, rows, threads):
    parallel_for(_moments_share, threads, (x, partial, rows, threads))
    M, chunks = x.shape[0], partial.shape[0]
    for chunk in range(1, chunks):
        begin, end = M * chunk // chunks, M * (chunk + 1) // chunks
        _merge(partial[0, 0], partial[0, 1], begin, partial[chunk, 0], partial[chunk, 1], end - begin)
    for c in range(mean.size):
        mean[c] = partial[0, 0, c]
        variance[c] = partial[0, 1, c] / M


@cpu_jit(inner=True)
def _normalize_share(thread, x, mean, scale, shift, y, threads):
    M, C = x.shape
    for r in range(M * thread // threads, M * (thread + 1) // threads):
        for c in range(C):
            y[r, c] = (x[r, c] - mean[c]) * scale[c] + shift[c]


@cpu_jit
def _normalize(x, mean, scale, shift, y, threads):
    parallel_for(_normalize_share, threads, (x, mean, scale, shift, y, threads))


@cpu_jit
def _product_sums(gy, x, begin, end, mean, total, product):
    """The sums of gy and of gy * (x - mean) over rows begin .. end - 1, two rows at a time."""
    C = x.shape[1]
    total[:] = 0
    product[:] = 0
    whole = begin + (end - begin) // 2 * 2
    for r in range(begin, whole, 2):
        for c in range(C):
            m = mean[c]
            total[c] += gy[r, c] + gy[r + 1, c]
            product[c] += gy[r, c] * (x[r, c] - m) + gy[r + 1, c] * (x[r + 1, c] - m)
    for r in range(whole, end):
        for c in range(C):
            total[c] += gy[r, c]
            product[c] += gy[r, c] * (x[r, c] - mean[c])


@cpu_jit(inner=True)
def _sums_share(thread, gy, x, mean, partial, rows, threads):
    M, C = x.shape
    chunks = partial.shape[0]
    total, product = np.empty(C, x.dtype), np.empty(C, x.dtype)
    for chunk in range(chunks * thread // threads, chunks * (thread + 1) // threads):
        begin, end = M * chunk // chunks, M * (chunk + 1) // chunks
        partial[chunk] = 0
        for start in range(begin, end, rows):
            stop = min(start + rows, end)
            _product_sums(gy, x, start, stop, mean, total, product)
            for c in range(C):
                partial[chunk, 0, c] += total[c]
                partial[chunk, 1, c] += product[c]


@cpu_jit
def _gradient_sums(gy, x, mean, partial, total, product, rows, threads):
    parallel_for(_sums_share, threads, (gy, x, mean, partial, rows, threads))
    for chunk in range(1, partial.shape[0]):
        for c in range(mean.size):
            partial[0, 0, c] += partial[chunk, 0, c]
            partial[0, 1, c] += partial[chunk, 1, c]
    for c in range(mean.size):
        total[c] = partial[0, 0, c]
        product[c] = partial[0, 1, c]


@cpu_jit(inner=True)
def _gradient_share(thread, gy, x, mean, a, b, c, gated, gx, threads):
    M, C = x.shape
    begin, end = M * thread // threads, M * (thread + 1) // threads
    if gated:
        for r in range(begin, end):
            for i in range(C):
                gradient = gy[r, i] * a[i] + (x[r, i] - mean[i]) * b[i] + c[i]
                gx[r, i] = gradient if x[r, i] > 0 else gradient * 0
    else:
        for r in range(begin, end):
            for i in range(C):
                gx[r, i] = gy[r, i] * a[i] + (x[r, i] - mean[i]) * b[i] + c[i]


@cpu_jit
def _input_gradient(gy, x, mean, a, b, c, gated, gx, threads):
    parallel_for(_gradient_share, threads, (gy, x, mean, a, b, c, gated, gx, threads))
