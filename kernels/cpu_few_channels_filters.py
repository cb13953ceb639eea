"""First layers: the filters' gradient for images with one or a few channels; see cpu_few_channels.py.

The tile is that of the forward pass turned round: elements by filters, summed over the pixels, through the same two
tables. The bias is one element more, whose input is 1. Gradients of pooled outputs are spread over the pixels of their
windows first, a few windows at a time, in the level-1 cache.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from fastconv.kernels.cpu_chunks import add_chunks
from fastconv.kernels.cpu_few_channels import COUNT, Plan, copy_band, multiply_adds, numbers_of, plan_of
from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import (
    VECTOR_BYTES,
    VECTORS,
    at,
    lanes,
    tile_gathered,
    tile_load,
    tile_shape,
    tile_store,
    tile_zero,
)
from fastconv.kernels.cpu_windows import WINDOW, tile_of_winner
from fastconv.kernels.problem import ConvPool2DProblem

_SHORT, _TALL = (5, 6) if VECTOR_BYTES == 32 else (7, 10)  # rows of a tile: with 16 vector registers, or 32
_PASS_PIXELS = 112  # of the gradients that a pass sums: they stay in the level-1 cache
_CHUNKS = 16  # partial filters, if there is work for as many
_CHUNK_WORK = 1 << 19  # multiply-adds that are worth one


@dataclass(frozen=True)
class _FilterPlan:
    """plan: of the bands. height: rows of a tile. rows: the places of all tiles' rows in the band: the elements', that
    of the first over again to fill tiles, and at last the ones'. chunks: partial filters."""

    plan: Plan
    height: int
    rows: np.ndarray
    chunks: int


@functools.lru_cache(maxsize=1024)
def _filter_plan(problem) -> _FilterPlan:
    p = problem
    pooled = isinstance(p, ConvPool2DProblem)
    plan = plan_of(p, _PASS_PIXELS // WINDOW if pooled else _PASS_PIXELS)
    elements = len(plan.elements) + 1
    height = min((_SHORT, _TALL), key=lambda rows: -(-elements // rows) * rows)
    filling = -elements % height
    rows = np.concatenate([plan.elements, np.zeros(filling, np.int64), [plan.band_rows * plan.row]])
    chunks = max(1, min(p.N * plan.bands, _CHUNKS, multiply_adds(p) // _CHUNK_WORK))
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
    threads = threads_for(multiply_adds(problem))
    return (threads * (band + gradients) + _filter_plan(problem).chunks * sums) * problem.itemsize


@functools.lru_cache(maxsize=1024)
def _filter_numbers(problem, threads: int) -> np.ndarray:
    cut = _filter_plan(problem)
    band, gradients, sums = _filter_sizes(problem)
    return numbers_of(problem, cut.plan, threads, cut.height, len(cut.rows), cut.chunks, band, gradients, sums)


def sum_filters(problem, x, gy, winners, gw, gb, workspace) -> None:
    """gw and gb of the outputs' gradients, those of pooled outputs with their winners."""
    p, cut, threads = problem, _filter_plan(problem), threads_for(multiply_adds(problem))
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
    ) = to_fixed_tuple(numbers, COUNT)  # fmt: skip
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
            copy_band(x, image, first * row_step - top, needed, H, W, C, left, row, band)
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
