"""backward_filter in register tiles: filter elements stay in registers while the pixels stream past.

The forward tile turned round: rows are neighbouring elements (s, c) of one filter row, columns a block of
filters, and each pixel adds the outer product of its inputs and its gradients. The images are split into
chunks that depend on the problem alone; each chunk sums into a filter of its own, and the chunks are then
added in order, so the thread count changes no bit. A thread computes the runs of filter rows of one chunk.
Limited by FLOPs, with few channels by loads (rows + vectors of them for rows * vectors multiply-adds).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from fastconv.kernels import cpu_taps
from fastconv.kernels.cpu_chunks import add_chunks
from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import (
    NARROW,
    WIDE,
    at,
    fewer_rows,
    lanes,
    outer_fma,
    tile_load,
    tile_rows,
    tile_shape,
    tile_store,
)
from fastconv.kernels.problem import Conv2DProblem
from fastconv.kernels.registry import kernel

WIDE_ROWS, WIDE_VECTORS = WIDE
NARROW_ROWS, NARROW_VECTORS = NARROW
_CHUNKS = 16  # filters summed side by side: work for as many threads
_CHUNK_BYTES = 1 << 26  # that all of them may take together
_TASKS = 32
_CACHE_BYTES = 1 << 15  # of x and gy that one pass over the filter reads: they stay in the level-1 cache


@dataclass(frozen=True)
class _Plan:
    """How a problem is cut.

    runs: (tap_h, tap_w, first channel, elements, offset into gw, first filter, filters), int64 (T, 7): `elements`
        neighbours in x are the rows of gw from that offset on.
    chunks: partial filters. images, rows: of y, taken by one pass over the filter. band: padded input rows of one image
        that such a pass reads; 0 where there is no padding.
    """

    runs: np.ndarray
    chunks: int
    images: int
    rows: int
    band: int


@functools.lru_cache(maxsize=1024)
def _plan(problem: Conv2DProblem) -> _Plan:
    p = problem
    channels, filters = p.C // p.groups, p.K // p.groups
    taps = [
        (r * p.dilation_h, s * p.dilation_w, (r * p.S + s) * channels * p.K, channels)
        for r in range(p.R)
        for s in range(p.S)
    ]
    merged = cpu_taps.merge(taps, channels, p.K) if p.groups == 1 and p.dilation_w == 1 else np.array(taps, np.int64)
    gw_bytes = p.R * p.S * channels * p.K * p.itemsize
    chunks = max(1, min(p.N, _CHUNKS, _CHUNK_BYTES // gw_bytes))
    # Few chunks: cut the filter's rows too, in multiples of all tiles' rows.
    piece = max(WIDE_ROWS * NARROW_ROWS, -(-len(merged) * p.groups * channels * chunks // _TASKS))
    runs = [
        (
            tap_h,
            tap_w,
            group * channels + first,
            min(piece, count - first),
            offset + first * p.K,
            group * filters,
            filters,
        )
        for tap_h, tap_w, offset, count in merged.tolist()
        for first in range(0, count, piece)
        for group in range(p.groups)
    ]
    row_bytes = (p.stride_h * p.W * p.C + p.Q * p.K) * p.itemsize
    rows = max(1, min(p.P, _CACHE_BYTES // row_bytes))
    images = max(1, _CACHE_BYTES // (row_bytes * p.P)) if rows == p.P else 1
    padded = p.pad_top or p.pad_bottom or p.pad_left or p.pad_right
    band = (rows - 1) * p.stride_h + (p.R - 1) * p.dilation_h + 1 if padded else 0
    return _Plan(np.array(runs, np.int64), chunks, images, rows, band)


def _threads(problem: Conv2DProblem) -> int:
    return threads_for(problem.flops // 2)


def _workspace_bytes(problem: Conv2DProblem) -> int:
    plan = _plan(problem)
    partial = plan.chunks * (problem.R * problem.S * (problem.C // problem.groups) + 1) * problem.K
    row = (problem.pad_left + problem.W + problem.pad_right) * problem.C
    return (partial + _threads(problem) * plan.images * plan.band * row) * problem.itemsize


@kernel(limited_by="FLOPs: one fused multiply-add a lane and cycle", workspace_bytes=_workspace_bytes)
def cpu_direct(problem, x, gy, gw, gb, workspace):
    p, plan = problem, _plan(problem)
    memory = workspace[: _workspace_bytes(p)].view(x.dtype)
    partial = memory[: plan.chunks * (gw.size + p.K)]  # (chunks, R*S*C/groups + 1, K): filters, then bias
    threads = _threads(p)
    _run(
        x.reshape(-1), np.ones(1, x.dtype), gy.reshape(-1), partial, memory[partial.size :], threads,
        p.N, p.H, p.W, p.C, p.P, p.Q, p.K,
        p.stride_h, p.stride_w, p.pad_top, p.pad_left, p.pad_left + p.W + p.pad_right, plan.band,
        plan.runs, plan.chunks, plan.images, plan.rows, gw.size + p.K,
    )  # fmt: skip
    flat_gw = gw.reshape(-1)
    bias = flat_gw[:0] if gb is None else gb
    add_chunks(partial, flat_gw, bias, plan.chunks, gw.size, p.K, threads_for(partial.size))


@cpu_jit(inner=True)
def _tile(shape, x, row_stride, step_h, step_w, x_image, gy, y_image, filters, P, Q, images, gw, columns):
    """rows x filters of gw, summed over all pixels of `images` images. x, gy, gw point at the tile's first element."""
    sums = tile_load(shape, gw, filters, columns)
    for image in range(images):
        for p in range(P):
            a = at(x, image * x_image + p * step_h * row_stride)
            b = at(gy, image * y_image + p * Q * filters)
            for q in range(Q):
                sums = outer_fma(sums, at(a, q * step_w), 1, at(b, q * filters), columns)
    tile_store(sums, gw, filters, columns)


