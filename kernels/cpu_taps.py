"""Direct convolution over a list of taps: the loop nest that conv2d and conv2d_backward_data share.

Both ops write, for each pixel (i, j) of a grid,

    out[i, j, k] = bias[k] + sum over taps t, channels c of
                   inp[i*step_h + tap_h[t], j*step_w + tap_w[t], c] * w[t, c, k]

where reading outside the image gives 0. Forward has one such grid; backward_data with a stride has one for each
phase of the input pixels modulo the stride. Taps that are neighbours both in the image and in the filter are merged
into one that is several pixels long, so that a 3x3 filter is three runs of 3*C contiguous elements.

Each thread takes bands of output rows, walks the filters in blocks of a few vectors and the pixels of a row in
tiles; a tile's sums stay in registers from the first tap to the last. The order of the sum for one output never
depends on the tile it falls into, so neither do its bits; what is left of a row may therefore be computed by a tile
that overlaps the one before. Taps above and below the image are left out. Where taps reach beyond its left or right
edge, the rows are copied with zeros at their ends into a scratch band first (about lanes/(S*K) of the work), and the
tile loop knows no edges.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import (
    MIDDLE,
    NARROW,
    WIDE,
    at,
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
MIDDLE_ROWS, MIDDLE_VECTORS = MIDDLE
NARROW_ROWS, NARROW_VECTORS = NARROW
_BAND_BYTES = 1 << 17  # of scratch rows and of output a task works on: half of a typical level-2 cache
_TASKS_PER_THREAD = 4


@dataclass(frozen=True, eq=False)
class Grid:
    """One grid of output pixels and the taps that feed it.

    images, in_h, in_w, in_c: the input (N, H, W, C). rows, columns: of the grid; step_h, step_w: input pixels from
    one grid pixel to the next. out_image, out_row, out_pixel: elements of the output between images, grid rows and
    grid pixels; out_first: where the
        grid's first pixel lies.
    taps: (tap_h, tap_w, offset into w, channels to sum), int64 (T, 4), tap_h not decreasing.
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

    @functools.cached_property
    def padding(self) -> tuple[int, int]:
        """Columns of zeros that the taps reach beyond the image, left and right."""
        tap_w = self.taps[:, 1]
        width = -(-self.taps[:, 3] // (self.in_c // self.groups))  # pixels a merged tap covers
        last_column = (self.columns - 1) * self.step_w
        beyond = (tap_w + width - 1 + last_column).max(initial=0) - (self.in_w - 1)
        return int(max(0, -tap_w.min(initial=0))), int(max(0, beyond))

    @functools.cached_property
    def multiply_adds(self) -> int:
        """Of the whole grid."""
        return self.images * self.rows * self.columns * self.filters * int(self.taps[:, 3].sum())


@dataclass(frozen=True)
class _Cut:
    """How a grid is cut into tasks: `threads`, grid `rows` and pixels (`columns`) of a task, input rows it may need
    (`band_rows`, the first of them `first_row` from its first), and bytes of scratch for all threads."""

    threads: int
    rows: int
    columns: int
    band_rows: int
    first_row: int
    scratch_bytes: int


@functools.lru_cache(maxsize=4096)
def _cut(grid: Grid, itemsize: int, threads: int) -> _Cut:
    left, right = grid.padding
    tap_h = grid.taps[:, 0] if len(grid.taps) else np.zeros(1, np.int64)
    input_row = (left + grid.in_w + right) * grid.in_c * itemsize
    tasks = threads * _TASKS_PER_THREAD
    wanted = -(-grid.images * grid.rows // tasks)
    rows = max(1, min(grid.rows, wanted, _BAND_BYTES // (grid.step_h * input_row)))
    band_rows = (rows - 1) * grid.step_h + int(np.ptp(tap_h)) + 1
    columns = grid.columns
    if grid.images * grid.rows < tasks and not (left or right):
        # A 1x1 convolution seen as one row of pixels: cut the row, so that all threads have work.
        columns = -(-columns // (tasks * WIDE_ROWS * 2)) * WIDE_ROWS * 2
    scratch = threads * band_rows * input_row if left or right else 0
    return _Cut(threads, rows, columns, band_rows, int(tap_h.min()), scratch)


def merge(taps: list[tuple[int, int, int, int]], channels: int, filters: int) -> np.ndarray:
    """The taps as an array, neighbours joined: the next pixel to the right and the next `channels` rows of the
    filter."""
    merged: list[list[int]] = []
    for tap_h, tap_w, offset, count in taps:
        if merged:
            last = merged[-1]
            pixels = last[3] // channels
            if (
                tap_h == last[0]
                and tap_w == last[1] + pixels
                and offset == last[2] + last[3] * filters
                and count == channels
            ):
                last[3] += count
                continue
        merged.append([tap_h, tap_w, offset, count])
    return np.array(merged, np.int64).reshape(-1, 4)


def workspace_bytes(grid: Grid, itemsize: int) -> int:
    """Scratch for the padded band of every thread."""
    return _cut(grid, itemsize, threads_for(grid.multiply_adds)).scratch_bytes


def convolve(grid: Grid, inp, w, bias, out, workspace, lowest: float) -> None:
    """Run a grid. inp, w, bias, out are flat; bias (filters,); results below `lowest` become `lowest`."""
    cut = _cut(grid, inp.itemsize, threads_for(grid.multiply_adds))
    left, right = grid.padding
    _run(
        inp, w, bias, out, workspace[: cut.scratch_bytes].view(inp.dtype), cut.threads,
        grid.images, grid.in_h, grid.in_w, grid.in_c, grid.rows, grid.columns, grid.step_h, grid.step_w,
        grid.out_image, grid.out_row, grid.out_pixel, grid.out_first, grid.taps.reshape(-1), grid.groups, grid.filters,
        bool(left or right), left, left + grid.in_w + right, cut.first_row, cut.band_rows, cut.rows, cut.columns,
        inp.dtype.type(lowest),
    )  # fmt: skip


@cpu_jit(inner=True)
def _copy_band(inp, image, first, count, in_h, width, scratch, start, left, stride):
    """Input rows first .. first+count that lie in the image, zeros at both ends, into the scratch band."""
    for h in range(max(0, first), min(in_h, first + count)):
        row = start + (h - first) * stride
        for j in range(left):
            scratch[row + j] = 0
        for j in range(width):
            scratch[row + left + j] = inp[image + h * width + j]
        for j in range(left + width, stride):
            scratch[row + j] = 0


@cpu_jit(inner=True)
def _tile(shape, x, row_stride, in_c, step, w, filters, taps, first, last, bias, y, out_pixel, columns, lowest):
    """One tile: pixels x filters, taps first .. last. x, w, taps, bias, y point at its first element."""
    sums = tile_row(shape, bias, columns)
    for t in range(first, last):
        a = at(x, taps[4 * t] * row_stride + taps[4 * t + 1] * in_c)
        b = at(w, taps[4 * t + 2])
        for c in range(taps[4 * t + 3]):
            sums = outer_fma(sums, at(a, c), step, at(b, c * filters), columns)
    tile_store(tile_floor(sums, lowest), y, out_pixel, columns)


@cpu_jit(inner=True)
def _block(
    shape, x, h0, in_h, row_stride, in_c, step_h, step_w, w, filters, taps, tap_count, bias,
    y, out_row, out_pixel, height, width, columns, lowest,
):  # fmt: skip
    """height x width pixels of one block of filters; x points at input row h0."""
    half = fewer_rows(shape, 2)
    single = fewer_rows(shape, 12)
    step = step_w * in_c
    for row in range(height):
        a, o = at(x, row * step_h * row_stride), at(y, row * out_row)
        h = h0 + row * step_h
        first, last = 0, tap_count
        while first < last and h + taps[4 * first] < 0:
            first += 1
        while last > first and h + taps[4 * last - 4] >= in_h:
            last -= 1
        q = 0
        while width - q >= tile_rows(shape):
            _tile(
                shape, at(a, q * step), row_stride, in_c, step, w, filters, taps, first, last, bias,
                at(o, q * out_pixel), out_pixel, columns, lowest,
            )  # fmt: skip
            q += tile_rows(shape)
        while q < width and width >= tile_rows(half):
            q = min(q, width - tile_rows(half))
            _tile(
                half, at(a, q * step), row_stride, in_c, step, w, filters, taps, first, last, bias,
                at(o, q * out_pixel), out_pixel, columns, lowest,
            )  # fmt: skip
            q += tile_rows(half)
        while q < width:
            _tile(
                single, at(a, q * step), row_stride, in_c, step, w, filters, taps, first, last, bias,
                at(o, q * out_pixel), out_pixel, columns, lowest,
            )  # fmt: skip
            q += 1


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
    wide, middle, narrow = WIDE_VECTORS * lanes(w), MIDDLE_VECTORS * lanes(w), NARROW_VECTORS * lanes(w)
    tap_count = taps.size // 4
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
            _copy_band(
                inp,
                image * in_h * in_w * in_c,
                h0,
                needed,
                in_h,
                in_w * in_c,
                scratch,
                start,
                left * in_c,
                row_stride,
            )
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
                    tile_shape(WIDE_ROWS, WIDE_VECTORS, False), at(source, first), row0 * step_h, in_h,
                    row_stride, in_c, step_h, step_w, at(w, k), filters, at(taps, 0), tap_count, at(bias, k),
                    at(out, target + k), out_row, out_pixel, height, width, 0, lowest,
                )  # fmt: skip
                k += wide
            while end - k >= middle:
                _block(
                    tile_shape(MIDDLE_ROWS, MIDDLE_VECTORS, False), at(source, first), row0 * step_h, in_h,
                    row_stride, in_c, step_h, step_w, at(w, k), filters, at(taps, 0), tap_count, at(bias, k),
                    at(out, target + k), out_row, out_pixel, height, width, 0, lowest,
                )  # fmt: skip
                k += middle
            while k < end:
                _block(
                    tile_shape(NARROW_ROWS, NARROW_VECTORS, True), at(source, first), row0 * step_h, in_h,
                    row_stride, in_c, step_h, step_w, at(w, k), filters, at(taps, 0), tap_count, at(bias, k),
                    at(out, target + k), out_row, out_pixel, height, width, end - k, lowest,
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
