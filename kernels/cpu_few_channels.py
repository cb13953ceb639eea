"""First layers: convolution of images with one or a few channels, forward and for the filters.

With C of 1 to 4 there is little to sum for one output, R*S*C numbers, and they lie in short runs: tiles that walk along
runs (cpu_taps.py) spend their time on beginning them. Here the pixels of a tile and the numbers it sums lie anywhere:
two tables of offsets, one for the places of the filter's elements and one for those of the windows, say where. Forward
a tile is pixels by filters and sums over elements; for the filters' gradient it is elements by filters and sums over
pixels, and the bias is one element more, whose input is 1.

Since pixels may lie anywhere, those of a pooling window lie side by side in a tile. Their maximum is taken in registers
and the convolution's output is never written; going back, the gradients of a few windows are spread over their pixels
in the level-1 cache. A band of input rows is copied with zeros at its edges first.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.unsafe.ndarray import to_fixed_tuple

from fastconv.kernels.cpu_chunks import add_chunks
from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import (
    VECTOR_BYTES,
    VECTORS,
    Tile,
    TileShape,
    _in_rows,
    _rows_of,
    _splat,
    _tile_of,
    _vector_type,
    at,
    lanes,
    tile_floor,
    tile_gathered,
    tile_load,
    tile_row,
    tile_shape,
    tile_store,
    tile_zero,
)
from fastconv.kernels.cpu_windows import tile_of_winner
from fastconv.kernels.problem import ConvPool2DProblem

WINDOW = 4  # pixels of a pooling window, 2 by 2
# Rows of a tile: with 16 vector registers, or 32.
_PIXELS, _HEIGHTS = (4, (5, 6)) if VECTOR_BYTES == 32 else (8, (7, 10))
_SHORT, _TALL = _HEIGHTS
_MOST_ELEMENTS = 160  # R*S*C: more are better read in runs
_BAND_BYTES = 1 << 14  # of a band of the input: a part of the level-1 cache
_PASS_PIXELS = 112  # of the gradients that a pass sums: they stay in the level-1 cache
_CHUNKS = 16  # partial filters, if there is work for as many
_CHUNK_WORK = 1 << 19  # multiply-adds that are worth one
_COUNT = 24  # of the numbers that the compiled code is handed


def unsupported(problem) -> str | None:
    """Why a problem is none for these kernels, or None."""
    p = problem
    if p.groups != 1:
        return "groups must be 1"
    if p.R * p.S * p.C > _MOST_ELEMENTS:
        return f"R * S * C must be {_MOST_ELEMENTS} at most"
    if isinstance(p, ConvPool2DProblem) and (p.pool_h, p.pool_w) != (2, 2):
        return "pooling windows must be 2x2"
    _, rows, columns, _ = p.y_shape
    return None if rows * columns >= _PIXELS else f"an image of the output must have {_PIXELS} pixels"


def pays(problem) -> bool:
    """Whether the runs of the filter's elements are so short that tiles should not walk along them."""
    return problem.S * problem.C < 6


def pays_for_memory(problem) -> bool:
    """The same where other kernels would write and read more: the convolution's output, or what elements see."""
    return problem.S * problem.C < 32


@dataclass(frozen=True)
class _Plan:
    """How a problem is cut.

    window: pixels of the convolution that make one output: `WINDOW` or 1. bands: of an image's rows of outputs, equal
    but for one row. band_rows: input rows of the largest; row: elements of one, with its padding. pixels: for each
    pixel of each output of a band the place of its first tap in the band. elements: for each element (r, s, c) of the
    filter its place from there.
    """

    window: int
    bands: int
    band_rows: int
    row: int
    pixels: np.ndarray
    elements: np.ndarray