@cpu_jit(inner=True)
def _rows(shape, x, row_stride, step_h, step_w, x_image, gy, y_image, filters, P, Q, images, gw, count, columns):
    """`count` rows of gw: full tiles, then tiles of half and a quarter of their rows, then single rows."""
    half, quarter, single = fewer_rows(shape, 2), fewer_rows(shape, 4), fewer_rows(shape, 12)
    i = 0
    while count - i >= tile_rows(shape):
        _tile(
            shape, at(x, i), row_stride, step_h, step_w, x_image, gy, y_image, filters, P, Q, images,
            at(gw, i * filters), columns,
        )  # fmt: skip
        i += tile_rows(shape)
    while count - i >= tile_rows(half):
        _tile(
            half, at(x, i), row_stride, step_h, step_w, x_image, gy, y_image, filters, P, Q, images,
            at(gw, i * filters), columns,
        )  # fmt: skip
        i += tile_rows(half)
    while count - i >= tile_rows(quarter):
        _tile(
            quarter, at(x, i), row_stride, step_h, step_w, x_image, gy, y_image, filters, P, Q, images,
            at(gw, i * filters), columns,
        )  # fmt: skip
        i += tile_rows(quarter)
    while i < count:
        _tile(
            single, at(x, i), row_stride, step_h, step_w, x_image, gy, y_image, filters, P, Q, images,
            at(gw, i * filters), columns,
        )  # fmt: skip
        i += 1


