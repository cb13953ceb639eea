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
tile loop knows no edges. With groups, a band holds the channels of each group apart: side by side, the pixels of a tile
do not compete for the same few lines of the level-1 cache, as they do a power of two apart.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
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
    tile_product,
    tile_row,
    tile_rows,
    tile_shape,
    tile_store,
)

_BAND_BYTES = 1 << 18  # of scratch rows that a task copies: a part of a typical level-2 cache
_INPUT_BYTES = 1 << 17  # of input that a task reads where it lies
_TASKS_PER_THREAD = 4
COUNT = 23  # of the numbers that the compiled code is handed
_PACKED_FILTERS = 64  # so many and fewer lie close enough together as they are
_PACKED_PIXELS = 256  # fewer are not worth packing filters for


@dataclass(frozen=True, eq=False)
class Grid:
    """One grid of output pixels and the taps that feed it.

    images, in_h, in_w, in_c: the input (N, H, W, C). rows, columns: of the grid; step_h, step_w: input pixels from
    one grid pixel to the next. out_image, out_row, out_pixel: elements of the output between images, grid rows and
    grid pixels; out_first: where the grid's first pixel lies.
    taps: (tap_h, tap_w, row of w, channels to sum), int64 (T, 4), tap_h not decreasing; w has w_rows rows of all
        groups' filters. groups, filters: groups and the output's channels, all groups together.
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
    w_rows: int
    groups: int
    filters: int

    @functools.cached_property
    def padding(self) -> tuple[int, int]:
        """Columns of zeros that the taps reach beyond the image, left and right."""
        tap_w = self.taps[:, 1]
        beyond = tap_w.max(initial=0) + (self.columns - 1) * self.step_w - (self.in_w - 1)
        return int(max(0, -tap_w.min(initial=0))), int(max(0, beyond))

    @functools.cached_property
    def runs(self) -> np.ndarray:
        """The taps, neighbours joined: the next pixel to the right and the next rows of the filter; each with the
        pixels it covers, int64 (T, 5)."""
        runs: list[list[int]] = []
        for tap_h, tap_w, row, count in self.taps.tolist():
            if runs:
                last = runs[-1]
                if [tap_h, tap_w, row] == [last[0], last[1] + last[3] // count, last[2] + last[3]]:
                    last[3] += count
                    last[4] += 1
                    continue
            runs.append([tap_h, tap_w, row, count, 1])
        return np.array(runs, np.int64).reshape(-1, 5)

    @property
    def copied(self) -> bool:
        """Whether rows are copied into a band."""
        return self.groups > 1 or any(self.padding)

    @functools.cached_property
    def multiply_adds(self) -> int:
        """Of the whole grid."""
        return self.images * self.rows * self.columns * self.filters * int(self.taps[:, 3].sum())


@dataclass(frozen=True)
class _Cut:
    """How a grid is cut into tasks: `threads`, grid `rows` and pixels (`columns`) of a task, input rows it may need
    (`band_rows`, the first of them `first_row` from its first), and bytes of scratch: for packed filters (0 if they are
    not) and for all threads' bands."""

    threads: int
    rows: int
    columns: int
    band_rows: int
    first_row: int
    packed_bytes: int
    band_bytes: int


