"""Depthwise convolution over a list of taps: each channel by itself, a vector of channels at a time.

The same grids of output pixels and taps, in the same regions, as in cpu_taps.py serve conv2d and conv2d_backward_data.
Nothing is summed over channels, so a vector register holds neighbouring channels and every product is one of vectors: a
tile is a few neighbouring pixels by a few vectors of channels. Where a row has three taps side by side and the pixels
lie side by side too, each vector of the input is loaded once for all three, and a tile of 6 x 2 vectors takes 22 loads
for 36 products. Limited by bytes, where channels are few by the loads.
"""

from __future__ import annotations

import numpy as np
from numba.extending import intrinsic
from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import (
    VECTORS,
    _Columns,
    _lanes,
    _row,
    _rows_of,
    _tile_of,
    _vector_type,
    at,
    fewer_rows,
    lanes,
    stream_end,
    streams,
    tile_above,
    tile_floor,
    tile_fma,
    tile_load,
    tile_row,
    tile_rows,
    tile_shape,
    tile_store,
    tile_stream,
)

_PIXELS = 6  # of a tile
_TAPS = 3  # side by side that share what they load


def unsupported(problem):
    """Why a problem is not depthwise, or None."""
    p = problem
    return None if p.groups == p.C == p.K > 1 else "each of several channels must have one filter of its own"


def convolve(grid, inp, w, bias, out, lowest, gate=None):
    """As `cpu_taps.convolve`; w (taps, C)."""
    regions = grid.regions
    _run(
        inp, w, bias, out, out if gate is None else gate, threads_for(4 * grid.multiply_adds),
        grid.images, grid.in_h, grid.in_w, grid.in_c, grid.rows, grid.step_h, grid.step_w,
        grid.out_image, grid.out_row, grid.out_pixel, grid.out_first, regions.edges.reshape(-1), regions.rows,
        regions.columns, regions.runs, gate is not None, inp.dtype.type(lowest), streams(out, grid.in_c),
    )  # fmt: skip


@intrinsic
def tile_slide(typingctx, tile, x, step, w, w_step, count):
    """Row i of the tile += sum over s below _TAPS of row i + s of x * row s of w; their rows lie `step` and `w_step`
    apart."""

    def codegen(context, builder, signature, args):
        value, x_start, x_step, w_start, w_step, limit = args
        shape, dtype = tile.shape, tile.dtype
        columns, vector = _Columns(builder, shape, dtype, limit), _vector_type(dtype)
        kind = ir.FunctionType(vector, [vector] * 3)
        fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{_lanes(dtype)}f{dtype.bitwidth}")
        filters = [columns.load(_row(builder, w_start, w_step, s)) for s in range(_TAPS)]
        sums = _rows_of(builder, shape, value)
        for j in range(shape.rows + _TAPS - 1):
            pixel = columns.load(_row(builder, x_start, x_step, j))
            for s in range(max(0, j - shape.rows + 1), min(_TAPS, j + 1)):
                products = zip(pixel, filters[s], sums[j - s], strict=True)
                sums[j - s] = [builder.call(fma, [a, b, c]) for a, b, c in products]
        return _tile_of(context, builder, tile, sums)

    return tile(tile, x, types.intp, w, types.intp, types.intp), codegen


@cpu_jit(inner=True)
def _tile(
    shape, x, step, in_c, w, runs, first, last, bias, y, gate, out_pixel, channels, gated, lowest, streamed
):  # fmt: skip
    """Pixels, `step` apart in x, of a block of channels. x, y, gate point at the first of them."""
    sums = tile_row(shape, bias, channels)
    for t in range(first, last):
        a, b = at(x, runs[3 * t] * in_c), at(w, runs[3 * t + 1] * in_c)
        taps, s = runs[3 * t + 2], 0
        if tile_rows(shape) > 1 and step == in_c:
            while taps - s >= _TAPS:
                sums = tile_slide(sums, at(a, s * in_c), step, at(b, s * in_c), in_c, channels)
                s += _TAPS
        while s < taps:
            pixels = tile_load(shape, at(a, s * in_c), step, channels)
            sums = tile_fma(sums, pixels, tile_row(shape, at(b, s * in_c), channels))
            s += 1
    if gated:
        sums = tile_above(sums, tile_load(shape, gate, out_pixel, channels), lowest)
    else:
        sums = tile_floor(sums, lowest)
    if streamed:
        tile_stream(sums, y, out_pixel, channels)
    else:
        tile_store(sums, y, out_pixel, channels)


