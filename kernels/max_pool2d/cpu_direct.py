"""max_pool2d in vector registers: a block of channels at a time.

Differs from cpu_naive: the window is clipped to the image once for each pixel, and the maximum of a vector of
channels stays in registers over the window. Windows of 2x2 pixels, the usual ones, have a loop of their own. A task
computes one row of one image's output. Limited by bytes: x is read once where windows do not overlap.
"""

from __future__ import annotations

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, thread_count
from fastconv.kernels.cpu_simd import at, lanes, tile_load, tile_shape, tile_store
from fastconv.kernels.cpu_windows import inside, tile_max, whole
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
    """A block of channels at y: the maximum of rows x columns pixels at x, `row` and `column` apart."""
    best = tile_load(shape, x, 0, channels)
    for r in range(rows):
        for s in range(columns):
            best = tile_max(best, tile_load(shape, at(x, r * row + s * column), 0, channels))
    tile_store(best, y, 0, channels)


@cpu_jit(inner=True)
def _windows_2x2(shape, x, row, column, step, y, pixel, count, channels):
    """`channels` channels, whole tiles of them, of `count` whole windows of 2x2 pixels, `step` apart, into y, `pixel`
    apart."""
    for q in range(count):
        for c in range(0, channels, 2 * lanes(x)):
            a, b = at(x, q * step + c), at(x, q * step + row + c)
            upper = tile_max(tile_load(shape, a, 0, 0), tile_load(shape, at(a, column), 0, 0))
            lower = tile_max(tile_load(shape, b, 0, 0), tile_load(shape, at(b, column), 0, 0))
            tile_store(tile_max(upper, lower), at(y, q * pixel + c), 0, 0)


@cpu_jit(inner=True)
def _row(
    task, x, y, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left
):  # fmt: skip
    n, p = task // P, task % P
    first_h = p * stride_h - pad_top
    low_h, high_h = inside(first_h, R, dilation_h, H)
    rows, row = high_h - low_h, dilation_h * W * C
    begin, end = whole(Q, S, stride_w, dilation_w, pad_left, W) if rows == R == S == 2 else (0, 0)
    done = C // (2 * lanes(x)) * 2 * lanes(x)  # channels of whole windows
    if end > begin:
        first = ((n * H + first_h) * W + begin * stride_w - pad_left) * C
        _windows_2x2(
            tile_shape(1, 2, False), at(x, first), row, dilation_w * C, stride_w * C,
            at(y, (task * Q + begin) * C), C, end - begin, done,
        )  # fmt: skip
    for q in range(Q):
        c = done if begin <= q < end else 0
        if c == C:
            continue
        first_w = q * stride_w - pad_left
        low_w, high_w = inside(first_w, S, dilation_w, W)
        columns, column = high_w - low_w, dilation_w * C
        source = at(x, ((n * H + first_h + low_h * dilation_h) * W + first_w + low_w * dilation_w) * C)
        target = at(y, (task * Q + q) * C)
        while c < C:
            _window(tile_shape(1, 2, True), at(source, c), row, column, rows, columns, at(target, c), C - c)
            c += 2 * lanes(x)


@cpu_jit
def _run(
    x, y, N, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left
):  # fmt: skip
    parallel_for(
        _row,
        N * P,
        (x, y, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left),
    )
