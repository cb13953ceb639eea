"""backward_filter in register tiles: filter elements stay in registers while the pixels stream past.

The forward tile turned round: rows are neighbouring elements (r, s, c) of gw, columns a block of filters, and each
pixel adds the outer product of its inputs and its gradients. A pass takes a few hundred pixels. What a tile's rows
see of them is copied into a panel (pixels, rows) first, zeros where that is beyond the image: the tile then reads line
after line, whatever the stride and the padding, and the panel serves all filters. Rows of pixels that see nothing of
the image are left out. With groups, what a pass sees of a group's channels is copied side by side before.

A task sums a share of gw that fits the level-2 cache. Where the shares are too few to go round, the passes are split
into chunks too, by the problem alone; each chunk sums into a filter of its own, and the chunks are then added in order,
so the thread count changes no bit. Limited by FLOPs, with few filters by copying the panels; reaches 60 to 87% of the
measured limit on ResNet-50's layers.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from fastconv.kernels.cpu_chunks import add_chunks
from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import (
    ROWS,
    VECTOR_BYTES,
    VECTORS,
    at,
    fewer_rows,
    lanes,
    tile_load,
    tile_product,
    tile_rows,
    tile_shape,
    tile_store,
    tile_zero,
)
from fastconv.kernels.problem import Conv2DProblem
from fastconv.kernels.registry import kernel

_TASKS = 16  # chunks of passes times shares of the filter, if there is work for as many
_TASK_WORK = 1 << 19  # multiply-adds that are worth a task
_SHARE_BYTES = 1 << 18  # of gw that a task sums: they stay in the level-2 cache
_CHUNK_MOVES = 10  # of a filter's elements are worth a chunk: its sums are written, read and added, and threads wait
_CHUNK_PIXELS = 256  # at least, or its sums take longer to write than to make
_SHARE_PANELS = 8  # at least, since each share packs all gradients
_PASS_PIXELS, _FEW_PIXELS = 448, 112  # that a pass sums, at most and, if there are as many, at least
_PASS_BYTES = 1 << 18  # of x and gy that a pass takes, unless it sums the fewest pixels: they stay in the level-2 cache
_PACKED_FILTERS = 64  # so many and fewer lie close enough together as they are
_COUNT = 26  # of the numbers that the compiled code is handed


@dataclass(frozen=True)
class _Plan:
    """How a problem is cut.

    segments: (row of the panel, tap_h, first element relative to a pixel's own in its row of x, length), int64 (T, 4),
        tap_h not decreasing: neighbours in x that are neighbours in a panel. first_segment: of each panel of a group,
        and their end. panels: of a group. chunks: partial filters. shares: of the panels of all groups. images, rows:
        of y, taken by a pass. packed: elements of gy that a pass packs, 0 if it does not. band: elements of x that it
        copies for a group, 0 if there is one.
    """

    segments: np.ndarray
    first_segment: np.ndarray
    panels: int
    chunks: int
    shares: int
    images: int
    rows: int
    packed: int
    band: int


@functools.lru_cache(maxsize=1024)
def _plan(problem: Conv2DProblem) -> _Plan:
    p = problem
    channels, filters = p.C // p.groups, p.K // p.groups
    merges = p.groups == 1 and p.dilation_w == 1
    run = p.S * channels if merges else channels  # elements of gw that are neighbours in x
    elements = p.R * p.S * channels
    panels = -(-elements // ROWS)
    segments: list[tuple[int, int, int, int]] = []
    first_segment: list[int] = []
    for panel in range(panels):
        first_segment.append(len(segments))
        begin, end = panel * ROWS, min(elements, (panel + 1) * ROWS)
        while begin < end:
            r, rest = divmod(begin, p.S * channels)
            s, c = divmod(rest, channels)
            length = min(end, (begin // run + 1) * run) - begin
            segments.append((begin - panel * ROWS, r * p.dilation_h, s * p.dilation_w * channels + c, length))
            begin += length
    first_segment.append(len(segments))
    tasks = max(1, min(_TASKS, p.flops // 2 // _TASK_WORK))
    data_size = p.N * (p.H * p.W * p.C + p.P * p.Q * p.K)
    most_chunks = max(1, p.N * p.P * p.Q // _CHUNK_PIXELS)
    shares, chunks = _cut(tasks, most_chunks, elements * p.K, data_size, p.itemsize, panels * p.groups)
    pixel_bytes = (p.stride_h * p.stride_w * channels + filters) * p.itemsize
    pixels = max(_FEW_PIXELS, min(_PASS_PIXELS, _PASS_BYTES // pixel_bytes, p.N * p.P * p.Q // chunks))
    rows = max(1, min(p.P, pixels // p.Q))
    images = max(1, min(p.N, pixels // (p.P * p.Q)))
    passes = -(-p.N // images) * -(-p.P // rows)
    chunks = max(1, min(passes, chunks))
    wide = VECTORS * VECTOR_BYTES // p.itemsize
    packs = p.groups > 1 or p.K > _PACKED_FILTERS
    packed = images * rows * p.Q * -(-filters // wide) * wide if packs else 0
    in_rows = min(p.H, (rows - 1) * p.stride_h + (p.R - 1) * p.dilation_h + 1)
    band = images * in_rows * p.W * channels if p.groups > 1 else 0
    return _Plan(
        np.array(segments, np.int64), np.array(first_segment, np.int64), panels, chunks, shares, images, rows, packed,
        band,
    )  # fmt: skip


def _cut(tasks: int, most_chunks: int, filter_size: int, data_size: int, itemsize: int, panels: int) -> tuple[int, int]:
    """Shares and chunks, so many tasks or more if there can be, that move least: each share reads all data, each chunk
    writes a filter, which is read and written again."""
    most = -(-panels // _SHARE_PANELS)
    least = min(most, -(-filter_size * itemsize // _SHARE_BYTES))
    most = max(least, min(most, tasks))
    cuts = [(shares, min(most_chunks, -(-tasks // shares))) for shares in range(least, most + 1)]
    enough = [cut for cut in cuts if cut[0] * cut[1] >= tasks]
    return min(enough or cuts[-1:], key=lambda cut: cut[0] * data_size + _CHUNK_MOVES * cut[1] * filter_size)


def _threads(problem: Conv2DProblem) -> int:
    return threads_for(problem.flops // 2)


def _scratch(problem: Conv2DProblem) -> int:
    """Elements of one thread's packed gradients, panel and band; lines of 64 bytes."""
    plan = _plan(problem)
    line = 64 // problem.itemsize
    return -(-(plan.packed + plan.images * plan.rows * problem.Q * ROWS + plan.band) // line) * line


def _partial(problem: Conv2DProblem) -> int:
    """Elements of a chunk's sums: gw in whole panels of rows, then the bias."""
    return (_plan(problem).panels * ROWS + 1) * problem.K


def workspace_bytes(problem: Conv2DProblem) -> int:
    return (_plan(problem).chunks * _partial(problem) + _threads(problem) * _scratch(problem)) * problem.itemsize


@kernel(limited_by="FLOPs: one fused multiply-add a lane and cycle", workspace_bytes=workspace_bytes)
def cpu_direct(problem, x, gy, gw, gb, workspace):
    p, plan = problem, _plan(problem)
    memory = workspace[: workspace_bytes(p)].view(x.dtype)
    scratch = _threads(p) * _scratch(p)
    sums, flat_gw = memory[scratch:], gw.reshape(-1)
    biases = sums[_partial(p) - p.K :]
    alone = plan.chunks == 1 and plan.panels * ROWS * p.K == gw.size  # nothing to add up or to cut off
    if alone:
        sums, biases = flat_gw, biases if gb is None else gb
    _run(
        x.reshape(-1), np.ones(1, x.dtype), gy.reshape(-1), sums, biases, memory[:scratch],
        plan.segments.reshape(-1), plan.first_segment, _numbers(p, _threads(p)),
    )  # fmt: skip
    if not alone:
        bias = flat_gw[:0] if gb is None else gb
        add_chunks(sums, flat_gw, bias, plan.chunks, gw.size, p.K, threads_for(plan.chunks * gw.size))


@functools.lru_cache(maxsize=1024)
def _numbers(problem: Conv2DProblem, threads: int) -> np.ndarray:
    """All that `_run` must know besides arrays, int64."""
    p, plan = problem, _plan(problem)
    return np.array(
        [
            threads, p.N, p.H, p.W, p.C, p.P, p.Q, p.K, p.stride_h, p.stride_w, p.pad_top, p.pad_left,
            p.R * p.S * p.C // p.groups, p.groups, p.C // p.groups, p.K // p.groups, plan.panels, plan.chunks,
            plan.shares, plan.images, plan.rows, plan.packed, _scratch(p), _partial(p), ROWS,
            (p.R - 1) * p.dilation_h + 1,
        ],
        np.int64,
    )  # fmt: skip


@cpu_jit(inner=True)
def _tile(shape, fresh, panel, pitch, gy, gy_pixel, pixels, gw, K, columns):
    """rows x filters of gw, plus all pixels of a pass. panel, gy, gw point at the tile's first element."""
    sums = tile_zero(shape, gw)
    if not fresh:
        sums = tile_load(shape, gw, K, columns)
    sums = tile_product(sums, panel, 1, pitch, gy, gy_pixel, pixels, columns)
    tile_store(sums, gw, K, columns)


@cpu_jit(inner=True)
def _sum(rows, fresh, panel, pitch, gy, gy_pixel, gy_block, pixels, gw, K, filters):
    """`rows` rows of a panel x all filters of its group. gy_block: elements of gy from block to block."""
    full, narrow = tile_shape(ROWS, VECTORS, False), tile_shape(ROWS, 1, True)
    half = fewer_rows(tile_shape(ROWS, VECTORS, True), 2)
    wide, k = VECTORS * lanes(gw), 0
    while k < filters:
        place = at(gy, k // wide * gy_block + k % wide)
        if rows <= tile_rows(half):
            _tile(half, fresh, panel, pitch, place, gy_pixel, pixels, at(gw, k), K, filters - k)
            k += wide
        elif filters - k >= wide:
            _tile(full, fresh, panel, pitch, place, gy_pixel, pixels, at(gw, k), K, 0)
            k += wide
        else:
            _tile(narrow, fresh, panel, pitch, place, gy_pixel, pixels, at(gw, k), K, filters - k)
            k += lanes(gw)


@cpu_jit(inner=True)
def _add_gradients(one, gy, K, pixels, filters, bias):
    """Add `pixels` pixels of gy to the bias, with products by `one`."""
    for k in range(0, filters, VECTORS * lanes(gy)):
        shape, columns = tile_shape(1, VECTORS, True), filters - k
        sums = tile_load(shape, at(bias, k), 0, columns)
        sums = tile_product(sums, at(one, 0), 0, 0, at(gy, k), K, pixels, columns)
        tile_store(sums, at(bias, k), 0, columns)


@cpu_jit(inner=True)
def _zeros(target, length):
    shape, step = tile_shape(1, 1, True), lanes(target)
    for part in range(0, length, step):
        tile_store(tile_zero(shape, target), at(target, part), 0, length - part)


@cpu_jit(inner=True)
def _edge(x, row, offset, width, length, target):
    """`length` elements of x from `offset` on in the row of `width` that begins at `row`: 0 where they lie beyond."""
    if offset + length <= 0 or offset >= width:
        _zeros(target, length)
    else:
        for j in range(length):
            target[j] = x[row + offset + j] if 0 <= offset + j < width else 0


@cpu_jit(inner=True)
def _copy(x, image, images, p, rows, H, W, C, Q, stride_h, stride_w, top, first, segments, begin, end, panel, pitch):
    """What the segments begin .. end - 1 see of the pixels of a pass: panel (pixels, pitch). first: the first pixel's
    first element, relative to its row of x. x, panel: pointers."""
    shape, width, step = tile_shape(1, 1, True), W * C, stride_w * C
    for segment in range(begin, end):
        row, tap_h = segments[4 * segment], segments[4 * segment + 1]
        start, length = first + segments[4 * segment + 2], segments[4 * segment + 3]
        low = min(Q, max(0, (step - 1 - start) // step))
        high = max(low, min(Q, (width - length - start) // step + 1))
        for i in range(images):
            for j in range(rows):
                h = (p + j) * stride_h - top + tap_h
                target = at(panel, (i * rows + j) * Q * pitch + row)
                if 0 <= h < H:
                    line = ((image + i) * H + h) * width
                    for q in range(low):
                        _edge(x, line, start + q * step, width, length, at(target, q * pitch))
                    for q in range(low, high):
                        for part in range(0, length, lanes(x)):
                            elements = tile_load(shape, at(x, line + start + q * step + part), 0, length - part)
                            tile_store(elements, at(target, q * pitch + part), 0, length - part)
                    for q in range(high, Q):
                        _edge(x, line, start + q * step, width, length, at(target, q * pitch))
                else:
                    for q in range(Q):
                        _zeros(at(target, q * pitch), length)


@cpu_jit(inner=True)
def _copy_group(x, images, rows, image, W, C, channels, band):
    """`channels` channels of so many rows of several images, `image` apart: band (images, rows, W, channels)."""
    line = tile_shape(1, 1, True)
    for i in range(images):
        for pixel in range(rows * W):
            source, target = at(x, i * image + pixel * C), at(band, (i * rows * W + pixel) * channels)
            for c in range(0, channels, lanes(x)):
                tile_store(tile_load(line, at(source, c), 0, channels - c), at(target, c), 0, channels - c)


@cpu_jit(inner=True)
def _pack(gy, first, pixels, K, filters, packed):
    """`filters` filters of `pixels` pixels of gy from element `first` on, in blocks of a register tile's: packed
    (blocks, pixels, filters of a block)."""
    wide = VECTORS * lanes(gy)
    for pixel in range(pixels):
        for k in range(0, filters, wide):
            row = tile_load(tile_shape(1, VECTORS, True), at(gy, first + pixel * K + k), 0, filters - k)
            tile_store(row, at(packed, k * pixels + pixel * wide), 0, wide)


@cpu_jit(inner=True)
def _thread(thread, x, one, gy, sums, biases, scratch, segments, first_segment, numbers):
    """A share of the pairs of a chunk and a share of the panels."""
    (
        threads, N, H, W, C, P, Q, K, stride_h, stride_w, top, left, elements, groups, channels, filters, panels,
        chunks, shares, pass_images, pass_rows, packed, size, chunk_size, pitch, extent,
    ) = to_fixed_tuple(numbers, _COUNT)  # fmt: skip
    wide = VECTORS * lanes(x)
    gradients, panel_place = at(scratch, thread * size), at(scratch, thread * size + packed)
    band = at(panel_place, pass_images * pass_rows * Q * pitch)
    row_passes = (P + pass_rows - 1) // pass_rows
    passes = (N + pass_images - 1) // pass_images * row_passes
    tasks = chunks * shares
    for task in range(tasks * thread // threads, tasks * (thread + 1) // threads):
        chunk, share = task // shares, task % shares
        base = chunk * chunk_size
        begin, end = passes * chunk // chunks, passes * (chunk + 1) // chunks
        first_panel, last_panel = panels * groups * share // shares, panels * groups * (share + 1) // shares
        for k in range(K if first_panel == 0 else 0):
            biases[base + k] = 0
        if begin == end:
            sums[base : base + chunk_size - K] = 0
        for number in range(begin, end):
            image, p = number // row_passes * pass_images, number % row_passes * pass_rows
            images, rows = min(pass_images, N - image), min(pass_rows, P - p)
            fresh, pixels, gradient = number == begin, images * rows * Q, (image * P + p) * Q * K
            if first_panel == 0:
                _add_gradients(one, at(gy, gradient), K, pixels, K, at(biases, base))
            for group in range(first_panel // panels, (last_panel + panels - 1) // panels):
                if packed > 0:
                    _pack(gy, gradient + group * filters, pixels, K, filters, gradients)
                    b, gy_pixel, gy_block = gradients, wide, pixels * wide
                else:
                    b, gy_pixel, gy_block = at(gy, gradient + group * filters), K, wide
                source, first_image, height, first_h = at(x, 0), image, H, 0
                if groups > 1:
                    first_h = max(0, p * stride_h - top)
                    source, first_image = band, 0
                    height = max(0, min(H, (p + rows - 1) * stride_h - top + extent) - first_h)
                    _copy_group(
                        at(x, (image * H + first_h) * W * C + group * channels), images, height, H * W * C, W, C,
                        channels, band,
                    )  # fmt: skip
                for panel in range(max(0, first_panel - group * panels), min(panels, last_panel - group * panels)):
                    first, last = first_segment[panel], first_segment[panel + 1]
                    begin_row, end_row = 0, rows
                    if images == 1:
                        h = p * stride_h - top
                        while begin_row < end_row and h + begin_row * stride_h + segments[4 * last - 3] < 0:
                            begin_row += 1
                        while end_row > begin_row and h + (end_row - 1) * stride_h + segments[4 * first + 1] >= H:
                            end_row -= 1
                    seen = images * (end_row - begin_row) * Q
                    _copy(
                        source, first_image, images, p + begin_row, end_row - begin_row, height, W, channels, Q,
                        stride_h, stride_w, top + first_h, -left * channels, segments, first, last, panel_place, pitch,
                    )  # fmt: skip
                    gw, g = at(sums, base + panel * pitch * K + group * filters), at(b, begin_row * Q * gy_pixel)
                    _sum(
                        elements - panel * pitch, fresh, panel_place, pitch, g, gy_pixel, gy_block, seen, gw, K, filters
                    )  # fmt: skip


@cpu_jit
def _run(x, one, gy, sums, biases, scratch, segments, first_segment, numbers):
    parallel_for(_thread, numbers[0], (x, one, gy, sums, biases, scratch, segments, first_segment, numbers))
