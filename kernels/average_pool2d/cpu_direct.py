"""average_pool2d in vector registers: a block of channels at a time.

Differs from cpu_naive: the window is clipped to the image, and so counted, once for each pixel, and the sum
of a vector of channels stays in registers over the window. A task computes one row of one image's output.
Limited by bytes: x is read once where windows do not overlap.
"""

from __future__ import annotations

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, thread_count
from fastconv.kernels.cpu_simd import at, lanes, tile_add, tile_load, tile_shape, tile_store, tile_zero
from fastconv.kernels.cpu_windows import inside, tile_divide
from fastconv.kernels.registry import kernel


@kernel(limited_by="bytes: reading x")
def cpu_direct(problem, x, y, workspace):
    p = problem
    thread_count()  # starts Numba's threads
    _run(
        x.reshape(-1), y.reshape(-1), p.N, p.H, p.W, p.C, p.P, p.Q, p.R, p.S,
        p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.pad_top, p.pad_left,
    )  # fmt: skip


@cpu_jit(inner=True)
def _window(shape, x, row, column, rows, columns, y, channels):
    """A block of channels at y: the mean of rows x columns pixels at x, `row` and `column` apart."""
    total = tile_zero(shape, x)
    for r in range(rows):
        for s in range(columns):
            total = tile_add(total, tile_load(shape, at(x, r * row + s * column), 0, channels))
    tile_store(tile_divide(total, rows * columns), y, 0, channels)


@cpu_jit(inner=True)
def _row(
    task, x, y, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left
):  # fmt: skip
    n, p = task // P, task % P
    first_h = p * stride_h - pad_top
    low_h, high_h = inside(first_h, R, dilation_h, H)
    rows, row = high_h - low_h, dilation_h * W * C
    for q in range(Q):
        first_w = q * stride_w - pad_left
        low_w, high_w = inside(first_w, S, dilation_w, W)
        columns, column = high_w - low_w, dilation_w * C
        source = at(x, ((n * H + first_h + low_h * dilation_h) * W + first_w + low_w * dilation_w) * C)
        target = at(y, (task * Q + q) * C)
        c = 0
        while C - c >= lanes(x):
            shape = tile_shape(1, 1, False)
            _window(shape, at(source, c), row, column, rows, columns, at(target, c), 0)
            c += lanes(x)
        while c < C:
            _window(tile_shape(1, 1, True), at(source, c), row, column, rows, columns, at(target, c), C - c)
            c += lanes(x)


@cpu_jit
def _run(
    x, y, N, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left
):  # fmt: skip
    parallel_for(
        _row,
        N * P,
        (x, y, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left),
    )