@functools.lru_cache(maxsize=4096)
def _cut(grid: Grid, itemsize: int, threads: int) -> _Cut:
    left, right = grid.padding
    tap_h = grid.taps[:, 0] if len(grid.taps) else np.zeros(1, np.int64)
    input_row = max(1, left + grid.in_w + right) * grid.in_c * itemsize  # a batch of none may have no pixels
    tasks = threads * _TASKS_PER_THREAD
    wanted = -(-grid.images * grid.rows // tasks)
    rows = max(1, min(grid.rows, wanted, (_BAND_BYTES if grid.copied else _INPUT_BYTES) // (grid.step_h * input_row)))
    band_rows = (rows - 1) * grid.step_h + int(np.ptp(tap_h)) + 1
    columns = grid.columns
    if not grid.copied and rows == 1:
        # A 1x1 convolution seen as one row of pixels: cut the row, so that all threads have work and what they read of
        # the input stays in the cache for all filters.
        fitting = _INPUT_BYTES // (grid.in_c * itemsize * grid.step_w)
        columns = min(columns, max(2 * ROWS, min(fitting, -(-columns * grid.images * grid.rows // tasks))))
        columns = -(-columns // ROWS) * ROWS
    bands = threads * band_rows * input_row if grid.copied else 0
    return _Cut(threads, rows, columns, band_rows, int(tap_h.min()), packed_bytes(grid, itemsize), bands)


def packed_bytes(grid: Grid, itemsize: int) -> int:
    """Of filters in blocks of a register tile's columns, so that a tile reads them one line after the other; 0 where
    they are used as they lie."""
    pixels = grid.images * grid.rows * grid.columns
    if grid.filters <= _PACKED_FILTERS or pixels < _PACKED_PIXELS:
        return 0
    wide = VECTORS * VECTOR_BYTES // itemsize
    return grid.w_rows * grid.groups * -(-grid.filters // grid.groups // wide) * wide * itemsize


def workspace_bytes(grid: Grid, itemsize: int) -> int:
    """Scratch for packed filters and for the padded band of every thread."""
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
        inp, w, bias, out, out if gate is None else gate, memory[size:], grid.runs.reshape(-1),
        blocked if packed else numbers, gate is not None, inp.dtype.type(lowest),
    )  # fmt: skip


@functools.lru_cache(maxsize=4096)
def cut_and_numbers(grid: Grid, itemsize: int, threads: int) -> tuple[_Cut, np.ndarray, np.ndarray]:
    """The cut, and all that `_run` must know besides arrays, for filters in rows and in blocks: int64, because one
    array is handed over in less time than two dozen numbers."""
    cut = _cut(grid, itemsize, threads)
    left, right = grid.padding
    numbers = [
        cut.threads, grid.images, grid.in_h, grid.in_w, grid.in_c, grid.rows, grid.columns, grid.step_h, grid.step_w,
        grid.out_image, grid.out_row, grid.out_pixel, grid.out_first, grid.groups, grid.filters,
        int(grid.copied), left, left + grid.in_w + right, cut.first_row, cut.band_rows, cut.rows, cut.columns,
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
def _copy_row(inp, source, in_w, groups, channels, band_row, scratch, target, left, pixels):
    """One input row with zeros at both ends. band_row: elements of scratch from group to group."""
    line, inside, end = tile_shape(1, 1, True), left * channels, (left + in_w) * channels
    for group in range(groups):
        begin = target + group * band_row
        for j in range(begin, begin + inside):
            scratch[j] = 0
        for j in range(begin + end, begin + pixels * channels):
            scratch[j] = 0
    if groups == 1:
        for j in range(in_w * channels):
            scratch[target + inside + j] = inp[source + j]
    else:
        for w in range(in_w):
            for group in range(groups):
                pixel = target + group * band_row + inside + w * channels
                for j in range(0, channels, lanes(inp)):
                    part = tile_load(line, at(inp, source + (w * groups + group) * channels + j), 0, channels - j)
                    tile_store(part, at(scratch, pixel + j), 0, channels - j)


@cpu_jit(inner=True)
def copy_band(
    inp, image, h0, first, span, taps, in_h, in_w, groups, channels, scratch, start, left, pixels, rows
):  # fmt: skip
    """What grid rows from input row h0 on, `span` input rows of them, see of the image, into the scratch band (groups,
    rows, pixels, channels), whose first row is h0 + first. Rows between the taps are left as they are."""
    row_size, done = pixels * channels, 0
    for t in range(taps.size // 5):
        tap_h = taps[5 * t] - first
        for row in range(max(done, tap_h), tap_h + span):
            h = h0 + first + row
            if 0 <= h < in_h:
                source = image + h * in_w * groups * channels
                _copy_row(
                    inp, source, in_w, groups, channels, rows * row_size, scratch, start + row * row_size, left, pixels
                )  # fmt: skip
            done = row + 1


@cpu_jit(inner=True)
def _tile(
    shape, x, row_stride, in_c, step, w, w_step, taps, first, last, from_w, to_w, bias, y, gate, out_pixel, columns,
    gated, lowest,
):  # fmt: skip
    """One tile: pixels x filters, taps first .. last, but those that end before from_w or begin after to_w: they see
    nothing of the image. x, w, taps, bias, y, gate point at its first element."""
    sums = tile_row(shape, bias, columns)
    for t in range(first, last):
        if from_w < taps[5 * t + 1] + taps[5 * t + 4] and taps[5 * t + 1] <= to_w:
            a = at(x, taps[5 * t] * row_stride + taps[5 * t + 1] * in_c)
            sums = tile_product(sums, a, step, 1, at(w, taps[5 * t + 2] * w_step), w_step, taps[5 * t + 3], columns)
    if gated:
        sums = tile_above(sums, tile_load(shape, gate, out_pixel, columns), lowest)
    else:
        sums = tile_floor(sums, lowest)
    tile_store(sums, y, out_pixel, columns)


@cpu_jit(inner=True)
def block(
    shape, x, h0, w0, in_h, in_w, row_stride, in_c, step_h, step_w, w, w_step, taps, tap_count, bias,
    y, gate, out_row, out_pixel, height, width, columns, gated, lowest,
):  # fmt: skip
    """height x width pixels of one block of filters; x points at row h0, column w0 of
    the input."""
    half, single = fewer_rows(shape, 2), fewer_rows(shape, ROWS)
    step = step_w * in_c
    for row in range(height):
        a = at(x, row * step_h * row_stride)
        h = h0 + row * step_h
        first, last = 0, tap_count
        while first < last and h + taps[5 * first] < 0:
            first += 1
        while last > first and h + taps[5 * last - 5] >= in_h:
            last -= 1
        q = 0
        while width - q >= tile_rows(shape):
            o = row * out_row + q * out_pixel
            _tile(
                shape, at(a, q * step), row_stride, in_c, step, w, w_step, taps, first, last,
                -w0 - (q + tile_rows(shape) - 1) * step_w, in_w - 1 - w0 - q * step_w, bias,
                at(y, o), at(gate, o), out_pixel, columns, gated, lowest,
            )  # fmt: skip
            q += tile_rows(shape)
        while q < width and width >= tile_rows(half):
            q = min(q, width - tile_rows(half))
            o = row * out_row + q * out_pixel
            _tile(
                half, at(a, q * step), row_stride, in_c, step, w, w_step, taps, first, last,
                -w0 - (q + tile_rows(half) - 1) * step_w, in_w - 1 - w0 - q * step_w, bias,
                at(y, o), at(gate, o), out_pixel, columns, gated, lowest,
            )  # fmt: skip
            q += tile_rows(half)
        while q < width:
            o = row * out_row + q * out_pixel
            _tile(
                single, at(a, q * step), row_stride, in_c, step, w, w_step, taps, first, last,
                -w0 - q * step_w, in_w - 1 - w0 - q * step_w, bias,
                at(y, o), at(gate, o), out_pixel, columns, gated, lowest,
            )  # fmt: skip
            q += 1


@cpu_jit(inner=True)
def _thread(thread, inp, w, bias, out, gate, scratch, taps, numbers, gated, lowest):
    """A share of the tasks: `rows` grid rows of one image, `column_block` pixels of each, all filters.

    Neighbours go to one thread: what it writes here, it reads in the next layer.
    """
    (
        threads, images, in_h, in_w, in_c, grid_rows, columns, step_h, step_w,
        out_image, out_row, out_pixel, out_first, groups, filters,
        copied, left, pixels_wide, band_h0, band_rows, rows, column_block, packed_rows,
    ) = to_fixed_tuple(numbers, COUNT)  # fmt: skip
    bands = (grid_rows + rows - 1) // rows
    blocks = (columns + column_block - 1) // column_block
    wide, narrow = VECTORS * lanes(w), lanes(w)
    w_step = wide if packed_rows > 0 else filters
    channels, per_group = in_c // groups, filters // groups
    pitch = (per_group + wide - 1) // wide * wide
    tap_count = taps.size // 5
    tasks = images * bands * blocks
    for task in range(tasks * thread // threads, tasks * (thread + 1) // threads):
        image, band, column = task // (bands * blocks), task // blocks % bands, task % blocks * column_block
        row0 = band * rows
        height, width = min(rows, grid_rows - row0), min(column_block, columns - column)
        target = out_first + image * out_image + row0 * out_row + column * out_pixel
        start = thread * band_rows * pixels_wide * in_c
        if copied > 0:
            copy_band(
                inp, image * in_h * in_w * in_c, row0 * step_h, band_h0, (height - 1) * step_h + 1, taps, in_h, in_w,
                groups, channels, scratch, start, left, pixels_wide, band_rows,
            )  # fmt: skip
        for group in range(groups):
            if copied > 0:
                row_stride = pixels_wide * channels
                source = at(scratch, start + left * channels + (group * band_rows - band_h0) * row_stride)
            else:
                row_stride = in_w * channels
                source = at(inp, ((image * in_h + row0 * step_h) * in_w + column * step_w) * channels)
            k = 0
            while per_group - k >= wide:
                first = group * per_group + k
                place = (group * pitch + k) * packed_rows if packed_rows > 0 else first
                block(
                    tile_shape(ROWS, VECTORS, False), source, row0 * step_h, column * step_w, in_h, in_w,
                    row_stride, channels, step_h, step_w, at(w, place), w_step, at(taps, 0), tap_count,
                    at(bias, first), at(out, target + first), at(gate, target + first), out_row, out_pixel,
                    height, width, 0, gated, lowest,
                )  # fmt: skip
                k += wide
            whole = k
            while k < per_group:
                first = group * per_group + k
                place = (group * pitch + whole) * packed_rows + k - whole if packed_rows > 0 else first
                block(
                    tile_shape(ROWS, 1, True), source, row0 * step_h, column * step_w, in_h, in_w,
                    row_stride, channels, step_h, step_w, at(w, place), w_step, at(taps, 0), tap_count,
                    at(bias, first), at(out, target + first), at(gate, target + first), out_row, out_pixel,
                    height, width, per_group - k, gated, lowest,
                )  # fmt: skip
                k += narrow


@cpu_jit
def _run(inp, w, bias, out, gate, scratch, taps, numbers, gated, lowest):
    parallel_for(_thread, numbers[0], (inp, w, bias, out, gate, scratch, taps, numbers, gated, lowest))
