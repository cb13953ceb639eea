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
from numba import get_num_threads

from fastconv.kernels import cpu_taps
from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for
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
    neighbours
        in x are the rows of gw from that offset on.
    chunks: partial filters; images: taken by one pass; pad: zeros round an image (top, bottom, left, right).
    """

    runs: np.ndarray
    chunks: int
    images: int
    pad: tuple[int, int, int, int]

    def image_elements(self, problem: Conv2DProblem) -> int:
        """Of a padded image; 0 where none is needed."""
        top, bottom, left, right = self.pad
        return (top + problem.H + bottom) * (left + problem.W + right) * problem.C if any(self.pad) else 0


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
            group * channels,
            min(piece, count - first),
            offset + first * p.K,
            group * filters,
            filters,
            first,
        )
        for tap_h, tap_w, offset, count in merged.tolist()
        for first in range(0, count, piece)
        for group in range(p.groups)
    ]
    table = np.array([(h, w, c + first, n, o, k, f) for h, w, c, n, o, k, f, first in runs], np.int64)
    image_bytes = (p.H * p.W * p.C + p.P * p.Q * p.K) * p.itemsize
    pad = (p.pad_top, p.pad_bottom, p.pad_left, p.pad_right)
    return _Plan(table, chunks, max(1, _CACHE_BYTES // image_bytes), pad)


def _workspace_bytes(problem: Conv2DProblem) -> int:
    plan = _plan(problem)
    partial = plan.chunks * (problem.R * problem.S * (problem.C // problem.groups) + 1) * problem.K
    return (partial + get_num_threads() * plan.images * plan.image_elements(problem)) * problem.itemsize


@kernel(limited_by="FLOPs: one fused multiply-add a lane and cycle", workspace_bytes=_workspace_bytes)
def cpu_direct(problem, x, gy, gw, gb, workspace):
    p, plan = problem, _plan(problem)
    memory = workspace[: _workspace_bytes(p)].view(x.dtype)
    partial = memory[: plan.chunks * (gw.size + p.K)]  # (chunks, R*S*C/groups + 1, K): filters, then bias
    threads = get_num_threads()
    top, _, left, right = plan.pad
    _run(
        x.reshape(-1), gy.reshape(-1), partial, memory[partial.size :], threads, p.N, p.H, p.W, p.C, p.P, p.Q, p.K,
        p.stride_h, p.stride_w, top, left, left + p.W + right, plan.image_elements(p),
        plan.runs, plan.chunks, plan.images, gw.size + p.K,
    )  # fmt: skip
    _add_chunks(partial, gw.reshape(-1), gw.reshape(-1)[:0] if gb is None else gb, plan.chunks, gw.size, p.K, threads)


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
def _pad_images(x, first, images, H, width, padded, start, top, left, row, image):
    """Images first .. first+images of x (.., H, width) into zeroed borders: padded (.., image / row, row)."""
    for i in range(images):
        for h in range(image // row):
            target = start + i * image + h * row
            inside = top <= h < top + H
            for j in range(left if inside else row):
                padded[target + j] = 0
            if inside:
                source = ((first + i) * H + h - top) * width
                for j in range(width):
                    padded[target + left + j] = x[source + j]
                for j in range(left + width, row):
                    padded[target + j] = 0


@cpu_jit(inner=True)
def _thread(
    thread, x, gy, partial, scratch, threads, N, H, W, C, P, Q, K,
    stride_h, stride_w, top, left, width, padded_image, runs, chunks, group_images, stride_chunk,
):  # fmt: skip
    """Every `threads`-th pair of a chunk and a share of the runs; the share with the first run has the bias too."""
    shares = (16 + chunks - 1) // chunks
    wide, narrow = WIDE_VECTORS * lanes(x), NARROW_VECTORS * lanes(x)
    for task in range(thread, chunks * shares, threads):
        chunk, share = task // shares, task % shares
        base = chunk * stride_chunk
        begin, end = N * chunk // chunks, N * (chunk + 1) // chunks
        for i in range(share, runs.shape[0], shares):
            for row in range(runs[i, 3]):
                for k in range(runs[i, 6]):
                    partial[base + runs[i, 4] + row * K + runs[i, 5] + k] = 0
        if share == 0:
            bias = base + stride_chunk - K
            for k in range(K):
                partial[bias + k] = 0
            for pixel in range(begin * P * Q, end * P * Q):
                for k in range(K):
                    partial[bias + k] += gy[pixel * K + k]
        for first in range(begin, end, group_images):
            images = min(group_images, end - first)
            if padded_image > 0:
                source, row, image = scratch, width * C, padded_image
                origin = thread * group_images * padded_image
                _pad_images(x, first, images, H, W * C, scratch, origin, top, left * C, row, image)
            else:
                source, row, image, origin = x, W * C, H * W * C, first * H * W * C
            for i in range(share, runs.shape[0], shares):
                a = origin + runs[i, 0] * row + runs[i, 1] * C + runs[i, 2]
                k, last = runs[i, 5], runs[i, 5] + runs[i, 6]
                while last - k >= wide:
                    _rows(
                        tile_shape(WIDE_ROWS, WIDE_VECTORS, False), at(source, a), row, stride_h, stride_w * C, image,
                        at(gy, first * P * Q * K + k), P * Q * K, K, P, Q, images,
                        at(partial, base + runs[i, 4] + k), runs[i, 3], 0,
                    )  # fmt: skip
                    k += wide
                while k < last:
                    _rows(
                        tile_shape(NARROW_ROWS, NARROW_VECTORS, True), at(source, a), row, stride_h, stride_w * C,
                        image, at(gy, first * P * Q * K + k), P * Q * K, K, P, Q, images,
                        at(partial, base + runs[i, 4] + k), runs[i, 3], last - k,
                    )  # fmt: skip
                    k += narrow


@cpu_jit
def _run(
    x, gy, partial, scratch, threads, N, H, W, C, P, Q, K,
    stride_h, stride_w, top, left, width, padded_image, runs, chunks, group_images, stride_chunk,
):  # fmt: skip
    parallel_for(
        _thread,
        threads,
        (
            x, gy, partial, scratch, threads, N, H, W, C, P, Q, K,
            stride_h, stride_w, top, left, width, padded_image, runs, chunks, group_images, stride_chunk,
        ),
    )  # fmt: skip


@cpu_jit(inner=True)
def _add_part(thread, partial, gw, gb, chunks, size, filters, threads):
    """A thread's part of gw, the sum over the chunks in their order; the first thread adds the bias."""
    begin, end = size * thread // threads, size * (thread + 1) // threads
    for i in range(begin, end):
        gw[i] = partial[i]
    for chunk in range(1, chunks):
        start = chunk * (size + filters)
        for i in range(begin, end):
            gw[i] += partial[start + i]
    if thread == 0 and gb.size > 0:
        for k in range(filters):
            gb[k] = partial[size + k]
        for chunk in range(1, chunks):
            for k in range(filters):
                gb[k] += partial[chunk * (size + filters) + size + k]


@cpu_jit
def _add_chunks(partial, gw, gb, chunks, size, filters, threads):
    parallel_for(_add_part, threads, (partial, gw, gb, chunks, size, filters, threads))
