"""average_pool2d_backward in vector registers: a block of channels at a time.

Differs from cpu_naive: the window is clipped to the image, and so counted, once for each pixel, and a block
of channels is divided once and added to all of the window's pixels. A task takes a band of output rows
whose windows lie in input rows of its own. Limited by bytes: gy is read and gx written once where windows
do not overlap.
"""

from __future__ import annotations

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, thread_count
from fastconv.kernels.cpu_simd import at, lanes, tile_add, tile_load, tile_shape, tile_store
from fastconv.kernels.cpu_windows import bands, clear_beside, clear_rows, inside, tile_divide, tiled
from fastconv.kernels.registry import kernel


@kernel(limited_by="bytes: writing gx")
def cpu_direct(problem, gy, gx, workspace):
    p = problem
    thread_count()  # starts Numba's threads
    _run(
        gy.reshape(-1), gx.reshape(-1), bands(p), tiled(p), p.N, p.H, p.W, p.C, p.P, p.Q, p.R, p.S,
        p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.pad_top, p.pad_left,
    )  # fmt: skip


@cpu_jit(inner=True)
def _window(shape, gy, gx, row, column, rows, columns, channels, tiled):
    """A block of channels of one window: rows x columns pixels, `row` and `column` apart, at gx."""
    share = tile_divide(tile_load(shape, gy, 0, channels), rows * columns)
    for r in range(rows):
        for s in range(columns):
            pixel = at(gx, r * row + s * column)
            if tiled:
                tile_store(share, pixel, 0, channels)
            else:
                tile_store(tile_add(tile_load(shape, pixel, 0, channels), share), pixel, 0, channels)


@cpu_jit(inner=True)
def _band(
    task, gy, gx, bands, tiled, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left
):  # fmt: skip
    n, band = task // bands, task % bands
    zeroed, end_h = clear_beside(gx, n, band, bands, H, W, C, P, Q, S, stride_h, pad_top, pad_left, tiled)
    row, column = dilation_h * W * C, dilation_w * C
    for p in range(P * band // bands, P * (band + 1) // bands):
        first_h = p * stride_h - pad_top
        low_h, high_h = inside(first_h, R, dilation_h, H)
        zeroed = clear_rows(gx, n, zeroed, min(end_h, first_h + (R - 1) * dilation_h + 1), H, W, C)
        for q in range(Q):
            first_w = q * stride_w - pad_left
            low_w, high_w = inside(first_w, S, dilation_w, W)
            target = at(gx, ((n * H + first_h + low_h * dilation_h) * W + first_w + low_w * dilation_w) * C)
            source = at(gy, ((n * P + p) * Q + q) * C)
            rows, columns, c = high_h - low_h, high_w - low_w, 0
            while C - c >= lanes(gy):
                shape = tile_shape(1, 1, False)
                _window(shape, at(source, c), at(target, c), row, column, rows, columns, 0, tiled)
                c += lanes(gy)
            while c < C:
                _window(tile_shape(1, 1, True), at(source, c), at(target, c), row, column, rows, columns, C - c, tiled)
                c += lanes(gy)
    clear_rows(gx, n, zeroed, end_h, H, W, C)


@cpu_jit
def _run(
    gy, gx, bands, tiled, N, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left
):  # fmt: skip
    parallel_for(
        _band,
        N * bands,
        (gy, gx, bands, tiled, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left),
    )