@cpu_jit(inner=True)
def _pixels(
    shape, x, step, in_c, w, runs, first, last, bias, y, gate, out_pixel, gated, lowest, streamed
):  # fmt: skip
    """So many pixels as the shape has rows, all channels."""
    single, wide = tile_shape(1, VECTORS, True), VECTORS * lanes(bias)
    for c in range(0, in_c, wide):
        if tile_rows(shape) > 1 and in_c - c >= wide:
            _tile(
                shape, at(x, c), step, in_c, at(w, c), runs, first, last, at(bias, c), at(y, c), at(gate, c),
                out_pixel, 0, gated, lowest, streamed,
            )  # fmt: skip
        else:
            for i in range(tile_rows(shape)):
                o = i * out_pixel + c
                _tile(
                    single, at(x, i * step + c), step, in_c, at(w, c), runs, first, last, at(bias, c), at(y, o),
                    at(gate, o), out_pixel, in_c - c, gated, lowest, streamed,
                )  # fmt: skip


@cpu_jit(inner=True)
def _thread(
    thread, inp, w, bias, out, gate, threads, images, in_h, in_w, in_c, rows, step_h, step_w,
    out_image, out_row, out_pixel, out_first, edges, row_classes, column_classes, runs, gated, lowest, streamed,
):  # fmt: skip
    """A share of the rows of all images."""
    full, step, row_class = tile_shape(_PIXELS, VECTORS, False), step_w * in_c, 0
    half, single = fewer_rows(full, 2), fewer_rows(full, _PIXELS)
    for task in range(images * rows * thread // threads, images * rows * (thread + 1) // threads):
        image, row = task // rows, task % rows
        while edges[3 * row_class] > row:
            row_class -= 1
        while edges[3 * row_class + 3] <= row:
            row_class += 1
        source = (image * in_h + row * step_h) * in_w * in_c
        target = out_first + image * out_image + row * out_row
        for j in range(row_classes + 1, row_classes + 1 + column_classes):
            q, end, per_row = edges[3 * j], edges[3 * j + 3], edges[3 * j + 2]
            first = edges[3 * j + 1] + edges[3 * row_class + 1] * per_row
            last = edges[3 * j + 1] + edges[3 * row_class + 2] * per_row
            width = end - q
            while q < end:
                if width >= tile_rows(full) and end - q > tile_rows(half):
                    q = min(q, end - tile_rows(full))
                    pixels = tile_rows(full)
                elif width >= tile_rows(half) and end - q > 1:
                    q = min(q, end - tile_rows(half))
                    pixels = tile_rows(half)
                else:
                    pixels = 1
                x, y = at(inp, source + q * step), target + q * out_pixel
                if pixels == tile_rows(full):
                    _pixels(
                        full, x, step, in_c, at(w, 0), at(runs, 0), first, last, at(bias, 0), at(out, y), at(gate, y),
                        out_pixel, gated, lowest, streamed,
                    )  # fmt: skip
                elif pixels == tile_rows(half):
                    _pixels(
                        half, x, step, in_c, at(w, 0), at(runs, 0), first, last, at(bias, 0), at(out, y), at(gate, y),
                        out_pixel, gated, lowest, streamed,
                    )  # fmt: skip
                else:
                    _pixels(
                        single, x, step, in_c, at(w, 0), at(runs, 0), first, last, at(bias, 0), at(out, y),
                        at(gate, y), out_pixel, gated, lowest, streamed,
                    )  # fmt: skip
                q += pixels
    if streamed:
        stream_end()


@cpu_jit
def _run(
    inp, w, bias, out, gate, threads, images, in_h, in_w, in_c, rows, step_h, step_w,
    out_image, out_row, out_pixel, out_first, edges, row_classes, column_classes, runs, gated, lowest, streamed,
):  # fmt: skip
    parallel_for(
        _thread,
        threads,
        (
            inp, w, bias, out, gate, threads, images, in_h, in_w, in_c, rows, step_h, step_w,
            out_image, out_row, out_pixel, out_first, edges, row_classes, column_classes, runs, gated, lowest, streamed,
        ),
    )  # fmt: skip
