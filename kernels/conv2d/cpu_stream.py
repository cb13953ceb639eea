"""A matrix product of few pixels, a Dense layer on a small batch: the filters stream through once, as they lie.

Differs from cpu_direct, which keeps a tile's sums in registers for all channels and so jumps from row to row of w: with
thousands of filters each jump leaves the page. With few pixels nothing is worth more than reading w well. Here a thread
walks along a few rows of w at a time, adding to sums of all its filters, which lie in the level-2 cache. With more
pixels it takes more rows, and copies what a tile reads of them for the tiles of the other pixels. Limited by bytes:
reading w.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import (
    ROWS,
    VECTOR_BYTES,
    VECTORS,
    at,
    fewer_rows,
    lanes,
    tile_floor,
    tile_load,
    tile_product,
    tile_row,
    tile_rows,
    tile_shape,
    tile_store,
)
from fastconv.kernels.registry import kernel

_CHANNELS = 64  # rows of w that are read side by side, at most: a tile's columns of them fit the level-1 cache
_BYTES_PER_PIXEL = 1 << 17  # of w, from which on reading it takes longer than anything else


def _workspace_bytes(problem):
    return threads_for(problem.flops // 2) * _CHANNELS * VECTORS * VECTOR_BYTES


def unsupported(problem):
    """Why a problem is no matrix product, or None."""
    if problem.is_matrix_product:
        return None
    return "it is no product of two matrices: the window must be 1x1, stride and groups 1, padding 0"


def pays(problem):
    """Whether reading w takes longer than anything else."""
    p = problem
    return p.C * p.K * p.itemsize >= _BYTES_PER_PIXEL * max(1, p.N * p.P * p.Q)


@kernel(
    limited_by="bytes: reading w",
    unsupported=unsupported,
    pays=pays,
    fuses=("relu",),
    workspace_bytes=_workspace_bytes,
)
def cpu_stream(problem, x, w, bias, y, workspace, relu=False):
    p = problem
    bias = np.zeros(p.K, y.dtype) if bias is None else bias
    lowest = y.dtype.type(0.0 if relu else -np.inf)
    panels, pixels = workspace[: _workspace_bytes(p)].view(w.dtype), p.N * p.P * p.Q
    rows, threads = min(_CHANNELS, max(8, pixels)), threads_for(p.flops // 2)
    _run(x.reshape(-1), w.reshape(-1), bias, y.reshape(-1), panels, threads, pixels, p.C, p.K, rows, lowest)


@cpu_jit(inner=True)
def _tile(shape, x, w, w_step, bias, y, C, K, channels, first, last, columns, lowest):
    """Add `channels` channels to a tile of y; the first begin with the bias, after the last y is floored."""
    sums = tile_row(shape, bias, columns)
    if not first:
        sums = tile_load(shape, y, K, columns)
    sums = tile_product(sums, x, C, 1, w, w_step, channels, columns)
    if last:
        sums = tile_floor(sums, lowest)
    tile_store(sums, y, K, columns)


@cpu_jit(inner=True)
def _columns(shape, x, w, w_step, panel, bias, y, pixels, C, K, channels, first, last, columns, lowest):
    """All pixels of a tile's columns. panel: memory for what they read of w."""
    half, single = fewer_rows(shape, 2), fewer_rows(shape, ROWS)
    if pixels > tile_rows(shape):
        wide = VECTORS * lanes(w)
        for c in range(channels):
            tile_store(tile_load(single, at(w, c * w_step), 0, columns), at(panel, c * wide), 0, columns)
        w, w_step = panel, wide
    m = 0
    while pixels - m >= tile_rows(shape):
        _tile(shape, at(x, m * C), w, w_step, bias, at(y, m * K), C, K, channels, first, last, columns, lowest)
        m += tile_rows(shape)
    while pixels - m >= tile_rows(half):
        _tile(half, at(x, m * C), w, w_step, bias, at(y, m * K), C, K, channels, first, last, columns, lowest)
        m += tile_rows(half)
    while m < pixels:
        _tile(single, at(x, m * C), w, w_step, bias, at(y, m * K), C, K, channels, first, last, columns, lowest)
        m += 1


@cpu_jit(inner=True)
def _thread(thread, x, w, bias, y, panels, threads, pixels, C, K, rows, lowest):
    """A share of the filters, in whole register tiles."""
    wide, narrow = VECTORS * lanes(w), lanes(w)
    blocks = (K + wide - 1) // wide
    begin, end = blocks * thread // threads * wide, min(K, blocks * (thread + 1) // threads * wide)
    panel = at(panels, thread * _CHANNELS * wide)
    for c in range(0, C, rows):
        channels, first, last = min(rows, C - c), c == 0, c + rows >= C
        k = begin
        while end - k >= wide:
            _columns(
                tile_shape(ROWS, VECTORS, False), at(x, c), at(w, c * K + k), K, panel, at(bias, k), at(y, k),
                pixels, C, K, channels, first, last, 0, lowest,
            )  # fmt: skip
            k += wide
        while k < end:
            _columns(
                tile_shape(ROWS, 1, True), at(x, c), at(w, c * K + k), K, panel, at(bias, k), at(y, k),
                pixels, C, K, channels, first, last, end - k, lowest,
            )  # fmt: skip
            k += narrow


@cpu_jit
def _run(x, w, bias, y, panels, threads, pixels, C, K, rows, lowest):
    parallel_for(_thread, threads, (x, w, bias, y, panels, threads, pixels, C, K, rows, lowest))
