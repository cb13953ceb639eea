"""backward_data for images of a few channels: each gradient becomes a patch of the image, and patches are added up.

Differs from cpu_direct: that computes one pixel of gx in a register, of which 3 channels fill 3 lanes of 16. Here a
register holds neighbouring elements of a whole window: a tile of 8 pixels of gy times the transposed filter (K, R*S*C)
gives 8 patches, which are added to gx a row of a window (S*C elements) at a time while they are in the level-1 cache
(col2im, without a matrix col). Threads take bands of rows of gx, and compute again the few rows of gy that reach into
two bands; what is added to a pixel, and in what order, does not depend on the bands. Limited by FLOPs; with few
filters by the additions, one for every K multiply-adds.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import (
    ROWS,
    VECTOR_BYTES,
    VECTORS,
    at,
    fewer_rows,
    lanes,
    tile_add,
    tile_load,
    tile_product,
    tile_rows,
    tile_shape,
    tile_store,
    tile_zero,
)
from fastconv.kernels.cpu_transpose import transposed_matrix
from fastconv.kernels.problem import Conv2DProblem
from fastconv.kernels.registry import kernel

_TASKS = 4  # bands in all, at least: work for as many threads
_COUNT = 17  # of the numbers that the compiled code is handed


@dataclass(frozen=True)
class _Plan:
    """runs: (tap_h, first element relative to a pixel's own in its row of gx, first column of the patch, length), int64
    (T, 4), for each stretch of a window whose elements are neighbours in gx. bands: of rows, an image. columns: of a
    patch, in whole tiles."""

    runs: np.ndarray
    bands: int
    columns: int


@functools.lru_cache(maxsize=1024)
def _plan(problem: Conv2DProblem) -> _Plan:
    p = problem
    taps, length = (range(p.S), p.C) if p.dilation_w > 1 else (range(1), p.S * p.C)
    runs = [
        (r * p.dilation_h - p.pad_top, (s * p.dilation_w - p.pad_left) * p.C, (r * p.S + s) * p.C, length)
        for r in range(p.R)
        for s in taps
    ]
    wide = VECTORS * VECTOR_BYTES // p.itemsize
    bands = max(1, min(-(-_TASKS // max(1, p.N)), p.H))
    return _Plan(np.array(runs, np.int64), bands, -(-p.R * p.S * p.C // wide) * wide)


def _threads(problem: Conv2DProblem) -> int:
    return threads_for(problem.flops // 2)


def _workspace_bytes(problem: Conv2DProblem) -> int:
    return (problem.K + _threads(problem) * ROWS) * _plan(problem).columns * problem.itemsize


@kernel(
    limited_by="FLOPs: one fused multiply-add a lane and cycle",
    unsupported=lambda problem: "all channels must be in one group" if problem.groups > 1 else None,
    workspace_bytes=_workspace_bytes,
    pays=lambda problem: problem.R * problem.S > 1 and 3 * problem.C * problem.itemsize <= 2 * VECTOR_BYTES,
)
def cpu_patches(problem, gy, w, gx, workspace):
    p, plan = problem, _plan(problem)
    memory = workspace[: _workspace_bytes(p)].view(w.dtype)
    turned, patches = memory[: p.K * plan.columns], memory[p.K * plan.columns :]
    wide = VECTORS * VECTOR_BYTES // p.itemsize
    transposed_matrix(w, turned, p.R * p.S * p.C, p.K, wide)
    numbers = (
        _threads(p), p.N, p.H, p.W, p.C, p.P, p.Q, p.K, p.stride_h, p.stride_w, p.pad_top, p.pad_bottom,
        (p.R - 1) * p.dilation_h + 1, p.R * p.S * p.C, plan.bands, plan.columns, len(plan.runs),
    )  # fmt: skip
    _run(gy.reshape(-1), turned, gx.reshape(-1), patches, plan.runs.reshape(-1), np.array(numbers, np.int64))


@cpu_jit(inner=True)
def _patches(shape, gy, w, K, columns, patches, pitch):
    """The patches of a tile's pixels: (pixels, pitch). w: (blocks, K, columns of a block)."""
    wide = VECTORS * lanes(w)
    for column in range(0, columns, wide):
        sums = tile_zero(shape, gy)
        sums = tile_product(sums, gy, K, 1, at(w, column * K), wide, K, 0)
        tile_store(sums, at(patches, column), pitch, 0)


@cpu_jit(inner=True)
def _add(patch, gx, length):
    """Add `length` neighbouring elements."""
    line = tile_shape(1, 1, True)
    for j in range(0, length, lanes(gx)):
        total = tile_add(tile_load(line, at(gx, j), 0, length - j), tile_load(line, at(patch, j), 0, length - j))
        tile_store(total, at(gx, j), 0, length - j)


@cpu_jit(inner=True)
def _thread(thread, gy, w, gx, patches, runs, numbers):
    """A share of the bands of all images."""
    (
        threads, N, H, W, C, P, Q, K, stride_h, stride_w, top, bottom, extent, elements, bands, pitch, count,
    ) = to_fixed_tuple(numbers, _COUNT)  # fmt: skip
    mine = at(patches, thread * ROWS * pitch)
    full, single = tile_shape(ROWS, VECTORS, False), tile_shape(1, VECTORS, False)
    half = fewer_rows(full, 2)
    tasks = N * bands
    for task in range(tasks * thread // threads, tasks * (thread + 1) // threads):
        n, band = task // bands, task % bands
        begin, end = H * band // bands, H * (band + 1) // bands
        gx[(n * H + begin) * W * C : (n * H + end) * W * C] = 0
        first = max(0, (begin + top - extent + stride_h) // stride_h)
        for p in range(first, min(P, (end - 1 + top) // stride_h + 1)):
            q = 0
            while q < Q:
                pixels = at(gy, ((n * P + p) * Q + q) * K)
                if Q - q >= tile_rows(full):
                    rows = tile_rows(full)
                    _patches(full, pixels, w, K, elements, mine, pitch)
                elif Q - q >= tile_rows(half):
                    rows = tile_rows(half)
                    _patches(half, pixels, w, K, elements, mine, pitch)
                else:
                    rows = 1
                    _patches(single, pixels, w, K, elements, mine, pitch)
                for i in range(rows):
                    for run in range(count):
                        h = p * stride_h + runs[4 * run]
                        if begin <= h < end:
                            start = (q + i) * stride_w * C + runs[4 * run + 1]
                            low, high = max(0, -start), min(runs[4 * run + 3], W * C - start)
                            column = i * pitch + runs[4 * run + 2] + low
                            _add(at(mine, column), at(gx, (n * H + h) * W * C + start + low), high - low)
                q += rows


@cpu_jit
def _run(gy, w, gx, patches, runs, numbers):
    parallel_for(_thread, numbers[0], (gy, w, gx, patches, runs, numbers))
