"""Batch normalization on a GPU, of images or features as rows of channels, the channels side by side.

Sums over rows are taken in two stages. A block takes a chunk of rows of 32 channels: 8 threads a channel, the mean
first and then the squares of deviations from it, which no large mean spoils; the chunk comes from the level-1 cache the
second time. Then a block merges the chunks of 32 channels, in their order (Chan, Golub & LeVeque 1979). The other
passes are a thread an element. Limited by bytes: x is read twice and written once forward; backward x and gy are read
twice and one is written. The formulas are those of `cpu_batch_norm`.
"""

from __future__ import annotations

import math
from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32

THREADS = 256
WARP = 32  # channels of a block
SHARES = THREADS // WARP  # threads of a channel
ROWS = 256  # of a chunk


def partial_shape(rows: int, channels: int) -> tuple[int, int, int]:
    """Two numbers for each chunk and channel: the shape of what sums are kept in."""
    return -(-rows // ROWS), 2, channels


def moments(
    x: Any, partial: Any, mean: Any, inverse: Any, moving: tuple[Any, Any], momentum: float, epsilon: float
) -> list[Launch]:
    """The channels' means and 1 / sqrt(variance + epsilon); the moving mean and variance go towards the batch's.

    x: (rows, channels); partial: of `partial_shape`; the others (channels,).
    """
    rows, channels = x.shape
    chunks = partial.shape[0]
    merged = (partial, mean, inverse, *moving, rows, channels, chunks)
    numbers = (float32(momentum), float32(1 - momentum), float32(epsilon))
    return [
        Launch(_chunk_moments, (chunks, -(-channels // WARP)), (WARP, SHARES), (x, partial, rows, channels)),
        Launch(_merge_moments, (-(-channels // WARP),), (WARP, SHARES), (*merged, *numbers)),
    ]


def still_moments(moving: tuple[Any, Any], mean: Any, inverse: Any, epsilon: float) -> list[Launch]:
    """The moving mean and variance in the place of `moments`."""
    arguments = (*moving, mean, inverse, mean.size, float32(epsilon))
    return [Launch(_still_moments, (-(-mean.size // THREADS),), (THREADS,), arguments)]


def normalize(x: Any, mean: Any, inverse: Any, gamma: Any, beta: Any, y: Any) -> list[Launch]:
    """y = (x - mean) * inverse * gamma + beta; gamma and beta None for 1 and 0."""
    given = (mean if gamma is None else gamma, mean if beta is None else beta)
    numbers = (x.size, x.shape[1], int(gamma is not None), int(beta is not None))
    return [Launch(_normalize, (-(-x.size // THREADS),), (THREADS,), (x, mean, inverse, *given, y, *numbers))]


def gradient_sums(gy: Any, x: Any, mean: Any, partial: Any, total: Any, product: Any) -> list[Launch]:
    """The sums of gy and of gy * (x - mean) over the rows, into total and product (channels,)."""
    rows, channels = x.shape
    first = (gy, x, mean, partial, rows, channels)
    return [
        Launch(_chunk_gradient_sums, (partial.shape[0], -(-channels // WARP)), (WARP, SHARES), first),
        merged_sums(partial, total, product),
    ]


def merged_sums(partial: Any, total: Any, product: Any) -> Launch:
    """The first and the second number of each channel, summed over the chunks, into total and product (channels,)."""
    chunks, _, channels = partial.shape
    return Launch(_merge_sums, (-(-channels // WARP),), (WARP, SHARES), (partial, total, product, channels, chunks))


def input_gradient(
    gy: Any, x: Any, statistics: tuple[Any, Any, Any], sums: tuple[Any, Any] | None, gx: Any, gated: bool
) -> list[Launch]:
    """The gradient for x; gx may be gy.

    Args:
        statistics: mean, inverse, and gamma or None.
        sums: total and product of `gradient_sums`; None where the statistics do not depend on x.
        gated: whether x is a ReLU's output, whose gradient is applied, too.
    """
    mean, inverse, gamma = statistics
    arrays = (gy, x, mean, inverse, mean if gamma is None else gamma, *(sums or (mean, mean)), gx)
    share = 0.0 if sums is None else 1 / x.shape[0]
    numbers = (x.size, x.shape[1], int(gamma is not None), int(gated), float32(share))
    return [Launch(_input_gradient, (-(-x.size // THREADS),), (THREADS,), (*arrays, *numbers))]


@device_function
def channel_sum(shares, lane, share, value):
    """The sum over a channel's threads, in each of them."""
    thread = uint32(share * WARP + lane)
    cuda.syncthreads()  # the numbers there have been read
    shares[thread] = value
    cuda.syncthreads()
    half = uint32(SHARES // 2)
    while half > uint32(0):
        if share < half:
            shares[thread] += shares[uint32(thread + half * WARP)]
        cuda.syncthreads()
        half = uint32(half // 2)
    return shares[lane]


@cuda_jit(FLOATS, FLOATS, int32, int32, launch_bounds=THREADS)
def _chunk_moments(x, partial, rows, channels):
    shares = cuda.shared.array(THREADS, float32)
    lane, share, chunk = uint32(cuda.threadIdx.x), uint32(cuda.threadIdx.y), uint32(cuda.blockIdx.x)
    channel = uint32(cuda.blockIdx.y * WARP + lane)
    begin, end = uint32(chunk * ROWS), uint32(min(int32(rows), int32((chunk + 1) * ROWS)))
    mean, squares = float32(0), float32(0)
    if channel < uint32(channels):
        row = uint32(begin + share)
        while row < end:
            mean += x[uint32(row * channels + channel)]
            row = uint32(row + SHARES)
    mean = channel_sum(shares, lane, share, mean) / float32(int32(end - begin))
    if channel < uint32(channels):
        row = uint32(begin + share)
        while row < end:
            d = x[uint32(row * channels + channel)] - mean
            squares += d * d
            row = uint32(row + SHARES)
    squares = channel_sum(shares, lane, share, squares)
    if share == uint32(0) and channel < uint32(channels):
        place = uint32(2 * chunk * channels + channel)
        partial[place] = mean
        partial[uint32(place + channels)] = squares


@cuda_jit(
    *(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, int32, int32, int32, float32, float32, float32), launch_bounds=THREADS
)
def _merge_moments(
    partial, mean, inverse, moving_mean, moving_variance, rows, channels, chunks, momentum, rest, epsilon
):
    shares = cuda.shared.array(THREADS, float32)
    lane, share = uint32(cuda.threadIdx.x), uint32(cuda.threadIdx.y)
    channel = uint32(cuda.blockIdx.x * WARP + lane)
    middle, squares = float32(0), float32(0)
    # Means weighted by how many rows a chunk has, then the squares of the chunks and of their distances from the mean.
    if channel < uint32(channels):
        chunk = share
        while chunk < uint32(chunks):
            count = float32(int32(min(int32(ROWS), int32(rows - int32(chunk * ROWS))))) / float32(rows)
            middle += partial[uint32(2 * chunk * channels + channel)] * count
            chunk = uint32(chunk + SHARES)
    middle = channel_sum(shares, lane, share, middle)
    if channel < uint32(channels):
        chunk = share
        while chunk < uint32(chunks):
            place = uint32(2 * chunk * channels + channel)
            d = partial[place] - middle
            count = float32(int32(min(int32(ROWS), int32(rows - int32(chunk * ROWS)))))
            squares += partial[uint32(place + channels)] + d * d * count
            chunk = uint32(chunk + SHARES)
    variance = channel_sum(shares, lane, share, squares) / float32(rows)
    if share == uint32(0) and channel < uint32(channels):
        mean[channel] = middle
        inverse[channel] = float32(1) / math.sqrt(variance + epsilon)
        moving_mean[channel] = moving_mean[channel] * momentum + middle * rest
        moving_variance[channel] = moving_variance[channel] * momentum + variance * rest


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, int32, float32, launch_bounds=THREADS)
def _still_moments(moving_mean, moving_variance, mean, inverse, channels, epsilon):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(channels):
        mean[i] = moving_mean[i]
        inverse[i] = float32(1) / math.sqrt(moving_variance[i] + epsilon)


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, int32, int32, int32, int32, launch_bounds=THREADS)
def _normalize(x, mean, inverse, gamma, beta, y, count, channels, has_gamma, has_beta):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        channel = uint32(i % uint32(channels))
        factor = inverse[channel]
        if has_gamma:
            factor *= gamma[channel]
        v = (x[i] - mean[channel]) * factor
        y[i] = v + beta[channel] if has_beta else v


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, int32, int32, launch_bounds=THREADS)
def _chunk_gradient_sums(gy, x, mean, partial, rows, channels):
    shares = cuda.shared.array(THREADS, float32)
    lane, share, chunk = uint32(cuda.threadIdx.x), uint32(cuda.threadIdx.y), uint32(cuda.blockIdx.x)
    channel = uint32(cuda.blockIdx.y * WARP + lane)
    end = uint32(min(int32(rows), int32((chunk + 1) * ROWS)))
    total, product = float32(0), float32(0)
    if channel < uint32(channels):
        row, middle = uint32(chunk * ROWS + share), mean[channel]
        while row < end:
            place = uint32(row * channels + channel)
            total += gy[place]
            product += gy[place] * (x[place] - middle)
            row = uint32(row + SHARES)
    total = channel_sum(shares, lane, share, total)
    product = channel_sum(shares, lane, share, product)
    if share == uint32(0) and channel < uint32(channels):
        place = uint32(2 * chunk * channels + channel)
        partial[place] = total
        partial[uint32(place + channels)] = product


@cuda_jit(FLOATS, FLOATS, FLOATS, int32, int32, launch_bounds=THREADS)
def _merge_sums(partial, total, product, channels, chunks):
    shares = cuda.shared.array(THREADS, float32)
    lane, share = uint32(cuda.threadIdx.x), uint32(cuda.threadIdx.y)
    channel = uint32(cuda.blockIdx.x * WARP + lane)
    first, second = float32(0), float32(0)
    if channel < uint32(channels):
        chunk = share
        while chunk < uint32(chunks):
            place = uint32(2 * chunk * channels + channel)
            first += partial[place]
            second += partial[uint32(place + channels)]
            chunk = uint32(chunk + SHARES)
    first = channel_sum(shares, lane, share, first)
    second = channel_sum(shares, lane, share, second)
    if share == uint32(0) and channel < uint32(channels):
        total[channel] = first
        product[channel] = second


@cuda_jit(
    *(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, int32, int32, int32, int32, float32),
    launch_bounds=THREADS,
)
def _input_gradient(gy, x, mean, inverse, gamma, total, product, gx, count, channels, has_gamma, gated, share):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        channel = uint32(i % uint32(channels))
        scale = inverse[channel]
        v, slope = x[i], gy[i]
        if share > float32(0):
            slope -= (total[channel] + (v - mean[channel]) * scale * scale * product[channel]) * share
        if has_gamma:
            scale *= gamma[channel]
        slope *= scale
        gx[i] = slope if not gated or v > float32(0) else float32(0)
