"""Depthwise convolution over a list of taps: each channel by itself, a vector of channels at a time.

The same grids of output pixels and taps as in cpu_taps.py serve conv2d and conv2d_backward_data. Nothing is summed over
channels, so a vector register holds neighbouring channels and every product is one of vectors: a tile is a few pixels
by a few vectors of channels, and a tap's filter is loaded once for all of them. Where a tap would reach beyond the left
or right edge, pixels are done one by one without it. Limited by bytes: each output takes a load for each tap.
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import (
    VECTORS,
    at,
    lanes,
    tile_above,
    tile_floor,
    tile_fma,
    tile_load,
    tile_row,
    tile_shape,
    tile_store,
)

PIXELS = 4  # of a tile


def unsupported(problem):
    """Why a problem is not depthwise, or None."""
    p = problem
    return None if p.groups == p.C == p.K > 1 else "each of several channels must have one filter of its own"


@functools.lru_cache(maxsize=1024)
def _inner(grid):
    """The grid's columns, begin and end, where every tap reads inside the image."""
    tap_w = grid.taps[:, 1] if len(grid.taps) else np.zeros(1, np.int64)
    begin = max(0, -(int(tap_w.min()) // grid.step_w))
    end = max(0, (grid.in_w - 1 - int(tap_w.max())) // grid.step_w + 1)
    return min(begin, grid.columns), min(max(begin, end), grid.columns)


def convolve(grid, inp, w, bias, out, lowest, gate=None):
    """As `cpu_taps.convolve`; w (taps, C)."""
    begin, end = _inner(grid)
    _run(
        inp, w, bias, out, out if gate is None else gate, threads_for(4 * grid.multiply_adds),
        grid.images, grid.in_h, grid.in_w, grid.in_c, grid.rows, grid.columns, grid.step_h, grid.step_w,
        grid.out_image, grid.out_row, grid.out_pixel, grid.out_first, grid.taps.reshape(-1), begin, end,
        gate is not None, inp.dtype.type(lowest),
    )  # fmt: skip


@cpu_jit(inner=True)
def _tile(shape, x, step, row_stride, in_c, w, taps, first, last, bias, y, gate, out_pixel, channels, gated, lowest):
    """Pixels, `step` apart in x, of a block of channels; all taps first .. last lie in the image."""
    sums = tile_row(shape, bias, channels)
    for t in range(first, last):
        a = at(x, taps[4 * t] * row_stride + taps[4 * t + 1] * in_c)
        sums = tile_fma(
            sums, tile_load(shape, a, step, channels), tile_row(shape, at(w, taps[4 * t + 2] * in_c), channels)
        )
    if gated:
        sums = tile_above(sums, tile_load(shape, gate, out_pixel, channels), lowest)
    else:
        sums = tile_floor(sums, lowest)
    tile_store(sums, y, out_pixel, channels)


@cpu_jit(inner=True)
def _edge(x, column, in_w, row_stride, in_c, w, taps, first, last, bias, y, gate, channels, gated, lowest):
    """One pixel, whose taps at `column` + tap_w may lie beyond the edge."""
    shape = tile_shape(1, VECTORS, True)
    sums = tile_row(shape, bias, channels)
    for t in range(first, last):
        if 0 <= column + taps[4 * t + 1] < in_w:
            a = at(x, taps[4 * t] * row_stride + taps[4 * t + 1] * in_c)
            b = tile_load(shape, at(w, taps[4 * t + 2] * in_c), 0, channels)
            sums = tile_fma(sums, tile_load(shape, a, 0, channels), b)
    if gated:
        sums = tile_above(sums, tile_load(shape, gate, 0, channels), lowest)
    else:
        sums = tile_floor(sums, lowest)
    tile_store(sums, y, 0, channels)


@cpu_jit(inner=True)
def _thread(
    thread, inp, w, bias, out, gate, threads, images, in_h, in_w, in_c, rows, columns, step_h, step_w,
    out_image, out_row, out_pixel, out_first, taps, begin, end, gated, lowest,
):  # fmt: skip
    """A share of the rows of all images."""
    count, row_stride, step = taps.size // 4, in_w * in_c, step_w * in_c
    for task in range(images * rows * thread // threads, images * rows * (thread + 1) // threads):
        image, row = task // rows, task % rows
        h = row * step_h
        first, last = 0, count
        while first < last and h + taps[4 * first] < 0:
            first += 1
        while last > first and h + taps[4 * last - 4] >= in_h:
            last -= 1
        source = (image * in_h + h) * row_stride
        target = out_first + image * out_image + row * out_row
        q = 0
        while q < columns:
            x, y = source + q * step, target + q * out_pixel
            pixels = PIXELS if begin <= q and q + PIXELS <= end else 1
            for c in range(0, in_c, VECTORS * lanes(inp)):
                if pixels == PIXELS and in_c - c >= VECTORS * lanes(inp):
                    _tile(
                        tile_shape(PIXELS, VECTORS, False), at(inp, x + c), step, row_stride, in_c, at(w, c),
                        at(taps, 0), first, last, at(bias, c), at(out, y + c), at(gate, y + c), out_pixel, 0, gated,
                        lowest,
                    )  # fmt: skip
                else:
                    for i in range(pixels):
                        o = y + i * out_pixel + c
                        _edge(
                            at(inp, x + i * step + c), (q + i) * step_w, in_w, row_stride, in_c, at(w, c), at(taps, 0),
                            first, last, at(bias, c), at(out, o), at(gate, o), in_c - c, gated, lowest,
                        )  # fmt: skip
            q += pixels


@cpu_jit
def _run(
    inp, w, bias, out, gate, threads, images, in_h, in_w, in_c, rows, columns, step_h, step_w,
    out_image, out_row, out_pixel, out_first, taps, begin, end, gated, lowest,
):  # fmt: skip
    parallel_for(
        _thread,
        threads,
        (
            inp, w, bias, out, gate, threads, images, in_h, in_w, in_c, rows, columns, step_h, step_w,
            out_image, out_row, out_pixel, out_first, taps, begin, end, gated, lowest,
        ),
    )  # fmt: skip