def _plan(problem, most_outputs: int) -> _Plan:
    p = problem
    pool = (p.pool_h, p.pool_w) if isinstance(p, ConvPool2DProblem) else (1, 1)
    _, rows, columns, _ = p.y_shape
    row = (p.W + p.pad_left + p.pad_right) * p.C
    fitting = min(_BAND_BYTES // (pool[0] * p.stride_h * row * p.itemsize), most_outputs // columns)
    taken = max(-(-_PIXELS // columns), fitting, 1)
    bands = max(1, rows // taken)
    largest = -(-rows // bands)
    r, s, c = np.ogrid[: p.R, : p.S, : p.C]
    elements = r * p.dilation_h * row + s * p.dilation_w * p.C + c
    y, x, v, u = np.ogrid[:largest, :columns, : pool[0], : pool[1]]
    pixels = (y * pool[0] + v) * p.stride_h * row + (x * pool[1] + u) * p.stride_w * p.C
    band_rows = (largest * pool[0] - 1) * p.stride_h + (p.R - 1) * p.dilation_h + 1
    return _Plan(
        pool[0] * pool[1], bands, band_rows, row, pixels.reshape(-1).astype(np.int64),
        elements.reshape(-1).astype(np.int64),
    )  # fmt: skip


def _numbers(problem, plan: _Plan, threads: int, *more: int) -> np.ndarray:
    """All that compiled code must know besides arrays, int64."""
    p = problem
    _, rows, columns, K = p.y_shape
    pool_h = p.pool_h if isinstance(p, ConvPool2DProblem) else 1
    numbers = [
        threads, p.N, p.H, p.W, p.C, rows, columns, K, pool_h * p.stride_h, p.pad_top, p.pad_left, plan.window,
        plan.bands, plan.band_rows, plan.row, plan.band_rows * plan.row, len(plan.elements), *more,
    ]  # fmt: skip
    return np.array(numbers + [0] * (_COUNT - len(numbers)), np.int64)


# Forward.


@functools.lru_cache(maxsize=1024)
def _forward_plan(problem) -> _Plan:
    return _plan(problem, 1 << 12)


def _multiply_adds(problem) -> int:
    return problem.flops // 2


def forward_bytes(problem) -> int:
    """Of a band for each thread."""
    plan = _forward_plan(problem)
    return threads_for(_multiply_adds(problem)) * plan.band_rows * plan.row * problem.itemsize


@functools.lru_cache(maxsize=1024)
def _forward_numbers(problem, threads: int) -> np.ndarray:
    return _numbers(problem, _forward_plan(problem), threads)


def convolve(problem, x, w, bias, y, winners, workspace, relu: bool) -> None:
    """y = convolution, or the maxima of its windows and their winners, where those are not None."""
    plan, threads = _forward_plan(problem), threads_for(_multiply_adds(problem))
    bias = np.zeros(problem.K, y.dtype) if bias is None else bias
    flat, number = y.reshape(-1), x.dtype.type
    _convolve(
        x.reshape(-1), w.reshape(-1), bias, flat, flat[:0] if winners is None else winners.reshape(-1),
        workspace[: forward_bytes(problem)].view(x.dtype), plan.pixels, plan.elements,
        _forward_numbers(problem, threads), number(0 if relu else -np.inf), number(0 if relu else np.nan),
    )  # fmt: skip


@cpu_jit(inner=True)
def _copy_band(x, image, first_h, rows, H, W, C, left, row, band):
    """Rows first_h .. of an image with zeros beyond its edges; band: a pointer, `row` elements from row to row."""
    width, begin = W * C, left * C
    for i in range(rows):
        h, target = first_h + i, at(band, i * row)
        if 0 <= h < H:
            for j in range(begin):
                target[j] = 0
            line = (image * H + h) * width
            for j in range(width):
                target[begin + j] = x[line + j]
            for j in range(begin + width, row):
                target[j] = 0
        else:
            for j in range(row):
                target[j] = 0


@intrinsic
def _windows_best(typingctx, tile, lowest, low):
    """(maxima, winners) of the windows of 2x2 pixels that a tile's rows are, four after four: maxima below `lowest`
    become it, and where they are at most `low` the winner is -1."""
    pooled = Tile(TileShape(tile.shape.rows // WINDOW, tile.shape.vectors, tile.shape.masked), tile.dtype)
    result = types.UniTuple(pooled, 2)

    def codegen(context, builder, signature, args):
        rows = _rows_of(builder, tile.shape, args[0])
        vector = _vector_type(tile.dtype)
        floor, limit = (_splat(builder, number, vector.count) for number in args[1:])

        def constant(number):
            return ir.Constant(vector, [float(number)] * vector.count)

        def larger(x, y):
            return builder.select(builder.fcmp_ordered(">", x, y), x, y)

        found = []
        for first in range(0, len(rows), WINDOW):
            for a, b, c, d in zip(*rows[first : first + WINDOW], strict=True):
                nan = builder.or_(builder.fcmp_unordered("uno", a, b), builder.fcmp_unordered("uno", c, d))
                best = builder.select(nan, constant(math.nan), larger(larger(a, b), larger(c, d)))
                winner = constant(3)
                for number, pixel in ((2, c), (1, b), (0, a)):
                    winner = builder.select(builder.fcmp_unordered("==", pixel, best), constant(number), winner)
                winner = builder.select(builder.fcmp_ordered("<=", best, limit), constant(-1), winner)
                found.append((builder.select(builder.fcmp_ordered("<", best, floor), floor, best), winner))
        tiles = [_tile_of(context, builder, pooled, _in_rows(part, pooled.shape)) for part in zip(*found, strict=True)]
        return context.make_tuple(builder, result, tiles)

    return result(tile, tile.dtype, tile.dtype), codegen


@cpu_jit(inner=True)
def _outputs(shape, x, pixels, elements, size, window, w, bias, y, winners, found, K, columns, lowest, low):
    """A tile of outputs; pixels: a pointer to those of its first."""
    sums = tile_gathered(tile_row(shape, bias, columns), x, pixels, elements, w, K, size, columns)
    if window == 1:
        tile_store(tile_floor(sums, lowest), y, K, columns)
    else:
        best, winner = _windows_best(sums, lowest, low)
        tile_store(best, y, K, columns)
        if found:
            tile_store(winner, winners, K, columns)


@cpu_jit(inner=True)
def _convolve_thread(thread, x, w, bias, y, winners, scratch, pixels, elements, numbers, lowest, low):
    """A share of the bands of all images: neighbours, for what is written here is read in the next layer."""
    (
        threads, N, H, W, C, rows, columns, K, row_step, top, left, window, bands, band_rows, row, band_size, size,
        _, _, _, _, _, _, _,
    ) = to_fixed_tuple(numbers, _COUNT)  # fmt: skip
    band, found, wide, step = at(scratch, thread * band_size), winners.size > 0, VECTORS * lanes(x), _PIXELS // window
    tasks = N * bands
    for task in range(tasks * thread // threads, tasks * (thread + 1) // threads):
        image, number = task // bands, task % bands
        first, last = rows * number // bands, rows * (number + 1) // bands
        needed = band_rows - ((rows + bands - 1) // bands - (last - first)) * row_step
        _copy_band(x, image, first * row_step - top, needed, H, W, C, left, row, band)
        count = (last - first) * columns
        place = (image * rows + first) * columns
        for k in range(0, K, wide):
            done = 0
            while done < count:
                output = min(done, count - step)  # the last tile overlaps the one before
                o = (place + output) * K + k
                _outputs(
                    tile_shape(_PIXELS, VECTORS, True), band, at(pixels, output * window), at(elements, 0), size,
                    window, at(w, k), at(bias, k), at(y, o), at(winners, o), found, K, K - k, lowest, low,
                )  # fmt: skip
                done += step


@cpu_jit
def _convolve(x, w, bias, y, winners, scratch, pixels, elements, numbers, lowest, low):
    parallel_for(
        _convolve_thread, numbers[0], (x, w, bias, y, winners, scratch, pixels, elements, numbers, lowest, low)
    )


# The filters' gradient.


@dataclass(frozen=True)
class _FilterPlan:
    """plan: of the bands. height: rows of a tile. rows: the places of all tiles' rows in the band: the elements', that
    of the first over again to fill tiles, and at last the ones'. chunks: partial filters."""

    plan: _Plan
    height: int
    rows: np.ndarray
    chunks: int


@functools.lru_cache(maxsize=1024)
def _filter_plan(problem) -> _FilterPlan:
    p = problem
    pooled = isinstance(p, ConvPool2DProblem)
    plan = _plan(p, _PASS_PIXELS // WINDOW if pooled else _PASS_PIXELS)
    elements = len(plan.elements) + 1
    height = min(_HEIGHTS, key=lambda rows: -(-elements // rows) * rows)
    filling = -elements % height
    rows = np.concatenate([plan.elements, np.zeros(filling, np.int64), [plan.band_rows * plan.row]])
    chunks = max(1, min(p.N * plan.bands, _CHUNKS, _multiply_adds(p) // _CHUNK_WORK))
    return _FilterPlan(plan, height, rows.astype(np.int64), chunks)


def _filter_sizes(problem) -> tuple[int, int, int]:
    """Elements of a thread's band and ones, of its gradients, and of a chunk's sums; whole lines of 64 bytes."""
    p, cut = problem, _filter_plan(problem)
    line = 64 // p.itemsize
    pixels = len(cut.plan.pixels)
    band = cut.plan.band_rows * cut.plan.row + int(cut.plan.pixels.max(initial=0)) + 1
    gradients = pixels * VECTORS * VECTOR_BYTES // p.itemsize if cut.plan.window > 1 else 0
    return -(-band // line) * line, gradients, len(cut.rows) * p.K


def filter_bytes(problem) -> int:
    """Of all threads' scratch and all chunks' sums."""
    band, gradients, sums = _filter_sizes(problem)
    threads = threads_for(_multiply_adds(problem))
    return (threads * (band + gradients) + _filter_plan(problem).chunks * sums) * problem.itemsize


@functools.lru_cache(maxsize=1024)
def _filter_numbers(problem, threads: int) -> np.ndarray:
    cut = _filter_plan(problem)
    band, gradients, sums = _filter_sizes(problem)
    return _numbers(problem, cut.plan, threads, cut.height, len(cut.rows), cut.chunks, band, gradients, sums)


def sum_filters(problem, x, gy, winners, gw, gb, workspace) -> None:
    """gw and gb of the outputs' gradients, those of pooled outputs with their winners."""
    p, cut, threads = problem, _filter_plan(problem), threads_for(_multiply_adds(problem))
    band, gradients, sums = _filter_sizes(p)
    memory = workspace[: filter_bytes(p)].view(x.dtype)
    partial = memory[threads * (band + gradients) :]
    flat = gw.reshape(-1)
    _sum_filters(
        x.reshape(-1), gy.reshape(-1), gy.reshape(-1) if winners is None else winners.reshape(-1), partial, memory,
        cut.plan.pixels, cut.rows, _filter_numbers(p, threads),
    )  # fmt: skip
    add_chunks(partial, flat, flat[:0] if gb is None else gb, cut.chunks, gw.size, p.K, threads_for(partial.size))


@cpu_jit(inner=True)
def _spread(gy, winners, count, K, columns, out):
    """out (count, WINDOW, columns of a tile): each pixel's gradient, that of its window where it is the winner."""
    shape, wide = tile_shape(1, VECTORS, True), VECTORS * lanes(gy)
    for output in range(count):
        gradient = tile_load(shape, at(gy, output * K), 0, columns)
        winner = tile_load(shape, at(winners, output * K), 0, columns)
        for number in range(WINDOW):
            place = at(out, (output * WINDOW + number) * wide)
            tile_store(tile_of_winner(gradient, winner, number), place, 0, wide)


@cpu_jit(inner=True)
def _add_outer(shape, fresh, x, rows, pixels, gy, gy_pixel, count, sums, K, columns):
    """A tile of filter elements by filters, plus what `count` pixels give."""
    total = tile_zero(shape, sums)
    if not fresh:
        total = tile_load(shape, sums, K, columns)
    total = tile_gathered(total, x, rows, pixels, gy, gy_pixel, count, columns)
    tile_store(total, sums, K, columns)


@cpu_jit(inner=True)
def _filters_thread(thread, x, gy, winners, partial, scratch, pixels, element_rows, numbers):
    """A share of the chunks."""
    (
        threads, N, H, W, C, rows, columns, K, row_step, top, left, window, bands, band_rows, row, band_size, _,
        height, tall, chunks, ones_size, gradients_size, sums_size, _,
    ) = to_fixed_tuple(numbers, _COUNT)  # fmt: skip
    band, wide = at(scratch, thread * (ones_size + gradients_size)), VECTORS * lanes(x)
    gradients = at(band, ones_size)
    for i in range(band_size, ones_size):
        band[i] = 1
    tasks = N * bands
    for chunk in range(chunks * thread // threads, chunks * (thread + 1) // threads):
        sums, begin = at(partial, chunk * sums_size), tasks * chunk // chunks
        for i in range(sums_size if tasks == 0 else 0):
            sums[i] = 0
        for task in range(begin, tasks * (chunk + 1) // chunks):
            image, number = task // bands, task % bands
            first, last = rows * number // bands, rows * (number + 1) // bands
            needed = band_rows - ((rows + bands - 1) // bands - (last - first)) * row_step
            _copy_band(x, image, first * row_step - top, needed, H, W, C, left, row, band)
            count, place = (last - first) * columns, (image * rows + first) * columns * K
            for k in range(0, K, wide):
                source, step = at(gy, place + k), K
                if window > 1:
                    _spread(source, at(winners, place + k), count, K, K - k, gradients)
                    source, step = gradients, wide
                for e in range(0, tall, height):
                    target = at(sums, e * K + k)
                    if height == _SHORT:
                        _add_outer(
                            tile_shape(_SHORT, VECTORS, True), task == begin, band, at(element_rows, e), at(pixels, 0),
                            source, step, count * window, target, K, K - k,
                        )  # fmt: skip
                    else:
                        _add_outer(
                            tile_shape(_TALL, VECTORS, True), task == begin, band, at(element_rows, e), at(pixels, 0),
                            source, step, count * window, target, K, K - k,
                        )  # fmt: skip


@cpu_jit
def _sum_filters(x, gy, winners, partial, scratch, pixels, element_rows, numbers):
    parallel_for(_filters_thread, numbers[0], (x, gy, winners, partial, scratch, pixels, element_rows, numbers))
