"""Depthwise convolution over a list of taps: each channel by itself, a vector of channels at a time.

The same grids of output pixels and taps as in cpu_taps.py, in the same regions (see cpu_grid.py), serve conv2d and
conv2d_backward_data, whose grids, one a phase of the stride, are done together, row by row. Nothing is summed over
channels, so a vector register holds neighbouring channels and every product is one of vectors: a tile is a few
neighbouring pixels by a few vectors of channels. Where three taps lie side by side in a row, and so do the pixels, each
vector of the input is loaded once for all three: a tile of 6 x 2 vectors takes 22 loads for 36 products, in place of
42. Limited by bytes: MobileNet's layers with stride 1 and 28x28 pixels and more run at 40 to 50 GB/s (x and y, two
threads of an AMD EPYC).
"""

from __future__ import annotations

import functools

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_memory import stream_end, streams, tile_stream
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
    tile_above,
    tile_floor,
    tile_fma,
    tile_load,
    tile_row,
    tile_rows,
    tile_shape,
    tile_store,
)

_PIXELS = 6  # of a tile
_TAPS = 3  # side by side that share what they load


def unsupported(problem):
    """Why a problem is not depthwise, or None."""
    p = problem
    return None if p.groups == p.C == p.K > 1 else "each of several channels must have one filter of its own"


def convolve(grids, inp, w, bias, out, lowest, gate=None):
    """As `cpu_taps.convolve`, for grids that differ only in their first pixel, their size and their taps, row by row;
    w (taps, C)."""
    g, (parts, edges, runs) = grids[0], _parts(grids)
    _run(
        inp, w, bias, out, out if gate is None else gate, threads_for(4 * sum(grid.multiply_adds for grid in grids)),
        g.images, g.in_h, g.in_w, g.in_c, g.step_h, g.step_w, g.out_image, g.out_row, g.out_pixel, parts, edges, runs,
        gate is not None, inp.dtype.type(lowest), streams(out, g.in_c),
    )  # fmt: skip


@functools.lru_cache(maxsize=1024)
def _parts(grids):
    """Of each grid its rows, its first pixel's place in the output, classes of rows and of columns (see
    `cpu_grid.Grid.regions`), and where its edges begin; the edges of all, and their runs. Flat int64."""
    parts, edges, runs = [], [], []
    for grid in grids:
        regions = grid.regions
        parts.append([grid.rows, grid.out_first, regions.rows, regions.columns, sum(map(len, edges))])
        table = regions.edges.copy()
        table[regions.rows + 1 :, 1] += sum(map(len, runs)) // 3
        edges.append(table.reshape(-1))
        runs.append(regions.runs)
    return np.array(parts, np.int64).reshape(-1), np.concatenate(edges), np.concatenate(runs)


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
    shape, x, step, in_c, w, runs, first, last, bias, y, gate, out_pixel, channels, slides, gated, lowest, streamed
):  # fmt: skip
    """Pixels, `step` apart in x, of a block of channels; slides: that is one pixel. x, y, gate point at the first."""
    sums = tile_row(shape, bias, channels)
    for t in range(first, last):
        a, b = at(x, runs[3 * t] * in_c), at(w, runs[3 * t + 1] * in_c)
        taps, s = runs[3 * t + 2], 0
        if slides:
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
                out_pixel, 0, step == in_c, gated, lowest, streamed,
            )  # fmt: skip
        else:
            for i in range(tile_rows(shape)):
                o = i * out_pixel + c
                _tile(
                    single, at(x, i * step + c), step, in_c, at(w, c), runs, first, last, at(bias, c), at(y, o),
                    at(gate, o), out_pixel, in_c - c, False, gated, lowest, False,
                )  # fmt: skip


@cpu_jit(inner=True)
def _line(
    x, step, in_c, w, bias, y, gate, out_pixel, edges, first_column, columns, low, high, runs, gated, lowest, streamed
):  # fmt: skip
    """A row of a grid, whose pixels see the rows of taps low .. high - 1; x, y, gate point at its first pixel."""
    full = tile_shape(_PIXELS, VECTORS, False)
    half, single = fewer_rows(full, 2), fewer_rows(full, _PIXELS)
    for j in range(first_column, first_column + columns):
        q, end, per_row = edges[3 * j], edges[3 * j + 3], edges[3 * j + 2]
        first, last = edges[3 * j + 1] + low * per_row, edges[3 * j + 1] + high * per_row
        width = end - q
        while q < end:
            if width >= tile_rows(full) and end - q > tile_rows(half):
                q = min(q, end - tile_rows(full))
                _pixels(
                    full, at(x, q * step), step, in_c, w, runs, first, last, bias, at(y, q * out_pixel),
                    at(gate, q * out_pixel), out_pixel, gated, lowest, streamed,
                )  # fmt: skip
                q += tile_rows(full)
            elif width >= tile_rows(half) and end - q > 1:
                q = min(q, end - tile_rows(half))
                _pixels(
                    half, at(x, q * step), step, in_c, w, runs, first, last, bias, at(y, q * out_pixel),
                    at(gate, q * out_pixel), out_pixel, gated, lowest, streamed,
                )  # fmt: skip
                q += tile_rows(half)
            else:
                _pixels(
                    single, at(x, q * step), step, in_c, w, runs, first, last, bias, at(y, q * out_pixel),
                    at(gate, q * out_pixel), out_pixel, gated, lowest, False,
                )  # fmt: skip
                q += 1


@cpu_jit(inner=True)
def _thread(
    thread, inp, w, bias, out, gate, threads, images, in_h, in_w, in_c, step_h, step_w,
    out_image, out_row, out_pixel, parts, edges, runs, gated, lowest, streamed,
):  # fmt: skip
    """A share of the rows of all images: of each row that of every grid."""
    rows = 0
    for part in range(0, parts.size, 5):
        rows = max(rows, parts[part])
    for task in range(images * rows * thread // threads, images * rows * (thread + 1) // threads):
        image, row = task // rows, task % rows
        x = at(inp, (image * in_h + row * step_h) * in_w * in_c)
        for part in range(0, parts.size, 5):
            y, classes, columns = parts[part + 1] + image * out_image + row * out_row, parts[part + 2], parts[part + 3]
            edge, row_class = at(edges, parts[part + 4]), 0
            while row_class < classes and edge[3 * row_class + 3] <= row:
                row_class += 1
            if row < parts[part]:
                _line(
                    x, step_w * in_c, in_c, at(w, 0), at(bias, 0), at(out, y), at(gate, y), out_pixel, edge,
                    classes + 1, columns, edge[3 * row_class + 1], edge[3 * row_class + 2], at(runs, 0), gated, lowest,
                    streamed,
                )  # fmt: skip
    if streamed:
        stream_end()


@cpu_jit
def _run(
    inp, w, bias, out, gate, threads, images, in_h, in_w, in_c, step_h, step_w,
    out_image, out_row, out_pixel, parts, edges, runs, gated, lowest, streamed,
):  # fmt: skip
    parallel_for(
        _thread,
        threads,
        (
            inp, w, bias, out, gate, threads, images, in_h, in_w, in_c, step_h, step_w,
            out_image, out_row, out_pixel, parts, edges, runs, gated, lowest, streamed,
        ),
    )  # fmt: skip
