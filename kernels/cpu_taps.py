"""Direct convolution over a list of taps: the loop nest that conv2d and conv2d_backward_data share.

Both ops write, for each pixel (i, j) of a grid,

    out[i, j, k] = bias[k] + sum over taps t and channels c of inp[i*step_h + tap_h[t], j*step_w + tap_w[t], c] * w[t, c, k]

where reading outside the image gives 0. Forward has one such grid; backward_data with a stride has one for each phase of
the input pixels modulo the stride. Taps that are neighbours both in the image and in the filter are merged into one that
is several pixels long, so that a 3x3 filter is three runs of 3*C contiguous elements.

Each thread takes bands of output rows, walks the filters in blocks of a few vectors and the pixels of a row in tiles;
a tile's sums stay in registers from the first tap to the last. The order of the sum for one output never depends on the
tile it falls into, so neither do its bits. Rows that reach into the padding are copied, with their zeros, into a
scratch band first: about 1/(S*K/lanes) of the work, and the tile loop knows no edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import get_num_threads

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for
from fastconv.kernels.cpu_simd import (
    NARROW,
    WIDE,
    fewer_rows,
    lanes,
    outer_fma,
    tile_floor,
    tile_row,
    tile_rows,
    tile_shape,
    tile_store,
)

WIDE_ROWS, WIDE_VECTORS = WIDE
NARROW_ROWS, NARROW_VECTORS = NARROW
_BAND_BYTES = 1 << 17  # of scratch rows and of output a task works on: half of a typical level-2 cache
_TASKS_PER_THREAD = 4


@dataclass(frozen=True)
class Grid:
    """One grid of output pixels and the taps that feed it.

    images, in_h, in_w, in_c: the input (N, H, W, C).
    rows, columns: of the grid; step_h, step_w: input pixels from one grid pixel to the next.
    out_image, out_row, out_pixel: elements of the output between images, grid rows and grid pixels; out_first: where the
        grid's first pixel lies.
    taps: (tap_h, tap_w, offset into w, channels to sum), int64 (T, 4).
    groups, filters: groups and the output's channels, all groups together.
    """

    images: int
    in_h: int
    in_w: int
    in_c: int
    rows: int
    columns: int
    step_h: int
    step_w: int
    out_image: int
    out_row: int
    out_pixel: int
    out_first: int
    taps: np.ndarray
    groups: int
    filters: int

    def padding(self) -> tuple[int, int, int, int]:
        """Rows and columns of zeros that the taps reach beyond the image: top, bottom, left, right."""
        tap_h, tap_w = self.taps[:, 0], self.taps[:, 1]
        width = -(-self.taps[:, 3] // (self.in_c // self.groups))  # pixels a merged tap covers
        last_row, last_column = (self.rows - 1) * self.step_h, (self.columns - 1) * self.step_w
        return (
            int(max(0, -tap_h.min(initial=0))),
            int(max(0, (tap_h + last_row).max(initial=0) - (self.in_h - 1))),
            int(max(0, -tap_w.min(initial=0))),
            int(max(0, (tap_w + width - 1 + last_column).max(initial=0) - (self.in_w - 1))),
        )


def merge(taps: list[tuple[int, int, int, int]], channels: int, filters: int) -> np.ndarray:
    """The taps as an array, neighbours joined: the next pixel to the right and the next `channels` rows of the filter."""
    merged: list[list[int]] = []
    for tap_h, tap_w, offset, count in taps:
        if merged:
            last = merged[-1]
            pixels = last[3] // channels
            if tap_h == last[0] and tap_w == last[1] + pixels and offset == last[2] + last[3] * filters and count == channels:
                last[3] += count
                continue
        merged.append([tap_h, tap_w, offset, count])
    return np.array(merged, np.int64).reshape(-1, 4)


def workspace_bytes(grid: Grid, itemsize: int) -> int:
    """Scratch for the padded band of every thread."""
    top, bottom, left, right = grid.padding()
    if not (top or bottom or left or right):
        return 0
    return get_num_threads() * _band_rows(grid, itemsize)[1] * (left + grid.in_w + right) * grid.in_c * itemsize


def _band_rows(grid: Grid, itemsize: int) -> tuple[int, int]:
    """Grid rows a task takes, and the padded input rows they need."""
    top, bottom, left, right = grid.padding()
    reach = int(np.ptp(grid.taps[:, 0])) + 1 if len(grid.taps) else 1
    input_row = grid.step_h * (left + grid.in_w + right) * grid.in_c * itemsize
    wanted = -(-grid.images * grid.rows // (_TASKS_PER_THREAD * get_num_threads()))
    rows = max(1, min(grid.rows, wanted, _BAND_BYTES // max(1, input_row)))
    return rows, (rows - 1) * grid.step_h + reach


def convolve(grid: Grid, inp, w, bias, out, workspace, lowest: float) -> None:
    """Run a grid. inp, w, bias, out are flat; bias (filters,); results below `lowest` become `lowest`."""
    itemsize = inp.itemsize
    top, bottom, left, right = grid.padding()
    padded = bool(top or bottom or left or right)
    rows, band_rows = _band_rows(grid, itemsize)
    band_h0 = int(grid.taps[:, 0].min()) if len(grid.taps) else 0
    pixels_wide = left + grid.in_w + right
    threads = get_num_threads()
    scratch = workspace[: threads * band_rows * pixels_wide * grid.in_c * itemsize] if padded else workspace[:0]
    # A long row (a 1x1 convolution seen as one row of pixels) is cut so that all threads have work.
    column_block = grid.columns
    if grid.images * grid.rows < threads * _TASKS_PER_THREAD and not padded:
        column_block = -(-grid.columns // (threads * _TASKS_PER_THREAD * WIDE_ROWS * 2)) * WIDE_ROWS * 2
    _run(
        inp, w, bias, out, scratch.view(inp.dtype), threads,
        grid.images, grid.in_h, grid.in_w, grid.in_c, grid.rows, grid.columns, grid.step_h, grid.step_w,
        grid.out_image, grid.out_row, grid.out_pixel, grid.out_first, grid.taps, grid.groups, grid.filters,
        padded, left, pixels_wide, band_h0, band_rows, rows, column_block, inp.dtype.type(lowest),
    )  # fmt: skip


@cpu_jit(inner=True)
def _copy_band(inp, image, first, count, in_h, width, scratch, start, left, stride):
    """Input rows first .. first+count, with zeros where they lie outside the image, into the scratch band."""
    for i in range(count):
        row = start + i * stride
        h = first + i
        inside = 0 <= h < in_h
        for j in range(left if inside else stride):
            scratch[row + j] = 0
        if inside:
            for j in range(width):
                scratch[row + left + j] = inp[image + h * width + j]
            for j in range(left + width, stride):
                scratch[row + j] = 0


@cpu_jit(inner=True)
def _block(
    shape, inp, origin, in_row, in_c, step_h, step_w,
    w, k, filters, bias, out, target, out_row, out_pixel, taps, height, width, columns, lowest,
):  # fmt: skip
    """height x width pixels of one block of filters: full tiles, then a third of the rows, then single pixels."""
    third = fewer_rows(shape, 3)
    single = fewer_rows(shape, 12)
    for row in range(height):
        start, place = origin + row * step_h * in_row, target + row * out_row
        done = 0
        while width - done >= tile_rows(shape):
            _tile(
                shape, inp, start + done * step_w * in_c, in_row, in_c, step_w * in_c,
                w, k, filters, bias, out, place + done * out_pixel, out_pixel, taps, columns, lowest,
            )  # fmt: skip
            done += tile_rows(shape)
        while width - done >= tile_rows(third):
            _tile(
                third, inp, start + done * step_w * in_c, in_row, in_c, step_w * in_c,
                w, k, filters, bias, out, place + done * out_pixel, out_pixel, taps, columns, lowest,
            )  # fmt: skip
            done += tile_rows(third)
        while done < width:
            _tile(
                single, inp, start + done * step_w * in_c, in_row, in_c, step_w * in_c,
                w, k, filters, bias, out, place + done * out_pixel, out_pixel, taps, columns, lowest,
            )  # fmt: skip
            done += 1


@cpu_jit(inner=True)
def _tile(
    shape, inp, start, in_row, in_c, step, w, k, filters, bias, out, target, out_pixel, taps, columns, lowest
):
    """One tile: pixels x filters, all taps."""
    sums = tile_row(shape, bias, k, columns)
    for t in range(taps.shape[0]):
        a = start + taps[t, 0] * in_row + taps[t, 1] * in_c
        b = taps[t, 2] + k
        for c in range(taps[t, 3]):
            sums = outer_fma(sums, inp, a + c, step, w, b + c * filters, columns)
    tile_store(tile_floor(sums, lowest), out, target, out_pixel, columns)


@cpu_jit(inner=True)
def _thread(
    thread, inp, w, bias, out, scratch, threads,
    images, in_h, in_w, in_c, grid_rows, columns, step_h, step_w,
    out_image, out_row, out_pixel, out_first, taps, groups, filters,
    padded, left, pixels_wide, band_h0, band_rows, rows, column_block, lowest,
):  # fmt: skip
    """Every `threads`-th task: `rows` grid rows of one image, `column_block` pixels of each, all filters."""
    bands = (grid_rows + rows - 1) // rows
    blocks = (columns + column_block - 1) // column_block
    wide = WIDE_VECTORS * lanes(w)
    narrow = NARROW_VECTORS * lanes(w)
    for task in range(thread, images * bands * blocks, threads):
        image, band, block = task // (bands * blocks), task // blocks % bands, task % blocks
        row0, column0 = band * rows, block * column_block
        height, width = min(rows, grid_rows - row0), min(column_block, columns - column0)
        target = out_first + image * out_image + row0 * out_row + column0 * out_pixel
        if padded:
            source, row_stride = scratch, pixels_wide * in_c
            start = thread * band_rows * row_stride
            h0 = row0 * step_h + band_h0
            needed = band_rows - (rows - height) * step_h
            _copy_band(inp, image * in_h * in_w * in_c, h0, needed, in_h, in_w * in_c, scratch, start, left * in_c, row_stride)
            origin = start + left * in_c - band_h0 * row_stride
        else:
            source, row_stride = inp, in_w * in_c
            origin = ((image * in_h + row0 * step_h) * in_w + column0 * step_w) * in_c
        for group in range(groups):
            first = origin + group * (in_c // groups)
            k = group * (filters // groups)
            end = k + filters // groups
            while end - k >= wide:
                _block(
                    tile_shape(WIDE_ROWS, WIDE_VECTORS, False), source, first, row_stride, in_c, step_h, step_w,
                    w, k, filters, bias, out, target + k, out_row, out_pixel, taps, height, width, 0, lowest,
                )  # fmt: skip
                k += wide
            while k < end:
                _block(
                    tile_shape(NARROW_ROWS, NARROW_VECTORS, True), source, first, row_stride, in_c, step_h, step_w,
                    w, k, filters, bias, out, target + k, out_row, out_pixel, taps, height, width, end - k, lowest,
                )  # fmt: skip
                k += narrow


@cpu_jit
def _run(
    inp, w, bias, out, scratch, threads,
    images, in_h, in_w, in_c, grid_rows, columns, step_h, step_w,
    out_image, out_row, out_pixel, out_first, taps, groups, filters,
    padded, left, pixels_wide, band_h0, band_rows, rows, column_block, lowest,
):  # fmt: skip
    parallel_for(
        _thread,
        threads,
        (
            inp, w, bias, out, scratch, threads,
            images, in_h, in_w, in_c, grid_rows, columns, step_h, step_w,
            out_image, out_row, out_pixel, out_first, taps, groups, filters,
            padded, left, pixels_wide, band_h0, band_rows, rows, column_block, lowest,
        ),
    )  # fmt: skip
