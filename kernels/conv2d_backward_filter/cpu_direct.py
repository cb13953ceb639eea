"""backward_filter in register tiles: filter elements stay in registers while the pixels stream past.

The forward tile turned round: rows are neighbouring elements (s, c) of one filter row, columns a block of
filters, and each pixel adds the outer product of its inputs and its gradients. A task sums pieces of the filter that
fit the level-2 cache. Where they are too few to go round, the images are split into chunks too, by the problem alone;
each chunk sums into a filter of its own, and the chunks are then added in order, so the thread count changes no bit.
Limited by FLOPs, with few channels by loads (rows + vectors of them for rows * vectors multiply-adds).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from fastconv.kernels.cpu_chunks import add_chunks
from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import (
    ROWS,
    VECTOR_BYTES,
    VECTORS,
    at,
    fewer_rows,
    lanes,
    tile_load,
    tile_product,
    tile_rows,
    tile_shape,
    tile_store,
)
from fastconv.kernels.problem import Conv2DProblem
from fastconv.kernels.registry import kernel

_TASKS = 16  # chunks of images times pieces of the filter: work for as many threads
_PIECE = 256  # rows and columns of gw that a task sums: they stay in the level-2 cache
_PACKED_FILTERS = 64  # so many and fewer lie close enough together as they are
_PASS_PIXELS = 112  # that a pass over a piece sums: what a tile reads of them stays in the level-1 cache
_PATCH_RUN = 12  # neighbours of x, at most, for which windows are copied out: a filter row would fill no tile


@dataclass(frozen=True)
class _Plan:
    """How a problem is cut.

    pieces: (tap_h, tap_w, first channel, rows of gw, the first of them, first filter, filters), int64 (T, 7): so many
        neighbours in x are the rows of gw from that one on.
    chunks: partial filters. images, rows: of y, taken by one pass over a piece. band: padded input rows of one image
        that such a pass reads; 0 where there is no padding. packed: elements of gy that a pass packs, 0 if it does not.
        patch: elements of a window where they are copied out, else 0.
    """

    pieces: np.ndarray
    chunks: int
    images: int
    rows: int
    band: int
    packed: int
    patch: int


@functools.lru_cache(maxsize=1024)
def _plan(problem: Conv2DProblem) -> _Plan:
    p = problem
    channels, filters = p.C // p.groups, p.K // p.groups
    patch = p.R * p.S * p.C if p.groups == 1 and p.dilation_w == 1 and p.S * p.C <= _PATCH_RUN and p.R > 1 else 0
    if patch:
        runs = [(0, 0, 0, patch)]
    elif p.groups == 1 and p.dilation_w == 1:
        runs = [(r * p.dilation_h, 0, r * p.S * channels, p.S * channels) for r in range(p.R)]
    else:
        runs = [
            (r * p.dilation_h, s * p.dilation_w, (r * p.S + s) * channels, channels)
            for r in range(p.R)
            for s in range(p.S)
        ]
    pieces = [
        (
            tap_h,
            tap_w,
            group * channels + i,
            min(_PIECE, count - i),
            row + i,
            group * filters + k,
            min(_PIECE, filters - k),
        )
        for tap_h, tap_w, row, count in runs
        for group in range(p.groups)
        for i in range(0, count, _PIECE)
        for k in range(0, filters, _PIECE)
    ]
    small = p.groups > 1 or p.R * p.S * channels * p.K <= _PIECE * _PIECE  # then a task sums all pieces of its chunk
    chunks = max(1, min(p.N, -(-_TASKS // (1 if small else len(pieces)))))
    packs = p.groups == 1 and p.K > _PACKED_FILTERS
    rows = max(1, min(p.P, _PASS_PIXELS // p.Q))
    images = max(1, min(-(-p.N // chunks), _PASS_PIXELS // (p.P * p.Q))) if rows == p.P else 1
    padded = p.pad_top or p.pad_bottom or p.pad_left or p.pad_right
    band = (rows - 1) * p.stride_h + (p.R - 1) * p.dilation_h + 1 if padded else 0
    wide = VECTORS * VECTOR_BYTES // p.itemsize
    packed = images * rows * p.Q * -(-min(p.K, _PIECE) // wide) * wide if packs else 0
    return _Plan(np.array(pieces, np.int64), chunks, images, rows, band, packed, patch)


def _threads(problem: Conv2DProblem) -> int:
    return threads_for(problem.flops // 2)


def _scratch(problem: Conv2DProblem) -> int:
    """Elements of one thread's bands, packed gradients and windows."""
    p, plan = problem, _plan(problem)
    bands = plan.images * plan.band * (p.pad_left + p.W + p.pad_right) * p.C
    return bands + plan.packed + plan.images * plan.rows * p.Q * plan.patch


