"""Normalization of each sample by itself on a GPU: layers, groups of channels, unit length.

A row, see `cuda_rows`, is what has a mean and a variance of its own: y = (x - mean) * inverse * gamma + beta, where
inverse is 1 / sqrt(variance + epsilon); for unit length the mean is 0 and inverse is 1 / max(norm, epsilon). The mean
comes first and then the squares of deviations from it, which no large mean spoils. Gamma's and beta's gradients are
sums over rows, in chunks that `cuda_batch_norm` merges. Limited by bytes where there are rows enough to fill the GPU: x
is read three times forward, twice of that from the cache if a row is not very long; backward x and gy are read twice
for the input and once for the weights. Few very long rows are limited by latency: each is one block's.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from fastconv.kernels import cuda_batch_norm
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_batch_norm import ROWS, SHARES, WARP, channel_sum
from fastconv.kernels.cuda_batch_norm import THREADS as THREADS_OF_SUMS
from fastconv.kernels.cuda_rows import THREADS, after, row_sum, share_of, sharing
from fastconv.kernels.cuda_units import Units, first_of, place_of, units_of


class Weights(NamedTuple):
    """Which element of gamma and beta belongs to an element of a row, and which row to a term of their gradients."""

    groups: int  # rows with different elements of gamma, one after another
    period: int  # elements of gamma that a row has
    span: int  # terms that follow each other in one row


def whole(rows: Units) -> Weights:
    """For rows that have all of gamma each, in the order of their elements."""
    return Weights(1, rows.terms, 1)


def grouped(samples: int, pixels: int, groups: int, channels: int) -> tuple[Units, Units, Weights]:
    """Rows, columns and weights for groups of `channels` channels: an array (samples, pixels, groups * channels)."""
    width = groups * channels
    # Pixels and channels stay two axes even where one would do: gamma follows the second.
    row, terms = (groups, pixels * width, channels), (channels, width, int(channels > 1))
    rows = Units(samples * groups, *row, pixels * channels, *terms)
    return rows, units_of((samples * pixels, width), (0,)), Weights(groups, channels, pixels)


def normalize(
    x: Any, rows: Units, statistics: tuple[Any, Any], scale: tuple[Any, Any], weights: Weights, y: Any, epsilon: float
) -> list[Launch]:
    """y from x, and the rows' means and inverses; without a mean where that is None, for unit length.

    scale: gamma and beta, each None for 1 and 0.
    """
    way, grid, block = sharing(rows)
    (mean, inverse), (gamma, beta) = statistics, scale
    arrays = (x, inverse if mean is None else mean, inverse, _or(gamma, x), _or(beta, x), y)
    flags = (int(mean is not None), int(gamma is not None), int(beta is not None))
    return [Launch(_normalize, grid, block, (*arrays, way, *flags, float32(epsilon), weights, rows))]


def input_gradient(
    gy: Any,
    x: Any,
    rows: Units,
    statistics: tuple[Any, Any],
    gamma: Any,
    weights: Weights,
    gx: Any,
    epsilon: float,
) -> list[Launch]:
    """The gradient for x; gx may be gy."""
    way, grid, block = sharing(rows)
    mean, inverse = statistics
    arrays = (gy, x, inverse if mean is None else mean, inverse, _or(gamma, x), gx)
    flags = (int(mean is not None), int(gamma is not None))
    return [Launch(_input_gradient, grid, block, (*arrays, way, *flags, float32(epsilon), weights, rows))]


def weight_gradients(
    gy: Any,
    x: Any,
    columns: Units,
    statistics: tuple[Any, Any],
    weights: Weights,
    partial: Any,
    gradients: tuple[Any, Any],
) -> list[Launch]:
    """The gradients of gamma and beta.

    Args:
        columns: as the rows with sums and terms the other way round: a sum for each element of gamma.
        partial: to write on, of `cuda_batch_norm.partial_shape(columns.terms, columns.units)`.
    """
    grid = (-(-columns.units // WARP), partial.shape[0])
    arguments = (gy, x, *statistics, partial, weights, columns)
    gamma, beta = gradients
    return [
        Launch(_chunk_sums, grid, (WARP, SHARES), arguments),
        cuda_batch_norm.merged_sums(partial, beta, gamma),
    ]


def _or(array: Any, other: Any) -> Any:
    return other if array is None else array


@device_function
def _weight_of(row, element, weights, rows):
    """Which element of gamma and beta belongs to an element of a row."""
    term, _, inner = element
    return uint32(row % uint32(weights.groups) * weights.period + (inner if weights.period == rows.m else term))


@cuda_jit(
    *(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, int32, int32, int32, int32, float32, Weights, Units),
    launch_bounds=THREADS,
)
def _normalize(x, mean, inverse, gamma, beta, y, way, has_mean, has_gamma, has_beta, epsilon, weights, rows):
    shares = cuda.shared.array(THREADS, float32)
    row, first, steps, end = share_of(way, rows)
    middle, squares = float32(0), float32(0)
    if has_mean:
        element = first
        while element[0] < end:
            middle += x[element[1]]
            element = after(element, steps, rows)
        middle = row_sum(shares, way, middle) / float32(rows.terms)
    element = first
    while element[0] < end:
        d = x[element[1]] - middle
        squares += d * d
        element = after(element, steps, rows)
    squares = row_sum(shares, way, squares)
    if has_mean:
        length = math.sqrt(squares / float32(rows.terms) + epsilon)
    else:
        length = math.sqrt(squares)
        if length < epsilon:
            length = epsilon
    factor = float32(1) / length
    if first[0] == uint32(0) and end > uint32(0):
        if has_mean:
            mean[row] = middle
        inverse[row] = factor
    element = first
    while element[0] < end:
        place, at = element[1], _weight_of(row, element, weights, rows)
        v = (x[place] - middle) * factor
        if has_gamma:
            v *= gamma[at]
        y[place] = v + beta[at] if has_beta else v
        element = after(element, steps, rows)


@cuda_jit(
    *(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, int32, int32, int32, float32, Weights, Units),
    launch_bounds=THREADS,
)
def _input_gradient(gy, x, mean, inverse, gamma, gx, way, has_mean, has_gamma, epsilon, weights, rows):
    shares = cuda.shared.array(THREADS, float32)
    row, first, steps, end = share_of(way, rows)
    middle, factor = float32(0), float32(0)
    if end > uint32(0):
        factor = inverse[row]
        if has_mean:
            middle = mean[row]
    total, along = float32(0), float32(0)
    element = first
    while element[0] < end:
        place = element[1]
        slope = gy[place]
        if has_gamma:
            slope *= gamma[_weight_of(row, element, weights, rows)]
        total += slope
        along += slope * (x[place] - middle)
        element = after(element, steps, rows)
    along = row_sum(shares, way, along) * factor
    if has_mean:
        total = row_sum(shares, way, total) / float32(rows.terms)
        along = along / float32(rows.terms)
    else:
        total = float32(0)
        if not factor < float32(1) / epsilon:  # too short: divided by epsilon, whatever x is
            along = float32(0)
    element = first
    while element[0] < end:
        place = element[1]
        slope = gy[place]
        if has_gamma:
            slope *= gamma[_weight_of(row, element, weights, rows)]
        gx[place] = (slope - total - (x[place] - middle) * factor * along) * factor
        element = after(element, steps, rows)


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, Weights, Units, launch_bounds=THREADS_OF_SUMS)
def _chunk_sums(gy, x, mean, inverse, partial, weights, columns):
    shares = cuda.shared.array(THREADS_OF_SUMS, float32)
    lane, share, chunk = uint32(cuda.threadIdx.x), uint32(cuda.threadIdx.y), uint32(cuda.blockIdx.y)
    column = uint32(cuda.blockIdx.x * WARP + lane)
    end = uint32(min(int32(columns.terms), int32((chunk + 1) * ROWS)))
    total, product = float32(0), float32(0)
    if column < uint32(columns.units):
        first, term = first_of(column, columns), uint32(chunk * ROWS + share)
        sample = uint32(term // uint32(weights.span))
        pixel = uint32(term - sample * weights.span)
        row = uint32(sample * weights.groups + column // uint32(weights.period))
        while term < end:
            place = place_of(first, term, columns)
            slope = gy[place]
            total += slope
            product += slope * (x[place] - mean[row]) * inverse[row]
            term, pixel = uint32(term + SHARES), uint32(pixel + SHARES)
            while pixel >= uint32(weights.span):
                pixel, row = uint32(pixel - weights.span), uint32(row + weights.groups)
    total = channel_sum(shares, lane, share, total)
    product = channel_sum(shares, lane, share, product)
    if share == uint32(0) and column < uint32(columns.units):
        place = uint32(2 * chunk * columns.units + column)
        partial[place] = total
        partial[uint32(place + columns.units)] = product
