"""conv2d's filter gradient of first layers, with few channels: a thread has all rows of gw, for four filters.

Where C is 1 or 3, gw has 9 or 27 rows (R*S*C), which leave most of cuda_implicit_gemm's tile empty; and gy, which is
large, is what counts. Here a block has all rows, up to 28 of them, of up to 64 filters, so that gy is read once, four
floats at a time, and goes from memory to registers: nobody else needs it. What the windows of 128 pixels see of x is
copied to shared memory, a pixel's window by one thread, zeros beside the image. A load of four floats of a window then
serves 16 multiply-adds. The block's lines take different pixels and add up their sums in the end. Windows begin an odd
number of times 16 bytes apart, so that neither who writes nor who reads meets bank conflicts.

More rows are shared out among blocks, which read gy again: a first layer of 7 x 7 x 3 has six. Groups of few channels
and filters are served alike. Limited by bytes, reading gy; by FLOPs where there are many rows. The workspace is at most
3 MiB and 384 times gb.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_chunks import Chunks, Sums, place_sums, sums_bytes
from fastconv.kernels.cuda_geometry import Conv2DGeometry, unsupported
from fastconv.kernels.cuda_lines import FOUR, SHARED_FLOATS, THREADS, Lines, add_lines, load_filters
from fastconv.kernels.cuda_pixels import Step, pixel_place, walk_on
from fastconv.kernels.cuda_vectors import ALIGNMENT, aligned, load4, store4
from fastconv.kernels.registry import kernel

MOST_ROWS = 28  # of a block: 3 x 3 x 3, and their sums are registers everywhere
PIXELS = THREADS  # at a time


class Plan(NamedTuple):
    """How the work is cut, and how gy is read."""

    rows: int  # of a block: a multiple of four
    row_tiles: int  # of a group
    filter_tiles: int  # of a group
    groups: int
    wide: int  # whether four filters at a time are loaded

    @property
    def tiles(self):
        return self.row_tiles * self.filter_tiles * self.groups

    @classmethod
    def of(cls, p, wide=0):
        """The plan of a problem."""
        rows, filters = p.R * p.S * p.C // p.groups, p.K // p.groups
        row_tiles = -(-rows // MOST_ROWS)
        each = -(-rows // (4 * row_tiles)) * 4
        return cls(each, row_tiles, -(-filters // (FOUR * Lines.of(filters).across)), p.groups, wide)


def chunks_of(p):
    return Chunks.of(p.N * p.P * p.Q, Plan.of(p).tiles, PIXELS, PIXELS)


@kernel(
    limited_by="bytes: reading gy; FLOPs where there are many rows",
    unsupported=unsupported,
    workspace_bytes=lambda problem: sums_bytes(problem, chunks_of(problem)),
    pays=lambda problem: Plan.of(problem).row_tiles <= 6,  # a first layer's; whoever has more reads gy too often
)
def cuda_few_channels(problem, x, gy, gw, gb, workspace):
    chunks, g = chunks_of(problem), Conv2DGeometry.of(problem)
    memory = workspace[: sums_bytes(problem, chunks)].view("float32")
    sums = Sums.of(problem, chunks, gb is not None)
    to_gw, to_gb, launches = place_sums(problem, chunks, gw, gb, memory)
    to_gb = gy if gb is None else to_gb  # without gb nothing is written there
    plan = Plan.of(problem, int(g.group_K % 4 == 0 and aligned(gy)))
    args = (x, gy, to_gw, to_gb, g, plan, Lines.of(g.group_K), sums, Step.of(problem, PIXELS))
    return [Launch(backward_filter_by(plan.rows), (plan.tiles * chunks.number,), (THREADS,), args), *launches]


@functools.cache
def backward_filter_by(rows):
    """The kernel for so many rows. They are a constant in it, so that the sums are registers."""
    registers = rows * FOUR
    pitch = rows if rows % 8 == 4 else rows + 4  # from one window to the next
    floats = max(PIXELS * pitch, SHARED_FLOATS)

    @cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, Plan, Lines, Sums, Step, launch_bounds=(THREADS, 3))
    def _backward_filter(x, gy, gw, gb, g, plan, lines, to, step):
        windows = cuda.shared.array(floats, float32, ALIGNMENT)  # (PIXELS, pitch)
        taps = cuda.shared.array((3, rows), int32)  # of a row: how far down, how far to the right, how far in memory
        sums, bias = cuda.local.array(registers, float32), cuda.local.array(FOUR, float32)
        a = cuda.local.array(4, float32)
        gradient, following = cuda.local.array(FOUR, float32), cuda.local.array(FOUR, float32)
        for i in range(registers):
            sums[i] = float32(0)
        for i in range(FOUR):
            bias[i] = float32(0)
        thread, tile = int32(cuda.threadIdx.x), uint32(cuda.blockIdx.x)  # neighbours have the same pixels
        lane, line = int32(uint32(thread) % uint32(lines.across)), int32(uint32(thread) // uint32(lines.across))
        k0 = int32(tile % uint32(plan.filter_tiles) * uint32(lines.across * FOUR))  # the block's first, in its group
        tile = tile // uint32(plan.filter_tiles)
        row0 = int32(tile % uint32(plan.row_tiles) * uint32(rows))
        tile = tile // uint32(plan.row_tiles)
        group, chunk = int32(tile % uint32(plan.groups)), int32(tile // uint32(plan.groups))
        of_k = int32(group * g.group_K + k0 + lane * FOUR)  # the thread's first filter
        filters = int32(g.group_K - k0 - lane * FOUR)  # that are left from there on
        if thread < rows:
            tap, c = uint32(row0 + thread) // uint32(g.group_C), uint32(row0 + thread) % uint32(g.group_C)
            h, v = int32(tap // uint32(g.S) * g.dilation_h), int32(tap % uint32(g.S) * g.dilation_w)
            taps[0, thread] = h if row0 + thread < g.R * g.S * g.group_C else int32(-(1 << 30))
            taps[1, thread] = v
            taps[2, thread] = int32((h * g.W + v) * g.C + c)
        cuda.syncthreads()
        pixel = int32(chunk * to.terms)  # the first of those in shared memory
        end = int32(min(pixel + to.terms, g.N * g.P * g.Q))
        n, p, q = pixel_place(g, pixel + thread)
        while pixel < end:
            # The window of pixel + thread, four rows of gw at a time.
            h0, v0 = int32(p * g.stride_h - g.pad_top), int32(q * g.stride_w - g.pad_left)
            corner = int32(((n * g.H + h0) * g.W + v0) * g.C + group * g.group_C)
            if pixel + thread >= end:
                h0 = int32(-(1 << 30))  # above the image with every tap
            for i in range(0, rows, 4):
                for e in range(4):
                    h, v = int32(h0 + taps[0, i + e]), int32(v0 + taps[1, i + e])
                    a[e] = float32(0)
                    if 0 <= h < g.H and 0 <= v < g.W:
                        a[e] = x[uint32(corner + taps[2, i + e])]
                store4(windows, uint32(thread * pitch + i), a[0], a[1], a[2], a[3])
            n, p, q = walk_on(g, step, n, p, q)
            left = int32(min(end - pixel, PIXELS))
            i = line
            load_filters(following, gy, uint32((pixel + i) * g.K + of_k), filters if i < left else 0, plan.wide)
            cuda.syncthreads()
            while i < left:
                for j in range(FOUR):
                    gradient[j] = following[j]
                    bias[j] += gradient[j]
                window = uint32(i * pitch)
                i = int32(i + lines.number)
                load_filters(following, gy, uint32((pixel + i) * g.K + of_k), filters if i < left else 0, plan.wide)
                for row in range(0, rows, 4):
                    a[0], a[1], a[2], a[3] = load4(windows, uint32(window + row))
                    for e in range(4):
                        for j in range(FOUR):
                            sums[(row + e) * FOUR + j] += a[e] * gradient[j]
            cuda.syncthreads()  # before the copies are overwritten
            pixel = int32(pixel + PIXELS)
        of_k, filters = int32(of_k - lane * FOUR), int32(filters + lane * FOUR)  # of the block
        at, rows_left = uint32(chunk * to.pitch + row0 * g.K + of_k), int32(min(rows, g.R * g.S * g.group_C - row0))
        add_lines(windows, sums, registers, lines, gw, at, g.K, rows_left, filters)
        if to.has_bias and row0 == 0:
            add_lines(windows, bias, FOUR, lines, gb, uint32(chunk * to.bias_pitch + of_k), g.K, 1, filters)

    return _backward_filter