def _workspace_bytes(problem: Conv2DProblem) -> int:
    partial = _plan(problem).chunks * (problem.R * problem.S * (problem.C // problem.groups) + 1) * problem.K
    return (partial + _threads(problem) * _scratch(problem)) * problem.itemsize


@kernel(limited_by="FLOPs: one fused multiply-add a lane and cycle", workspace_bytes=_workspace_bytes)
def cpu_direct(problem, x, gy, gw, gb, workspace):
    p, plan = problem, _plan(problem)
    memory = workspace[: _workspace_bytes(p)].view(x.dtype)
    partial = memory[: plan.chunks * (gw.size + p.K)]  # (chunks, R*S*C/groups + 1, K): filters, then bias
    shares = 1 if p.groups > 1 else min(len(plan.pieces), -(-_TASKS // plan.chunks))
    _run(
        x.reshape(-1), np.ones(1, x.dtype), gy.reshape(-1), partial, memory[partial.size :], _threads(p),
        p.N, p.H, p.W, p.C, p.P, p.Q, p.K, p.R, p.S,
        p.stride_h, p.stride_w, p.dilation_h, p.pad_top, p.pad_left, p.pad_left + p.W + p.pad_right, plan.band,
        plan.pieces, plan.chunks, shares, plan.images, plan.rows, plan.packed, plan.patch, _scratch(p), gw.size + p.K,
    )  # fmt: skip
    flat_gw = gw.reshape(-1)
    bias = flat_gw[:0] if gb is None else gb
    add_chunks(partial, flat_gw, bias, plan.chunks, gw.size, p.K, threads_for(partial.size))


@cpu_jit(inner=True)
def _tile(shape, x, row_stride, step_h, step_w, x_image, gy, gy_pixel, P, Q, images, gw, K, columns):
    """rows x filters of gw, summed over all pixels of `images` images. x, gy, gw point at the tile's first element."""
    sums = tile_load(shape, gw, K, columns)
    for row in range(images * P):
        a = at(x, row // P * x_image + row % P * step_h * row_stride)
        sums = tile_product(sums, a, 1, step_w, at(gy, row * Q * gy_pixel), gy_pixel, Q, columns)
    tile_store(sums, gw, K, columns)


@cpu_jit(inner=True)
def _rows(shape, x, row_stride, step_h, step_w, x_image, gy, gy_pixel, P, Q, images, gw, K, count, columns):
    """`count` rows of gw: full tiles, then one of half their rows, then single rows."""
    half, single = fewer_rows(shape, 2), fewer_rows(shape, ROWS)
    i = 0
    while count - i >= tile_rows(shape):
        _tile(
            shape, at(x, i), row_stride, step_h, step_w, x_image, gy, gy_pixel, P, Q, images,
            at(gw, i * K), K, columns,
        )  # fmt: skip
        i += tile_rows(shape)
    while count - i >= tile_rows(half):
        _tile(
            half, at(x, i), row_stride, step_h, step_w, x_image, gy, gy_pixel, P, Q, images,
            at(gw, i * K), K, columns,
        )  # fmt: skip
        i += tile_rows(half)
    while i < count:
        _tile(
            single, at(x, i), row_stride, step_h, step_w, x_image, gy, gy_pixel, P, Q, images,
            at(gw, i * K), K, columns,
        )  # fmt: skip
        i += 1


@cpu_jit(inner=True)
def _sum(x, row_stride, step_h, step_w, x_image, gy, gy_pixel, gy_block, P, Q, images, gw, K, rows, filters):
    """rows x filters of gw: blocks of filters, each with all rows. gy_block: elements of gy from block to block."""
    wide, narrow = VECTORS * lanes(x), lanes(x)
    k = 0
    while filters - k >= wide:
        _rows(
            tile_shape(ROWS, VECTORS, False), x, row_stride, step_h, step_w, x_image,
            at(gy, k // wide * gy_block), gy_pixel, P, Q, images, at(gw, k), K, rows, 0,
        )  # fmt: skip
        k += wide
    while k < filters:
        _rows(
            tile_shape(ROWS, 1, True), x, row_stride, step_h, step_w, x_image,
            at(gy, k // wide * gy_block + k % wide), gy_pixel, P, Q, images, at(gw, k), K, rows, filters - k,
        )  # fmt: skip
        k += narrow


@cpu_jit(inner=True)
def _add_gradients(one, gy, K, pixels, filters, bias):
    """Add `pixels` pixels of gy to the bias, with products by `one`."""
    for k in range(0, filters, VECTORS * lanes(gy)):
        shape, columns = tile_shape(1, VECTORS, True), filters - k
        sums = tile_load(shape, at(bias, k), 0, columns)
        sums = tile_product(sums, at(one, 0), 0, 0, at(gy, k), K, pixels, columns)
        tile_store(sums, at(bias, k), 0, columns)


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
def _copy_patches(source, row, step_h, step_w, image, images, rows, Q, R, run, dilation_h, target):
    """The windows of images * rows * Q pixels, R runs of `run` elements each. source, target: pointers."""
    shape = tile_shape(1, 1, True)
    for i in range(images):
        for p in range(rows):
            for q in range(Q):
                first = at(source, i * image + p * step_h * row + q * step_w)
                pixel = at(target, ((i * rows + p) * Q + q) * R * run)
                for r in range(R):
                    for j in range(0, run, lanes(source)):
                        window = tile_load(shape, at(first, r * dilation_h * row + j), 0, run - j)
                        tile_store(window, at(pixel, r * run + j), 0, run - j)


@cpu_jit(inner=True)
def _pack(gy, first, pixels, K, filters, scratch, start):
    """`pixels` pixels of gy from element `first` on, in blocks of a register tile's filters: scratch (blocks, pixels,
    filters of a block)."""
    wide = VECTORS * lanes(gy)
    for pixel in range(pixels):
        for k in range(0, filters, wide):
            row = tile_load(tile_shape(1, VECTORS, True), at(gy, first + pixel * K + k), 0, filters - k)
            tile_store(row, at(scratch, start + k * pixels + pixel * wide), 0, wide)


@cpu_jit(inner=True)
def _thread(
    thread, x, one, gy, partial, scratch, threads, N, H, W, C, P, Q, K, R, S,
    stride_h, stride_w, dilation_h, top, left, width, band, pieces, chunks, shares, pass_images, pass_rows,
    packed, patch,
    size, stride_chunk,
):  # fmt: skip
    """A share of the pairs of a chunk and a share of the pieces."""
    wide = VECTORS * lanes(x)
    gradients, patches = thread * size, thread * size + packed
    bands = patches + pass_images * pass_rows * Q * patch
    tasks = chunks * shares
    for task in range(tasks * thread // threads, tasks * (thread + 1) // threads):
        chunk, share = task // shares, task % shares
        base = chunk * stride_chunk
        bias = base + stride_chunk - K
        begin, end = N * chunk // chunks, N * (chunk + 1) // chunks
        for i in range(share, pieces.shape[0], shares):
            for row in range(pieces[i, 3]):
                for k in range(pieces[i, 6]):
                    partial[base + (pieces[i, 4] + row) * K + pieces[i, 5] + k] = 0
            if pieces[i, 4] == 0:
                for k in range(pieces[i, 6]):
                    partial[bias + pieces[i, 5] + k] = 0
        for first in range(begin, end, pass_images):
            images = min(pass_images, end - first)
            for p in range(0, P, pass_rows):
                rows = min(pass_rows, P - p)
                if band > 0:
                    source, row, image, origin = scratch, width * C, band * width * C, bands
                    _copy_bands(x, first, images, p * stride_h - top, band, H, W * C, scratch, bands, left * C, row)
                else:
                    source, row, image, origin = x, W * C, H * W * C, (first * H + p * stride_h) * W * C
                gradient, pixels = (first * P + p) * Q * K, images * rows * Q
                step_h, step_w = stride_h, stride_w * C
                if patch > 0:
                    _copy_patches(
                        at(source, origin), row, step_h, step_w, image, images, rows, Q, R, S * C, dilation_h,
                        at(scratch, patches),
                    )  # fmt: skip
                    source, origin, image, row, step_h, step_w = scratch, patches, rows * Q * patch, Q * patch, 1, patch
                for i in range(share, pieces.shape[0], shares):
                    k, filters = pieces[i, 5], pieces[i, 6]
                    if pieces[i, 4] == 0:
                        _add_gradients(one, at(gy, gradient + k), K, pixels, filters, at(partial, bias + k))
                    if packed > 0:
                        _pack(gy, gradient + k, pixels, K, filters, scratch, gradients)
                        b, gy_pixel, gy_block = at(scratch, gradients), wide, pixels * wide
                    else:
                        b, gy_pixel, gy_block = at(gy, gradient + k), K, wide
                    a = at(source, origin + pieces[i, 0] * row + pieces[i, 1] * C + pieces[i, 2])
                    _sum(
                        a, row, step_h, step_w, image, b, gy_pixel, gy_block, rows, Q, images,
                        at(partial, base + pieces[i, 4] * K + k), K, pieces[i, 3], filters,
                    )  # fmt: skip


@cpu_jit
def _run(
    x, one, gy, partial, scratch, threads, N, H, W, C, P, Q, K, R, S,
    stride_h, stride_w, dilation_h, top, left, width, band, pieces, chunks, shares, pass_images, pass_rows,
    packed, patch,
    size, stride_chunk,
):  # fmt: skip
    parallel_for(
        _thread,
        threads,
        (
            x, one, gy, partial, scratch, threads, N, H, W, C, P, Q, K, R, S,
            stride_h, stride_w, dilation_h, top, left, width, band, pieces, chunks, shares, pass_images, pass_rows,
            packed, patch,
            size, stride_chunk,
        ),
    )  # fmt: skip
