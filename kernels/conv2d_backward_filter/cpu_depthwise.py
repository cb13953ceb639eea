"""The filter's gradient of a depthwise convolution: products of x and gy, a vector of channels at a time.

Differs from cpu_direct as conv2d/cpu_depthwise.py does. A band of an image's rows is taken two vectors of channels at a
time: their pixels of x, with zeros round the image, and of gy are copied side by side first, where they do not compete
for cache lines. Then three taps of a filter's row run over the whole band together, their sums in registers, so that a
load of gy serves three products. The bands of all images are cut into chunks by the problem alone, which are added in
order. Limited by loads: four for three products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from fastconv.kernels import cpu_depthwise as depthwise
from fastconv.kernels.cpu_chunks import add_chunks
from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import (
    VECTOR_BYTES,
    VECTORS,
    at,
    lanes,
    tile_add,
    tile_fma,
    tile_load,
    tile_row,
    tile_shape,
    tile_store,
    tile_zero,
)
from fastconv.kernels.registry import kernel

_CHUNKS = 16  # at most: work for as many threads
_CHUNK_WORK = 1 << 20  # multiply-adds that are worth a chunk: each has sums to clear and to add
_BAND_BYTES = 1 << 16  # of x that a band copies: with gy about a tenth of a typical level-2 cache
_TAPS = 3  # of a filter's row that run over a band together
_COUNT = 21  # of the numbers that the compiled code is handed


@dataclass(frozen=True)
class _Plan:
    """rows: of y, in a band; in_rows, columns: of x that these see, with zeros round the image. bands: of an image.
    chunks: of the bands of all images. scratch: elements that a thread copies."""

    rows: int
    in_rows: int
    columns: int
    bands: int
    chunks: int
    scratch: int


@lru_cache(maxsize=1024)
def _plan(problem):
    p, block = problem, VECTORS * VECTOR_BYTES  # bytes of a pixel
    columns = (p.Q - 1) * p.stride_w + (p.S - 1) * p.dilation_w + 1
    rows = max(1, min(p.P, _BAND_BYTES // (block * columns * p.stride_h)))
    in_rows = (rows - 1) * p.stride_h + (p.R - 1) * p.dilation_h + 1
    bands = -(-p.P // rows)
    chunks = max(1, min(p.N * bands, _CHUNKS, max(2, p.flops // 2 // _CHUNK_WORK)))
    scratch = (in_rows * columns + rows * p.Q) * block // p.itemsize
    return _Plan(rows, in_rows, columns, bands, chunks, scratch)


def _threads(problem):
    return threads_for(2 * problem.flops)


def _workspace_bytes(problem):
    p, plan = problem, _plan(problem)
    return (plan.chunks * (p.R * p.S + 1) * p.C + _threads(p) * plan.scratch) * p.itemsize


@kernel(
    limited_by="loads: four for three products",
    unsupported=depthwise.unsupported,
    workspace_bytes=_workspace_bytes,
)
def cpu_depthwise(problem, x, gy, gw, gb, workspace):
    p, plan, threads = problem, _plan(problem), _threads(problem)
    memory = workspace[: _workspace_bytes(p)].view(x.dtype)
    scratch, partial = memory[: threads * plan.scratch], memory[threads * plan.scratch :]  # (chunks, R*S + 1, C)
    _run(x.reshape(-1), gy.reshape(-1), partial, scratch, _numbers(p, threads))
    flat_gw = gw.reshape(-1)
    bias = flat_gw[:0] if gb is None else gb
    add_chunks(partial, flat_gw, bias, plan.chunks, gw.size, p.C, threads_for(partial.size))


@lru_cache(maxsize=1024)
def _numbers(problem, threads):
    """All that `_run` must know besides arrays, int64."""
    p, plan = problem, _plan(problem)
    return np.array(
        [
            threads, p.N, p.H, p.W, p.C, p.P, p.Q, p.R, p.S, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w,
            p.pad_top, p.pad_left, plan.rows, plan.in_rows, plan.columns, plan.bands, plan.chunks, plan.scratch,
        ],
        np.int64,
    )  # fmt: skip


@cpu_jit(inner=True)
def copy_x(image, first_h, first_w, H, W, C, channels, rows, columns, block, wide):
    """rows x columns pixels from (first_h, first_w) on, with zeros beyond the image: block (rows, columns, wide), the
    first channels of a tile of each. image: points at the first of `channels` channels."""
    line = tile_shape(1, VECTORS, True)
    begin, end = min(columns, max(0, -first_w)), max(0, min(columns, W - first_w))
    zero = tile_zero(line, block)
    for row in range(rows):
        h, target = first_h + row, at(block, row * columns * wide)
        inside = 0 <= h < H
        for j in range(begin if inside else columns):
            tile_store(zero, at(target, j * wide), 0, VECTORS * lanes(block))
        if inside:
            for j in range(begin, end):
                pixel = tile_load(line, at(image, (h * W + first_w + j) * C), 0, channels)
                tile_store(pixel, at(target, j * wide), 0, VECTORS * lanes(block))
            for j in range(max(begin, end), columns):
                tile_store(zero, at(target, j * wide), 0, VECTORS * lanes(block))


@cpu_jit(inner=True)
def copy_gy(gy, C, channels, pixels, block, wide, bias):
    """`pixels` pixels of gy: block (pixels, wide), the first channels of a tile of each; their sum is added to the
    bias."""
    line = tile_shape(1, VECTORS, True)
    total = tile_load(line, bias, 0, channels)
    for i in range(pixels):
        pixel = tile_load(line, at(gy, i * C), 0, channels)
        tile_store(pixel, at(block, i * wide), 0, VECTORS * lanes(block))
        total = tile_add(total, pixel)
    tile_store(total, bias, 0, channels)


@cpu_jit(inner=True)
def _taps(shape, masked, x, row_step, step, tap_step, gy, rows, Q, sums, C, channels):
    """Add to sums (taps, C) the products of a band for the taps of a tile's rows, `tap_step` apart in x. Two pixels in
    turn have sums of their own, so that fewer additions wait for each other."""
    wide = VECTORS * lanes(gy)
    even = odd = tile_zero(shape, gy)
    for row in range(rows):
        a, b = at(x, row * row_step), at(gy, row * Q * wide)
        for q in range(0, Q - 1, 2):
            even = tile_fma(even, tile_load(shape, at(a, q * step), tap_step, 0), tile_row(shape, at(b, q * wide), 0))
            next_a, next_b = at(a, (q + 1) * step), at(b, (q + 1) * wide)
            odd = tile_fma(odd, tile_load(shape, next_a, tap_step, 0), tile_row(shape, next_b, 0))
        if Q % 2 == 1:
            last_a, last_b = at(a, (Q - 1) * step), at(b, (Q - 1) * wide)
            even = tile_fma(even, tile_load(shape, last_a, tap_step, 0), tile_row(shape, last_b, 0))
    tile_store(tile_add(tile_load(masked, sums, C, channels), tile_add(even, odd)), sums, C, channels)


@cpu_jit(inner=True)
def _thread(thread, x, gy, partial, scratch, numbers):
    """A share of the chunks."""
    (
        threads, N, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, top, left, band_rows, in_rows,
        columns, bands, chunks, size,
    ) = to_fixed_tuple(numbers, _COUNT)  # fmt: skip
    three, one = tile_shape(_TAPS, VECTORS, False), tile_shape(1, VECTORS, False)
    three_masked, one_masked = tile_shape(_TAPS, VECTORS, True), tile_shape(1, VECTORS, True)
    wide, filter_size = VECTORS * lanes(x), R * S * C
    x_block, gy_block = at(scratch, thread * size), at(scratch, thread * size + in_rows * columns * wide)
    for chunk in range(chunks * thread // threads, chunks * (thread + 1) // threads):
        base = chunk * (filter_size + C)
        for i in range(base, base + filter_size + C):
            partial[i] = 0
        for task in range(N * bands * chunk // chunks, N * bands * (chunk + 1) // chunks):
            image, p = task // bands, task % bands * band_rows
            rows = min(band_rows, P - p)
            needed = (rows - 1) * stride_h + (R - 1) * dilation_h + 1
            for c in range(0, C, wide):
                source = at(x, image * H * W * C + c)
                copy_x(source, p * stride_h - top, -left, H, W, C, C - c, needed, columns, x_block, wide)
                gradients = at(gy, (image * P + p) * Q * C + c)
                copy_gy(gradients, C, C - c, rows * Q, gy_block, wide, at(partial, base + filter_size + c))
                for r in range(R):
                    s = 0
                    while s < S:
                        a = at(x_block, (r * dilation_h * columns + s * dilation_w) * wide)
                        sums = at(partial, base + (r * S + s) * C + c)
                        if S - s >= _TAPS:
                            _taps(
                                three, three_masked, a, stride_h * columns * wide, stride_w * wide, dilation_w * wide,
                                gy_block, rows, Q, sums, C, C - c,
                            )  # fmt: skip
                            s += _TAPS
                        else:
                            _taps(
                                one, one_masked, a, stride_h * columns * wide, stride_w * wide, dilation_w * wide,
                                gy_block, rows, Q, sums, C, C - c,
                            )  # fmt: skip
                            s += 1


@cpu_jit
def _run(x, gy, partial, scratch, numbers):
    parallel_for(_thread, numbers[0], (x, gy, partial, scratch, numbers))
