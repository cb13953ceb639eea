"""Direct convolution over a list of taps: the loop nest that conv2d and conv2d_backward_data share.

Both ops write, for each pixel (i, j) of a grid,

    out[i, j, k] = bias[k] + sum over taps t, channels c of
                   inp[i*step_h + tap_h[t], j*step_w + tap_w[t], c] * w[t, c, k]

where reading outside the image gives 0. Forward has one such grid; backward_data with a stride has one for each
phase of the input pixels modulo the stride. Taps that are neighbours both in the image and in the filter are merged
into one that is several pixels long, so that a 3x3 filter is three runs of 3*C contiguous elements.

Pixels that see the same taps of the image form a region: one inside, where all taps do, and strips along the edges.
What lies beyond the image is neither read nor copied nor multiplied. Each thread takes bands of output rows, or whole
small images, walks the filters in blocks of a few vectors and the pixels of a region, row after row and image after
image, in tiles of so many; a tile's sums stay in registers from the first tap to the last. The order of the sum for one
output never depends on the tile it falls into, so neither do its bits; the last pixels of a region may therefore be
computed by a tile that overlaps the one before. With groups, a band is copied first, so that it holds the channels of
each group apart: side by side, the pixels of a tile do not compete for the same few lines of the level-1 cache, as they
do a power of two apart.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from fastconv.kernels.cpu_grid import Grid
from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_memory import fetch, stream_end, streams, tile_stream
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_places import tile_places, tile_runs
from fastconv.kernels.cpu_simd import (
    ROWS,
    VECTOR_BYTES,
    VECTORS,
    at,
    fewer_rows,
    lanes,
    tile_above,
    tile_floor,
    tile_load,
    tile_row,
    tile_rows,
    tile_shape,
    tile_store,
)

_TASK_BYTES = 3 << 17  # of input and output that a task takes: a part of a typical level-2 cache
_BLOCK_BYTES = 1 << 18  # of a block of filters: if it is larger, a task sums some rows of taps for all its pixels first
_LARGE_TASK_BYTES = 3 << 20  # that such a task takes, or one with groups, which it reads one after the other
_PIXELS_PER_THREAD = 128  # with fewer, threads share the filters
_PARTS_PER_THREAD = 4  # so many and more need not be equally many for each thread
COUNT = 26  # of the numbers that the compiled code is handed
_PACKED_FILTERS = 64  # so many and fewer lie close enough together as they are
_PACKED_PIXELS = 256  # fewer are not worth packing filters for


@dataclass(frozen=True)
class _Cut:
    """How a grid is cut into tasks.

    images, rows, columns, filters: that a task takes, of the grid and of a group's filters. tap_rows: rows of taps that
    it sums at a time. band_rows: input rows that it may need, the first of them first_row from its first. packed_bytes,
    band_bytes: of scratch for packed filters (0 if they are not) and for all threads' bands (0 if there is one group).
    """

    threads: int
    images: int
    rows: int
    columns: int
    filters: int
    tap_rows: int
    band_rows: int
    first_row: int
    packed_bytes: int
    band_bytes: int


@functools.lru_cache(maxsize=4096)
def _cut(grid: Grid, itemsize: int, threads: int) -> _Cut:
    tap_h = grid.taps[:, 0] if len(grid.taps) else np.zeros(1, np.int64)
    per_group, wide = grid.filters // grid.groups, VECTORS * VECTOR_BYTES // itemsize
    blocks = -(-per_group // wide)
    filters, sharing = max(1, per_group), threads  # threads share the pixels or, where those are few, the filters
    few = grid.images * grid.rows * grid.columns < threads * _PIXELS_PER_THREAD
    if few and grid.groups == 1 and (blocks % threads == 0 or blocks >= _PARTS_PER_THREAD * threads):
        filters, sharing = -(-blocks // threads) * wide, 1
    input_row = max(1, grid.in_w) * grid.in_c * itemsize  # a batch of none may have no pixels
    heights = max(1, len(np.unique(tap_h)))
    block = int(grid.taps[:, 3].sum()) * wide * itemsize  # bytes of a block of filters
    tap_rows = max(1, min(heights, heights * _BLOCK_BYTES // max(1, block)))
    task_bytes = _TASK_BYTES if tap_rows == heights and grid.groups == 1 else _LARGE_TASK_BYTES
    fitting = max(1, task_bytes // (grid.step_h * input_row + grid.columns * grid.filters * itemsize))
    fitting = min(fitting, -(-grid.images * grid.rows // sharing))
    rows = _even(grid.rows, fitting, sharing // math.gcd(sharing, grid.images))
    band_rows = (rows - 1) * grid.step_h + int(np.ptp(tap_h)) + 1
    images = _even(grid.images, fitting // rows, sharing) if rows == grid.rows else 1
    columns = grid.columns
    if grid.groups == 1 and grid.rows == 1:  # a 1x1 convolution seen as one row of pixels
        fitting = task_bytes // ((grid.in_c * grid.step_w + grid.filters) * itemsize)
        columns = _even(columns, min(fitting, -(-columns * grid.images // sharing)), sharing, ROWS)
    bands = threads * images * band_rows * input_row if grid.groups > 1 else 0
    packed = packed_bytes(grid, itemsize)
    return _Cut(threads, images, rows, columns, filters, tap_rows, band_rows, int(tap_h.min()), packed, bands)


def _even(count: int, most: int, threads: int, multiple: int = 1) -> int:
    """The size of parts of `count` things, a multiple: all but equal, at most `most` in one, and, if there are few
    parts, equally many for each of `threads` threads."""
    parts = max(1, -(-count // max(multiple, most // multiple * multiple)))
    if 1 < parts < _PARTS_PER_THREAD * threads:
        parts = -(-parts // threads) * threads
    return max(1, -(-count // (parts * multiple)) * multiple)


def packed_bytes(grid: Grid, itemsize: int) -> int:
    """Of filters in blocks of a register tile's columns, so that a tile reads them one line after the other; 0 where
    they are used as they lie."""
    pixels = grid.images * grid.rows * grid.columns
    if grid.filters <= _PACKED_FILTERS or pixels < _PACKED_PIXELS:
        return 0
    wide = VECTORS * VECTOR_BYTES // itemsize
    return grid.w_rows * grid.groups * -(-grid.filters // grid.groups // wide) * wide * itemsize


def workspace_bytes(grid: Grid, itemsize: int) -> int:
    """Scratch for packed filters and for the band of every thread."""
    cut = _cut(grid, itemsize, threads_for(grid.multiply_adds))
    return cut.packed_bytes + cut.band_bytes


def convolve(grid: Grid, inp, w, bias, out, workspace, lowest: float, gate=None, packed: bool = False) -> None:
    """Run a grid. inp, w, bias, out are flat; bias (filters,).

    packed: whether w lies in blocks already, and not in rows. lowest: results below it become it. gate: like `out`;
        where it is at most `lowest` the result is 0 instead.
    """
    cut, numbers, blocked = cut_and_numbers(grid, inp.itemsize, threads_for(grid.multiply_adds))
    memory = workspace[: cut.packed_bytes + cut.band_bytes].view(inp.dtype)
    size = cut.packed_bytes // inp.itemsize
    if size and not packed:
        _pack(w, memory[:size], grid.w_rows, grid.filters, grid.groups, threads_for(size))
        w, packed = memory[:size], True
    _run(
        inp, w, bias, out, out if gate is None else gate, memory[size:], grid.regions.edges.reshape(-1),
        grid.regions.runs, blocked if packed else numbers, gate is not None, inp.dtype.type(lowest),
        streams(out, grid.filters // grid.groups),
    )  # fmt: skip


@functools.lru_cache(maxsize=4096)
def cut_and_numbers(grid: Grid, itemsize: int, threads: int) -> tuple[_Cut, np.ndarray, np.ndarray]:
    """The cut, and all that `_run` must know besides arrays, for filters in rows and in blocks: int64, because one
    array is handed over in less time than two dozen numbers."""
    cut = _cut(grid, itemsize, threads)
    numbers = [
        cut.threads, grid.images, grid.in_h, grid.in_w, grid.in_c, grid.rows, grid.columns, grid.step_h, grid.step_w,
        grid.out_image, grid.out_row, grid.out_pixel, grid.out_first, grid.groups, grid.filters, grid.regions.rows,
        grid.regions.columns, cut.first_row, cut.band_rows, cut.images, cut.rows, cut.columns,
        cut.filters, len(np.unique(grid.taps[:, 0])), cut.tap_rows,
    ]  # fmt: skip
    return cut, np.array([*numbers, 0], np.int64), np.array([*numbers, grid.w_rows], np.int64)


@cpu_jit(inner=True)
def _pack_rows(thread, w, packed, rows, filters, groups, threads):
    """Every `threads`-th row of w (rows, filters) into packed (groups, blocks of filters, rows, filters of a block)."""
    wide, per_group = VECTORS * lanes(w), filters // groups
    pitch = (per_group + wide - 1) // wide * wide
    for row in range(thread, rows, threads):
        for group in range(groups):
            for k in range(0, per_group, wide):
                source, target = row * filters + group * per_group + k, (group * pitch + k) * rows + row * wide
                line = tile_load(tile_shape(1, VECTORS, True), at(w, source), 0, per_group - k)
                tile_store(line, at(packed, target), 0, wide)


@cpu_jit
def _pack(w, packed, rows, filters, groups, threads):
    parallel_for(_pack_rows, threads, (w, packed, rows, filters, groups, threads))


@cpu_jit(inner=True)
def copy_band(inp, image, images, in_h, in_w, groups, channels, first, rows, band):
    """Input rows first .. first + rows - 1, those that exist, of some images into band (groups, images, rows, in_w,
    channels), a pointer."""
    line, full, in_c = tile_shape(1, 1, True), tile_shape(1, 1, False), groups * channels
    for i in range(images):
        for row in range(max(0, -first), min(rows, in_h - first)):
            for w in range(in_w):
                source = at(inp, (((image + i) * in_h + first + row) * in_w + w) * in_c)
                for group in range(groups):
                    target = at(band, (((group * images + i) * rows + row) * in_w + w) * channels)
                    whole = channels // lanes(inp) * lanes(inp)
                    for c in range(0, whole, lanes(inp)):
                        tile_store(tile_load(full, at(source, group * channels + c), 0, 0), at(target, c), 0, 0)
                    if whole < channels:
                        rest = channels - whole
                        pixels = tile_load(line, at(source, group * channels + whole), 0, rest)
                        tile_store(pixels, at(target, whole), 0, rest)


@cpu_jit(inner=True)
def _tile(
    shape, x, w, w_step, runs, first, last, bias, y, gate, pixel, width, height,
    x_pixel, x_row, x_image, out_pixel, out_row, out_image, columns, fresh, final, gated, lowest, streamed,
):  # fmt: skip
    """One tile: pixels x filters of a region, from number `pixel` on, and its runs. x, y, gate point at the region's
    first pixel."""
    steps = (x_pixel, x_row, x_image, out_pixel, out_row, out_image)
    x_places, out_places = tile_places(shape, pixel, width, height, steps)
    sums = tile_row(shape, bias, columns)
    if not fresh:
        sums = tile_load(shape, y, out_places, columns)
    sums = tile_runs(sums, x, x_places, w, w_step, runs, first, last, columns)
    if final and gated:
        sums = tile_above(sums, tile_load(shape, gate, out_places, columns), lowest)
    elif final:
        sums = tile_floor(sums, lowest)
    if final and streamed:
        tile_stream(sums, y, out_places, columns)
    else:
        tile_store(sums, y, out_places, columns)


@cpu_jit(inner=True)
def _region(
    shape, x, w, w_step, runs, first, last, bias, y, gate, images, height, width,
    x_pixel, x_row, x_image, out_pixel, out_row, out_image, columns, fresh, final, gated, lowest, streamed, ahead,
):  # fmt: skip
    """images x height x width pixels that see the same taps, for one block of filters."""
    half, single = fewer_rows(shape, 2), fewer_rows(shape, ROWS)
    pixels, n = images * height * width, 0
    overlaps = fresh and final  # otherwise a tile adds to what is there, once
    while (
        pixels - n >= tile_rows(shape) or overlaps and pixels >= tile_rows(shape) and pixels - n > tile_rows(half) + 1
    ):
        n = min(n, pixels - tile_rows(shape))
        for i in range(n + tile_rows(shape), n + 2 * tile_rows(shape) if ahead > 0 else 0):
            for c in range(0, ahead, lanes(bias)):
                fetch(at(x, i * x_pixel + c))
        _tile(
            shape, x, w, w_step, runs, first, last, bias, y, gate, n, width, height,
            x_pixel, x_row, x_image, out_pixel, out_row, out_image, columns, fresh, final, gated, lowest, streamed,
        )  # fmt: skip
        n += tile_rows(shape)
    while pixels - n >= tile_rows(half) or overlaps and pixels >= tile_rows(half) and pixels - n > 1:
        n = min(n, pixels - tile_rows(half))
        _tile(
            half, x, w, w_step, runs, first, last, bias, y, gate, n, width, height,
            x_pixel, x_row, x_image, out_pixel, out_row, out_image, columns, fresh, final, gated, lowest, streamed,
        )  # fmt: skip
        n += tile_rows(half)
    while n < pixels:
        _tile(
            single, x, w, w_step, runs, first, last, bias, y, gate, n, width, height,
            x_pixel, x_row, x_image, out_pixel, out_row, out_image, columns, fresh, final, gated, lowest, streamed,
        )  # fmt: skip
        n += 1


@cpu_jit(inner=True)
def block(
    shape, x, x_pixel, x_row, x_image, w, w_step, edges, row_classes, column_classes, runs, bias, y, gate,
    out_pixel, out_row, out_image, images, row0, row1, column0, column1, columns, taps, tap_rows, gated, lowest,
    streamed, ahead,
):  # fmt: skip
    """Grid rows row0 .. row1 - 1 and columns column0 .. column1 - 1 of some images, for one block of filters, tap_rows
    rows of taps at a time. x, y, gate point at the grid's first pixel in the first of the images; ahead: channels to
    fetch of the pixels that follow a tile."""
    for tap in range(0, max(1, taps), tap_rows):
        for i in range(row_classes):
            top, bottom = max(row0, edges[3 * i]), min(row1, edges[3 * i + 3])
            low, high = max(tap, edges[3 * i + 1]), min(tap + tap_rows, edges[3 * i + 2])
            for j in range(row_classes + 1, row_classes + 1 + column_classes if top < bottom else 0):
                begin, end = max(column0, edges[3 * j]), min(column1, edges[3 * j + 3])
                if begin < end:
                    first, per_row = edges[3 * j + 1], edges[3 * j + 2]
                    x_first, out_first = top * x_row + begin * x_pixel, top * out_row + begin * out_pixel
                    _region(
                        shape, at(x, x_first), w, w_step, runs, first + low * per_row, first + high * per_row, bias,
                        at(y, out_first), at(gate, out_first), images, bottom - top, end - begin, x_pixel, x_row,
                        x_image, out_pixel, out_row, out_image, columns, tap == 0, tap + tap_rows >= taps, gated,
                        lowest, streamed, ahead,
                    )  # fmt: skip


@cpu_jit(inner=True)
def _thread(thread, inp, w, bias, out, gate, scratch, edges, runs, numbers, gated, lowest, streamed):
    """A share of the tasks: some grid rows of some images, a block of pixels of each, a block of filters.

    Neighbours go to one thread: what it writes here, it reads in the next layer.
    """
    (
        threads, images, in_h, in_w, in_c, grid_rows, columns, step_h, step_w, out_image, out_row, out_pixel, out_first,
        groups, filters, row_classes, column_classes, first_row, band_rows, image_block, row_block, column_block,
        filter_block, taps, tap_rows, packed_rows,
    ) = to_fixed_tuple(numbers, COUNT)  # fmt: skip
    bands = (grid_rows + row_block - 1) // row_block
    blocks = (columns + column_block - 1) // column_block
    wide, narrow = VECTORS * lanes(w), lanes(w)
    w_step = wide if packed_rows > 0 else filters
    channels, per_group = in_c // groups, filters // groups
    pitch = (per_group + wide - 1) // wide * wide
    x_pixel, x_row, x_image = step_w * channels, step_h * in_w * channels, in_h * in_w * channels
    band = at(scratch, thread * image_block * band_rows * in_w * in_c)
    if groups > 1:
        x_image = band_rows * in_w * channels
    ahead = channels if runs.size == 3 and groups == 1 else 0  # for a 1x1 convolution
    parts = (images + image_block - 1) // image_block * bands * blocks
    tasks = parts * ((per_group + filter_block - 1) // filter_block)
    for task in range(tasks * thread // threads, tasks * (thread + 1) // threads):
        part, first_k = task % parts, task // parts * filter_block
        image, row = part // (bands * blocks) * image_block, part // blocks % bands * row_block
        column, last_k = part % blocks * column_block, min(first_k + filter_block, per_group)
        count, row_end = min(image_block, images - image), min(row + row_block, grid_rows)
        target, column_end = out_first + image * out_image, min(column + column_block, columns)
        source = at(inp, image * x_image)
        if groups > 1:
            copy_band(inp, image, count, in_h, in_w, groups, channels, row * step_h + first_row, band_rows, band)
        for group in range(groups):
            if groups > 1:
                source = at(band, (group * count * band_rows - row * step_h - first_row) * in_w * channels)
            k = first_k
            while last_k - k >= wide:
                first = group * per_group + k
                place = (group * pitch + k) * packed_rows if packed_rows > 0 else first
                block(
                    tile_shape(ROWS, VECTORS, False), source, x_pixel, x_row, x_image, at(w, place), w_step,
                    at(edges, 0), row_classes, column_classes, at(runs, 0), at(bias, first), at(out, target + first),
                    at(gate, target + first), out_pixel, out_row, out_image, count, row, row_end, column, column_end,
                    0, taps, tap_rows, gated, lowest, streamed, ahead if k == first_k else 0,
                )  # fmt: skip
                k += wide
            whole = k
            while k < last_k:
                first = group * per_group + k
                place = (group * pitch + whole) * packed_rows + k - whole if packed_rows > 0 else first
                block(
                    tile_shape(ROWS, 1, True), source, x_pixel, x_row, x_image, at(w, place), w_step,
                    at(edges, 0), row_classes, column_classes, at(runs, 0), at(bias, first), at(out, target + first),
                    at(gate, target + first), out_pixel, out_row, out_image, count, row, row_end, column, column_end,
                    per_group - k, taps, tap_rows, gated, lowest, False, 0,
                )  # fmt: skip
                k += narrow
    if streamed:
        stream_end()


@cpu_jit
def _run(inp, w, bias, out, gate, scratch, edges, runs, numbers, gated, lowest, streamed):
    parallel_for(_thread, numbers[0], (inp, w, bias, out, gate, scratch, edges, runs, numbers, gated, lowest, streamed))