@cpu_jit(inner=True)
def _sum(x, row_stride, step_h, step_w, x_image, gy, y_image, K, P, Q, images, gw, rows, filters):
    """rows x filters of gw: blocks of filters, each with all rows."""
    wide, narrow = WIDE_VECTORS * lanes(x), NARROW_VECTORS * lanes(x)
    k = 0
    while filters - k >= wide:
        _rows(
            tile_shape(WIDE_ROWS, WIDE_VECTORS, False), x, row_stride, step_h, step_w, x_image,
            at(gy, k), y_image, K, P, Q, images, at(gw, k), rows, 0,
        )  # fmt: skip
        k += wide
    while k < filters:
        _rows(
            tile_shape(NARROW_ROWS, NARROW_VECTORS, True), x, row_stride, step_h, step_w, x_image,
            at(gy, k), y_image, K, P, Q, images, at(gw, k), rows, filters - k,
        )  # fmt: skip
        k += narrow


@cpu_jit(inner=True)
def _copy_bands(x, image, images, first, rows, H, width, scratch, start, left, row):
    """Rows first .. first+rows of several images, zeros outside them: scratch (images, rows, row) from start on."""
    for i in range(images):
        for j in range(rows):
            target, h = start + (i * rows + j) * row, first + j
            inside = 0 <= h < H
            for k in range(left if inside else row):
                scratch[target + k] = 0
            if inside:
                for k in range(width):
                    scratch[target + left + k] = x[((image + i) * H + h) * width + k]
                for k in range(left + width, row):
                    scratch[target + k] = 0


@cpu_jit(inner=True)
def _thread(
    thread, x, one, gy, partial, scratch, threads, N, H, W, C, P, Q, K,
    stride_h, stride_w, top, left, width, band, runs, chunks, group_images, group_rows, stride_chunk,
):  # fmt: skip
    """Every `threads`-th pair of a chunk and a share of the runs; the share with the first run has the bias too."""
    shares = (16 + chunks - 1) // chunks
    for task in range(thread, chunks * shares, threads):
        chunk, share = task // shares, task % shares
        base = chunk * stride_chunk
        begin, end = N * chunk // chunks, N * (chunk + 1) // chunks
        for i in range(share, runs.shape[0], shares):
            for row in range(runs[i, 3]):
                for k in range(runs[i, 6]):
                    partial[base + runs[i, 4] + row * K + runs[i, 5] + k] = 0
        bias = base + stride_chunk - K
        if share == 0:
            for k in range(K):
                partial[bias + k] = 0
        for first in range(begin, end, group_images):
            images = min(group_images, end - first)
            for p in range(0, P, group_rows):
                rows = min(group_rows, P - p)
                if band > 0:
                    source, row, image = scratch, width * C, band * width * C
                    origin = thread * group_images * image
                    _copy_bands(x, first, images, p * stride_h - top, band, H, W * C, scratch, origin, left * C, row)
                else:
                    source, row, image, origin = x, W * C, H * W * C, (first * H + p * stride_h) * W * C
                gradient = (first * P + p) * Q * K
                for i in range(share, runs.shape[0], shares):
                    a = origin + runs[i, 0] * row + runs[i, 1] * C + runs[i, 2]
                    _sum(
                        at(source, a), row, stride_h, stride_w * C, image,
                        at(gy, gradient + runs[i, 5]), P * Q * K, K, rows, Q, images,
                        at(partial, base + runs[i, 4] + runs[i, 5]), runs[i, 3], runs[i, 6],
                    )  # fmt: skip
                if share == 0:  # the bias: one more row, whose input is 1 everywhere
                    _sum(
                        at(one, 0), 0, 0, 0, 0, at(gy, gradient), P * Q * K, K, rows, Q, images,
                        at(partial, bias), 1, K,
                    )  # fmt: skip


@cpu_jit
def _run(
    x, one, gy, partial, scratch, threads, N, H, W, C, P, Q, K,
    stride_h, stride_w, top, left, width, band, runs, chunks, group_images, group_rows, stride_chunk,
):  # fmt: skip
    parallel_for(
        _thread,
        threads,
        (
            x, one, gy, partial, scratch, threads, N, H, W, C, P, Q, K,
            stride_h, stride_w, top, left, width, band, runs, chunks, group_images, group_rows, stride_chunk,
        ),
    )  # fmt: skip
