"""max_pool2d_backward in vector registers: a block of channels at a time.

Differs from cpu_naive: two passes over a window instead of a branch for each element. The first finds the
maximum; the second gives each pixel the gradient where it is the maximum and keeps the rest for the pixels
after it. Windows that lie side by side write their pixels, others add to them. A task takes a band of output rows
whose windows lie in input rows of its own. Limited by bytes: x and gy read, gx written.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, thread_count
from fastconv.kernels.cpu_simd import at, lanes, tile_above, tile_add, tile_load, tile_shape, tile_store
from fastconv.kernels.cpu_windows import (
    bands,
    clear_beside,
    clear_rows,
    inside,
    tile_max,
    tile_unless_max,
    tile_where_max,
    tiled,
    whole,
)
from fastconv.kernels.registry import kernel


@kernel(limited_by="bytes: reading x, writing gx", fuses=("relu",), in_place=tiled)
def cpu_direct(problem, x, gy, gx, workspace, relu=False):
    p = problem
    thread_count()  # starts Numba's threads
    _run(
        x.reshape(-1), gy.reshape(-1), gx.reshape(-1), bands(p), tiled(p), p.N, p.H, p.W, p.C, p.P, p.Q, p.R, p.S,
        p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.pad_top, p.pad_left,
        x.dtype.type(0 if relu else np.nan),
    )  # fmt: skip


@cpu_jit(inner=True)
def _window(shape, x, gy, gx, row, column, rows, columns, channels, tiled, lowest):
    """A block of channels of one window: rows x columns pixels, `row` and `column` apart, at x and gx."""
    best = tile_load(shape, x, 0, channels)
    for r in range(rows):
        for s in range(columns):
            best = tile_max(best, tile_load(shape, at(x, r * row + s * column), 0, channels))
    rest = tile_above(tile_load(shape, gy, 0, channels), best, lowest)
    for r in range(rows):
        for s in range(columns):
            value = tile_load(shape, at(x, r * row + s * column), 0, channels)
            pixel = at(gx, r * row + s * column)
            received = tile_where_max(rest, value, best)
            if not tiled:
                received = tile_add(tile_load(shape, pixel, 0, channels), received)
            tile_store(received, pixel, 0, channels)
            rest = tile_unless_max(rest, value, best)


@cpu_jit(inner=True)
def _window_2x2(shape, x, gy, gx, row, column, lowest):
    """The same for a whole window of 2x2 pixels that shares none, in registers throughout."""
    x1, gx1 = at(x, row), at(gx, row)
    a, b = tile_load(shape, x, 0, 0), tile_load(shape, at(x, column), 0, 0)
    c, d = tile_load(shape, x1, 0, 0), tile_load(shape, at(x1, column), 0, 0)
    best = tile_max(tile_max(a, b), tile_max(c, d))
    rest = tile_above(tile_load(shape, gy, 0, 0), best, lowest)
    tile_store(tile_where_max(rest, a, best), gx, 0, 0)
    rest = tile_unless_max(rest, a, best)
    tile_store(tile_where_max(rest, b, best), at(gx, column), 0, 0)
    rest = tile_unless_max(rest, b, best)
    tile_store(tile_where_max(rest, c, best), gx1, 0, 0)
    tile_store(tile_where_max(tile_unless_max(rest, c, best), d, best), at(gx1, column), 0, 0)


@cpu_jit(inner=True)
def _windows_2x2(shape, x, gy, gx, row, column, step, pixel, count, channels, lowest):
    """The same for `channels` channels, whole tiles of them, of `count` such windows; `step` apart at x and gx, `pixel`
    apart at gy."""
    for q in range(count):
        for c in range(0, channels, 2 * lanes(x)):
            _window_2x2(
                shape, at(x, q * step + c), at(gy, q * pixel + c), at(gx, q * step + c), row, column, lowest
            )  # fmt: skip


@cpu_jit(inner=True)
def _band(
    task, x, gy, gx, bands, tiled, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left,
    lowest,
):  # fmt: skip
    n, band = task // bands, task % bands
    zeroed, end_h = clear_beside(gx, n, band, bands, H, W, C, P, Q, S, stride_h, pad_top, pad_left, tiled)
    row, column = dilation_h * W * C, dilation_w * C
    for p in range(P * band // bands, P * (band + 1) // bands):
        first_h = p * stride_h - pad_top
        low_h, high_h = inside(first_h, R, dilation_h, H)
        zeroed = clear_rows(gx, n, zeroed, min(end_h, first_h + (R - 1) * dilation_h + 1), H, W, C)
        begin, end = 0, 0
        if tiled and high_h - low_h == 2 and R == 2 and S == 2:
            begin, end = whole(Q, S, stride_w, dilation_w, pad_left, W)
        done = C // (2 * lanes(x)) * 2 * lanes(x)  # channels of whole windows
        if end > begin:
            pixel = ((n * H + first_h) * W + begin * stride_w - pad_left) * C
            _windows_2x2(
                tile_shape(1, 2, False), at(x, pixel), at(gy, ((n * P + p) * Q + begin) * C), at(gx, pixel),
                row, column, stride_w * C, C, end - begin, done, lowest,
            )  # fmt: skip
        for q in range(Q):
            c = done if begin <= q < end else 0
            if c == C:
                continue
            first_w = q * stride_w - pad_left
            low_w, high_w = inside(first_w, S, dilation_w, W)
            pixel = ((n * H + first_h + low_h * dilation_h) * W + first_w + low_w * dilation_w) * C
            gradient = ((n * P + p) * Q + q) * C
            rows, columns = high_h - low_h, high_w - low_w
            while c < C:
                _window(
                    tile_shape(1, 2, True), at(x, pixel + c), at(gy, gradient + c), at(gx, pixel + c),
                    row, column, rows, columns, C - c, tiled, lowest,
                )  # fmt: skip
                c += 2 * lanes(x)
    clear_rows(gx, n, zeroed, end_h, H, W, C)


@cpu_jit
def _run(
    x, gy, gx, bands, tiled, N, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left,
    lowest,
):  # fmt: skip
    parallel_for(
        _band,
        N * bands,
        (
            x, gy, gx, bands, tiled, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left,
            lowest,
        ),
    )  # fmt: skip
