"""conv2d's filter gradient with one channel a group: a thread has all taps of four filters.

Beside cuda_split: an element of gw is a sum over pixels alone, and gy was loaded for each tap again. Here a thread
keeps the sums of four filters' windows in registers, so that a load of gy serves all taps, and the bias's sum, too;
with a channel for each filter it loads four channels of x at once. The lines of a block take pixels next to each other,
whose windows overlap, so that x comes from the level-1 cache but the first time; they add up their sums in the end. The
pixels are cut into chunks, whose sums a last launch adds. Limited by bytes: reading x and gy.

Beside cuda_few_channels: filters of other groups have other channels, so x is not copied for all of them. A window of
more than 16 taps is cut into rows that go to several blocks, and x and gy are read for each. The workspace is at most
768 times gw and gb of 64 filters.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_chunks import SMALL_BLOCKS, Chunks, Sums, place_sums, sums_bytes
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cuda_lines import FOUR, SHARED_FLOATS, THREADS, Lines, add_lines, load_filters
from fastconv.kernels.cuda_pixels import Step, pixel_place, walk_on
from fastconv.kernels.cuda_vectors import ALIGNMENT, aligned, load4
from fastconv.kernels.registry import kernel

LEAST = 128  # pixels of a chunk
MOST_TAPS = 16  # of a thread


class Plan(NamedTuple):
    """How the work is cut, and how gy is read."""

    window_rows: int  # of a thread
    window_tiles: int
    filter_tiles: int
    wide_gy: int  # whether four filters at a time are loaded

    @property
    def tiles(self):
        return self.window_tiles * self.filter_tiles

    @classmethod
    def of(cls, p, wide_gy=0):
        """The plan of a problem."""
        tiles = -(-p.R // max(1, MOST_TAPS // p.S))
        return cls(-(-p.R // tiles), tiles, -(-p.K // (FOUR * Lines.of(p.K).across)), wide_gy)


def unsupported(problem):
    if problem.groups != problem.C:
        return "it is for one channel a group"
    if problem.S > MOST_TAPS:
        return f"a window of more than {MOST_TAPS} columns leaves a thread too few registers"
    return cuda_geometry.unsupported(problem)


def chunks_of(p):
    return Chunks.of(p.N * p.P * p.Q, Plan.of(p).tiles, LEAST, LEAST, SMALL_BLOCKS)


@kernel(
    limited_by="bytes: reading x and gy",
    unsupported=unsupported,
    workspace_bytes=lambda problem: sums_bytes(problem, chunks_of(problem)),
)
def cuda_depthwise(problem, x, gy, gw, gb, workspace):
    chunks, lines = chunks_of(problem), Lines.of(problem.K)
    memory = workspace[: sums_bytes(problem, chunks)].view("float32")
    sums = Sums.of(problem, chunks, gb is not None)
    to_gw, to_gb, launches = place_sums(problem, chunks, gw, gb, memory)
    to_gb = gy if gb is None else to_gb  # without gb nothing is written there
    wide = problem.K % 4 == 0
    plan = Plan.of(problem, int(wide and aligned(gy)))
    run = backward_filter_by(plan.window_rows, problem.S, wide and problem.K == problem.C and aligned(x))
    args = (x, gy, to_gw, to_gb, Conv2DGeometry.of(problem), plan, lines, sums, Step.of(problem, lines.number))
    return [Launch(run, (plan.tiles * chunks.number,), (THREADS,), args), *launches]


@functools.cache
def backward_filter_by(rows, S, wide):
    """The kernel for so many rows of a window. They are constants in it, so that the sums are registers.

    wide: whether four channels at a time are loaded.
    """
    registers = rows * S * FOUR

    @cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, Plan, Lines, Sums, Step, launch_bounds=(THREADS, 3))
    def _backward_filter(x, gy, gw, gb, g, plan, lines, to, step):
        memory = cuda.shared.array(SHARED_FLOATS, float32, ALIGNMENT)
        sums, bias = cuda.local.array(registers, float32), cuda.local.array(FOUR, float32)
        a, gradient = cuda.local.array(FOUR, float32), cuda.local.array(FOUR, float32)
        for i in range(registers):
            sums[i] = float32(0)
        for i in range(FOUR):
            bias[i] = float32(0)
        thread, tile = int32(cuda.threadIdx.x), uint32(cuda.blockIdx.x)  # neighbours have the same pixels
        lane, line = int32(uint32(thread) % uint32(lines.across)), int32(uint32(thread) // uint32(lines.across))
        k0 = int32(tile % uint32(plan.filter_tiles) * uint32(lines.across * FOUR))  # the block's first filter
        tile = tile // uint32(plan.filter_tiles)
        r0 = int32(tile % uint32(plan.window_tiles) * uint32(rows))  # the block's first row of the window
        chunk = int32(tile // uint32(plan.window_tiles))
        k = int32(k0 + lane * FOUR)  # the thread's first filter
        channels = cuda.local.array(FOUR, int32)
        for j in range(FOUR):
            channels[j] = int32(uint32(k + j) // uint32(g.group_K))
        pixel = int32(chunk * to.terms + line)
        end = int32(min((chunk + 1) * to.terms, g.N * g.P * g.Q))
        n, p, q = pixel_place(g, pixel)
        while pixel < end:
            load_filters(gradient, gy, uint32(pixel * g.K + k), int32(g.K - k), plan.wide_gy)
            for j in range(FOUR):
                bias[j] += gradient[j]
            for i in range(rows):
                h = int32(p * g.stride_h - g.pad_top + (r0 + i) * g.dilation_h)
                for s in range(S):
                    v = int32(q * g.stride_w - g.pad_left + s * g.dilation_w)
                    for j in range(FOUR):
                        a[j] = float32(0)
                    if 0 <= h < g.H and 0 <= v < g.W:
                        at = int32(((n * g.H + h) * g.W + v) * g.C)
                        if wide:
                            if k < g.K:
                                a[0], a[1], a[2], a[3] = load4(x, uint32(at + k))
                        else:
                            for j in range(FOUR):
                                if k + j < g.K:
                                    a[j] = x[uint32(at + channels[j])]
                    for j in range(FOUR):
                        sums[(i * S + s) * FOUR + j] += a[j] * gradient[j]
            n, p, q = walk_on(g, step, n, p, q)
            pixel = int32(pixel + lines.number)
        at = uint32(chunk * to.pitch + r0 * S * g.K + k0)
        taps, filters = int32(min(rows, g.R - r0) * S), int32(g.K - k0)
        add_lines(memory, sums, registers, lines, gw, at, g.K, taps, filters)
        if to.has_bias and r0 == 0:
            add_lines(memory, bias, FOUR, lines, gb, uint32(chunk * to.bias_pitch + k0), g.K, 1, filters)

    return _backward_filter
