"""Winograd's products with the tiles as what is summed over: the filter's gradient, a quarter of the multiplications.

Differs from cpu_direct: the 36 products of a tile take the place of 144, and the sums over pixels become sums over
tiles, transformed back to 3x3 at the end. The images are split into chunks that depend on the problem alone; each
chunk makes a filter of its own, and the chunks are then added in order, so the thread count changes no bit. The bias
costs nothing: the point (1, 1) of a tile of gy is the sum of its pixels. Limited by FLOPs of the products.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from fastconv.kernels import cpu_winograd as winograd
from fastconv.kernels.cpu_chunks import add_chunks
from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import VECTORS, at, lanes
from fastconv.kernels.cpu_winograd import PATCH, POINTS
from fastconv.kernels.cpu_winograd_transforms import (
    FILTER_GRADIENT_PATCH,
    GRADIENT_PATCH,
    INPUT_PATCH,
    spread_patch,
    transform,
)
from fastconv.kernels.registry import kernel

_LEAST_BLOCK = 56  # tiles: fewer would read and write the sums, which may lie in memory, too often
_TASKS = 8  # chunks of tiles times groups of filters, at most: work for as many threads
_CHUNK_WORK = 1 << 23  # multiply-adds that are worth a chunk: each has its sums to transform and to add
_BLOCK_BYTES = 1 << 20  # of a block's points: a typical level-2 cache


@dataclass(frozen=True)
class _Plan:
    """How a problem is cut: `chunks` of its `tiles`, `block` tiles transformed together, `group` filters at a time.

    pitch_x: elements from tile to tile of the points of x; step_x, step_y, step_sums: from point to point.
    """

    tiling: tuple[int, int, int, int]
    tiles: int
    chunks: int
    block: int
    group: int
    pitch_x: int
    step_x: int
    step_y: int
    step_sums: int

    @property
    def scratch_elements(self):
        """Of one thread."""
        return POINTS * (self.step_x + self.step_y + self.step_sums)


@functools.lru_cache(maxsize=1024)
def _plan(problem):
    p = problem
    tiles = winograd.tile_count(p)
    wide = winograd.columns_of(p.itemsize)
    columns = winograd.up(p.K, wide)
    group = min(columns, 2 * wide)
    pitch = winograd.pitch_of(p.C, p.itemsize)
    block = max(_LEAST_BLOCK, _BLOCK_BYTES // (POINTS * (pitch + group) * p.itemsize))
    groups = -(-columns // group)
    work = tiles * POINTS * p.C * columns // _CHUNK_WORK
    tasks = min(_TASKS, max(2, 1 << work.bit_length() - 1)) if work else 2
    chunks = max(1, min(tiles, -(-tasks // groups)))
    block = min(block, max(1, -(-tiles // chunks)))
    line = winograd.LINE
    rows = winograd.up(p.C, winograd.ROWS)
    return _Plan(
        winograd.tiling_of(p),
        tiles,
        chunks,
        block,
        group,
        pitch,
        block * pitch + line,
        block * group + line,
        rows * group + line,
    )


def _workspace_bytes(problem):
    plan = _plan(problem)
    partial = plan.chunks * (9 * problem.C + 1) * problem.K
    return (partial + winograd.threads_of(problem) * plan.scratch_elements) * problem.itemsize


@kernel(
    limited_by="FLOPs: 36 multiply-adds for each 4x4 tile, channel and filter",
    unsupported=winograd.unsupported,
    pays=lambda problem: winograd.pays(problem, filled=0.5),
    exact=False,
    workspace_bytes=_workspace_bytes,
)
def cpu_winograd(problem, x, gy, gw, gb, workspace):
    p, plan, threads = problem, _plan(problem), winograd.threads_of(problem)
    memory = workspace[: _workspace_bytes(p)].view(x.dtype)
    partial = memory[: plan.chunks * (gw.size + p.K)]
    _run(
        x.reshape(-1), gy.reshape(-1), partial, memory[partial.size :], threads, p.H, p.W, p.C, p.P, p.Q, p.K,
        p.pad_top, p.pad_left, plan.tiling, plan.tiles, plan.chunks, plan.block, plan.group,
        plan.pitch_x, plan.step_x, plan.step_y, plan.step_sums, x.dtype.type(0),
    )  # fmt: skip
    flat_gw = gw.reshape(-1)
    bias = flat_gw[:0] if gb is None else gb
    add_chunks(partial, flat_gw, bias, plan.chunks, gw.size, p.K, threads_for(partial.size))


@cpu_jit(inner=True)
def _thread(
    thread, x, gy, partial, scratch, threads, H, W, C, P, Q, K, top, left,
    tiling, tiles, chunks, block, group, pitch_x, step_x, step_y, step_sums, zero,
):  # fmt: skip
    """A share of the pairs of a chunk of tiles and a group of filters."""
    groups, wide = (K + group - 1) // group, VECTORS * lanes(x)
    size = POINTS * (step_x + step_y + step_sums)
    points = at(scratch, thread * size)
    gradients = at(points, POINTS * step_x)
    sums = at(gradients, POINTS * step_y)
    first_gradient = thread * size + POINTS * step_x + (PATCH + 1) * step_y  # of point (1, 1)
    tasks = chunks * groups
    for task in range(tasks * thread // threads, tasks * (thread + 1) // threads):
        chunk, k = task // groups, task % groups * group
        width = min(group, K - k)
        columns = (width + wide - 1) // wide * wide
        target = chunk * (9 * C + 1) * K + k
        for i in range(width):
            partial[target + 9 * C * K + i] = 0
        begin, end = tiles * chunk // chunks, tiles * (chunk + 1) // chunks
        for i in range(size if begin == end else 0):  # no images
            scratch[thread * size + i] = 0
        for first in range(begin, end, block):
            count = min(block, end - first)
            winograd.collect(
                transform(INPUT_PATCH), first, count, at(x, 0), H, W, C, C, top, left, tiling,
                points, pitch_x, step_x,
            )  # fmt: skip
            winograd.collect(
                transform(GRADIENT_PATCH), first, count, at(gy, k), P, Q, K, width, 0, 0, tiling,
                gradients, group, step_y,
            )  # fmt: skip
            winograd.accumulate(
                points, pitch_x, step_x, gradients, group, step_y, count, C, columns, sums, group, step_sums,
                first == begin,
            )  # fmt: skip
            for t in range(count):
                for i in range(width):
                    partial[target + 9 * C * K + i] += scratch[first_gradient + t * group + i]
        for c in range(C):
            for i in range(0, width, lanes(x)):
                spread_patch(
                    transform(FILTER_GRADIENT_PATCH), at(sums, c * group + i), step_sums,
                    at(partial, target + c * K + i), 3 * C * K, C * K, 0, 3, 0, 3, width - i, at(sums, 0), zero,
                )  # fmt: skip


@cpu_jit
def _run(
    x, gy, partial, scratch, threads, H, W, C, P, Q, K, top, left,
    tiling, tiles, chunks, block, group, pitch_x, step_x, step_y, step_sums, zero,
):  # fmt: skip
    parallel_for(
        _thread,
        threads,
        (
            x, gy, partial, scratch, threads, H, W, C, P, Q, K, top, left,
            tiling, tiles, chunks, block, group, pitch_x, step_x, step_y, step_sums, zero,
        ),
    )  # fmt: skip
