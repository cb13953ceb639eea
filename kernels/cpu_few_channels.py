"""First layers: convolution of images with one or a few channels.

With C of 1 to 4 there is little to sum for one output, R*S*C numbers, and they lie in short runs: tiles that walk along
runs (cpu_taps.py) spend their time on beginning them. Here the pixels of a tile and the numbers it sums lie anywhere:
two tables of offsets, one for the places of the filter's elements and one for those of the windows, say where. A tile
is pixels by filters and sums over elements. Its gradient is in cpu_few_channels_filters.py.

Since pixels may lie anywhere, those of a pooling window lie side by side in a tile: their maximum is taken in registers
and the convolution's output is never written. A band of input rows is copied with zeros at its edges first.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import (
    VECTOR_BYTES,
    VECTORS,
    at,
    lanes,
    tile_floor,
    tile_gathered,
    tile_row,
    tile_shape,
    tile_store,
)
from fastconv.kernels.cpu_windows import tile_windows
from fastconv.kernels.problem import ConvPool2DProblem

_PIXELS = 4 if VECTOR_BYTES == 32 else 8  # of a tile: with 16 vector registers, or 32
_MOST_ELEMENTS = 160  # R*S*C: more are better read in runs
_BAND_BYTES = 1 << 14  # of a band of the input: a part of the level-1 cache
COUNT = 24  # of the numbers that the compiled code is handed


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
    return problem.R * problem.S > 1 and problem.S * problem.C < 32


@dataclass(frozen=True)
class Plan:
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


def plan_of(problem, most_outputs: int) -> Plan:
    """The bands, of so many outputs at most, and what they see."""
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
    return Plan(
        pool[0] * pool[1], bands, band_rows, row, pixels.reshape(-1).astype(np.int64),
        elements.reshape(-1).astype(np.int64),
    )  # fmt: skip


def numbers_of(problem, plan: Plan, threads: int, *more: int) -> np.ndarray:
    """All that compiled code must know besides arrays, int64."""
    p = problem
    _, rows, columns, K = p.y_shape
    pool_h = p.pool_h if isinstance(p, ConvPool2DProblem) else 1
    numbers = [
        threads, p.N, p.H, p.W, p.C, rows, columns, K, pool_h * p.stride_h, p.pad_top, p.pad_left, plan.window,
        plan.bands, plan.band_rows, plan.row, plan.band_rows * plan.row, len(plan.elements), *more,
    ]  # fmt: skip
    return np.array(numbers + [0] * (COUNT - len(numbers)), np.int64)


@functools.lru_cache(maxsize=1024)
def _forward_plan(problem) -> Plan:
    return plan_of(problem, 1 << 12)


def multiply_adds(problem) -> int:
    """Those of a problem, and a few comparisons."""
    return problem.flops // 2


def forward_bytes(problem) -> int:
    """Of a band for each thread."""
    plan = _forward_plan(problem)
    return threads_for(multiply_adds(problem)) * plan.band_rows * plan.row * problem.itemsize


@functools.lru_cache(maxsize=1024)
def _forward_numbers(problem, threads: int) -> np.ndarray:
    return numbers_of(problem, _forward_plan(problem), threads)


def convolve(problem, x, w, bias, y, winners, workspace, relu: bool) -> None:
    """y = convolution, or the maxima of its windows and their winners, where those are not None."""
    plan, threads = _forward_plan(problem), threads_for(multiply_adds(problem))
    bias = np.zeros(problem.K, y.dtype) if bias is None else bias
    flat, number = y.reshape(-1), x.dtype.type
    _convolve(
        x.reshape(-1), w.reshape(-1), bias, flat, flat[:0] if winners is None else winners.reshape(-1),
        workspace[: forward_bytes(problem)].view(x.dtype), plan.pixels, plan.elements,
        _forward_numbers(problem, threads), number(0 if relu else -np.inf), number(0 if relu else np.nan),
    )  # fmt: skip


@cpu_jit(inner=True)
def copy_band(x, image, first_h, rows, H, W, C, left, row, band):
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


@cpu_jit(inner=True)
def _outputs(shape, x, pixels, elements, size, window, w, bias, y, winners, found, K, columns, lowest, low):
    """A tile of outputs; pixels: a pointer to those of its first."""
    sums = tile_gathered(tile_row(shape, bias, columns), x, pixels, elements, w, K, size, columns)
    if window == 1:
        tile_store(tile_floor(sums, lowest), y, K, columns)
    else:
        best, winner = tile_windows(sums, lowest, low)
        tile_store(best, y, K, columns)
        if found:
            tile_store(winner, winners, K, columns)


@cpu_jit(inner=True)
def _convolve_thread(thread, x, w, bias, y, winners, scratch, pixels, elements, numbers, lowest, low):
    """A share of the bands of all images: neighbours, for what is written here is read in the next layer."""
    (
        threads, N, H, W, C, rows, columns, K, row_step, top, left, window, bands, band_rows, row, band_size, size,
        _, _, _, _, _, _, _,
    ) = to_fixed_tuple(numbers, COUNT)  # fmt: skip
    band, found, wide, step = at(scratch, thread * band_size), winners.size > 0, VECTORS * lanes(x), _PIXELS // window
    tasks = N * bands
    for task in range(tasks * thread // threads, tasks * (thread + 1) // threads):
        image, number = task // bands, task % bands
        first, last = rows * number // bands, rows * (number + 1) // bands
        needed = band_rows - ((rows + bands - 1) // bands - (last - first)) * row_step
        copy_band(x, image, first * row_step - top, needed, H, W, C, left, row, band)
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
