"""conv2d's filter gradient as a matrix product whose left matrix is never written: tiles of sums in registers.

The product is that of cuda_im2col: a row for each tap and channel of a group, a column for each filter, summed over all
pixels. A block computes a tile of 128 rows x 64 filters for a chunk of the pixels, each of its 128 threads 8 x 8 sums.
It copies 8 pixels at a time to shared memory, what the rows see of x and the filters' gy. A thread copies the same four
rows all along, so their taps are worked out once; what changes are its pixels, which it counts on.

Beside cuda_im2col: no matrix, and four floats move in one instruction: along C from x, along K from gy and to gw, where
there are multiples of four. In memory both are laid out as the product wants them, so nothing is turned round. The
copies are kept twice: while one is multiplied, the next 8 pixels are on their way, so one barrier for them is enough.
The threads add up what they copy of gy, too: the bias costs 4 additions for 512 multiply-adds. Limited by FLOPs where
tiles are full. The workspace is at most 12 MiB and 384 times gb.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_chunks import Chunks, Sums, place_sums, sums_bytes
from fastconv.kernels.cuda_geometry import Conv2DGeometry, unsupported
from fastconv.kernels.cuda_pixels import Step, pixel_place, walk_on
from fastconv.kernels.cuda_quads import COLUMNS, DEPTH, ROWS, SUMS, THREADS, multiply_slices, store_row
from fastconv.kernels.cuda_vectors import ALIGNMENT, aligned, load4, store4
from fastconv.kernels.registry import kernel

FILTERS = COLUMNS  # of a block's tile; the depth of its slices are pixels
X_COPIES, GY_COPIES = 2 * DEPTH * ROWS, 2 * DEPTH * FILTERS
LEAST = 64  # pixels of a chunk


class Plan(NamedTuple):
    """How the work is cut, and how arrays are read."""

    row_tiles: int  # of a group
    filter_tiles: int  # of a group
    groups: int
    wide_x: int  # whether four channels at a time are loaded
    wide_gy: int  # whether four filters at a time are loaded and stored

    @property
    def tiles(self):
        return self.row_tiles * self.filter_tiles * self.groups

    @classmethod
    def of(cls, p, wide_x=0, wide_gy=0):
        """The plan of a problem."""
        rows = p.R * p.S * p.C // p.groups
        return cls(-(-rows // ROWS), -(-p.K // p.groups // FILTERS), p.groups, wide_x, wide_gy)


def chunks_of(p):
    return Chunks.of(p.N * p.P * p.Q, Plan.of(p).tiles, LEAST, DEPTH)


@kernel(
    limited_by="FLOPs, where tiles are full",
    unsupported=unsupported,
    workspace_bytes=lambda problem: sums_bytes(problem, chunks_of(problem)),
)
def cuda_implicit_gemm(problem, x, gy, gw, gb, workspace):
    chunks = chunks_of(problem)
    memory = workspace[: sums_bytes(problem, chunks)].view("float32")
    sums = Sums.of(problem, chunks, gb is not None)
    to_gw, to_gb, launches = place_sums(problem, chunks, gw, gb, memory)
    to_gb = gy if gb is None else to_gb  # without gb nothing is written there
    g = Conv2DGeometry.of(problem)
    wide_x = int(g.group_C % 4 == 0 and aligned(x))
    wide_gy = int(g.group_K % 4 == 0 and aligned(gy, to_gw))
    plan = Plan.of(problem, wide_x, wide_gy)
    args = (x, gy, to_gw, to_gb, g, plan, sums, Step.of(problem, DEPTH))
    return [Launch(_backward_filter, (plan.tiles * chunks.number,), (THREADS,), args), *launches]


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, Plan, Sums, Step, launch_bounds=(THREADS, 3))
def _backward_filter(x, gy, gw, gb, g, plan, to, step):
    xs = cuda.shared.array(X_COPIES, float32, ALIGNMENT)  # (2, DEPTH, ROWS)
    gs = cuda.shared.array(GY_COPIES, float32, ALIGNMENT)  # (2, DEPTH, FILTERS)
    sums = cuda.local.array(SUMS, float32)  # 8 rows x 8 filters
    thread = uint32(cuda.threadIdx.x)
    tile = uint32(cuda.blockIdx.x)  # neighbours have the same pixels
    k0 = uint32(tile % uint32(plan.filter_tiles) * FILTERS)  # the tile's first filter, in its group
    tile = tile // uint32(plan.filter_tiles)
    row0 = uint32(tile % uint32(plan.row_tiles) * ROWS)
    tile = tile // uint32(plan.row_tiles)
    group, chunk = uint32(tile % uint32(plan.groups)), uint32(tile // uint32(plan.groups))
    pixel = int32(chunk * uint32(to.terms))
    end = int32(min(pixel + to.terms, g.N * g.P * g.Q))
    of_k = uint32(group * g.group_K + k0)  # the tile's first filter
    rows = uint32(g.R * g.S * g.group_C)

    # What the thread copies: 4 rows for 2 pixels, and 4 filters for one.
    quad, line = uint32(thread % 32 * 4), uint32(thread // 32)
    n, p, q = cuda.local.array(2, int32), cuda.local.array(2, int32), cuda.local.array(2, int32)
    for i in range(2):
        n[i], p[i], q[i] = pixel_place(g, pixel + line + i * 4)
    tap = uint32(uint32(row0 + quad) // uint32(g.group_C))
    r0, s0 = int32(tap // uint32(g.S)), int32(tap % uint32(g.S))  # of the first of the rows
    c0 = int32(uint32(row0 + quad) % uint32(g.group_C))
    of_line, filters = uint32(thread // 16), uint32(thread % 16 * 4)
    next_x, next_gy = cuda.local.array(8, float32), cuda.local.array(4, float32)
    bias = cuda.local.array(4, float32)
    for i in range(4):
        bias[i] = float32(0)

    # What the thread computes: rows from `down` on, 4 and 64 further 4; filters from `across` on, 4 and 32 further 4.
    down, across = uint32(thread // 8 * 4), uint32(thread % 8 * 4)
    for i in range(SUMS):
        sums[i] = float32(0)

    slices = uint32((end - pixel + DEPTH - 1) // DEPTH)
    this = uint32(0)
    while this <= slices:
        new, old = uint32(this % 2), uint32((this + 1) % 2)
        if this < slices:
            for i in range(8):
                next_x[i] = float32(0)
            for i in range(2):
                if int32(pixel + line + i * 4) < end:
                    if plan.wide_x:
                        h = int32(p[i] * g.stride_h - g.pad_top + r0 * g.dilation_h)
                        j = int32(q[i] * g.stride_w - g.pad_left + s0 * g.dilation_w)
                        if r0 < g.R and 0 <= h < g.H and 0 <= j < g.W:
                            at = uint32(((n[i] * g.H + h) * g.W + j) * g.C + group * g.group_C + c0)
                            next_x[i * 4], next_x[i * 4 + 1], next_x[i * 4 + 2], next_x[i * 4 + 3] = load4(x, at)
                    else:
                        r, s, c = r0, s0, c0
                        for e in range(4):
                            h = int32(p[i] * g.stride_h - g.pad_top + r * g.dilation_h)
                            j = int32(q[i] * g.stride_w - g.pad_left + s * g.dilation_w)
                            if r < g.R and 0 <= h < g.H and 0 <= j < g.W:
                                at = uint32(((n[i] * g.H + h) * g.W + j) * g.C + group * g.group_C + c)
                                next_x[i * 4 + e] = x[at]
                            c = int32(c + 1)
                            if c == g.group_C:
                                s, c = int32(s + 1), int32(0)
                            if s == g.S:
                                r, s = int32(r + 1), int32(0)
                n[i], p[i], q[i] = walk_on(g, step, n[i], p[i], q[i])
            for i in range(4):
                next_gy[i] = float32(0)
            if int32(pixel + of_line) < end:
                at = uint32((pixel + of_line) * g.K + of_k + filters)
                if plan.wide_gy:
                    if k0 + filters < uint32(g.group_K):
                        next_gy[0], next_gy[1], next_gy[2], next_gy[3] = load4(gy, at)
                else:
                    for i in range(4):
                        if uint32(k0 + filters + i) < uint32(g.group_K):
                            next_gy[i] = gy[uint32(at + i)]
        if this > 0:
            x_at, gy_at = uint32(old * DEPTH * ROWS + down), uint32(old * DEPTH * FILTERS + across)
            multiply_slices(sums, xs, gs, x_at, gy_at, ROWS, FILTERS)
        if this < slices:
            for i in range(2):
                at = uint32((new * DEPTH + line + i * 4) * ROWS + quad)
                store4(xs, at, next_x[i * 4], next_x[i * 4 + 1], next_x[i * 4 + 2], next_x[i * 4 + 3])
            at = uint32((new * DEPTH + of_line) * FILTERS + filters)
            store4(gs, at, next_gy[0], next_gy[1], next_gy[2], next_gy[3])
            for i in range(4):
                bias[i] += next_gy[i]
        cuda.syncthreads()
        this, pixel = uint32(this + 1), int32(pixel + DEPTH)

    # Short loops: the compiler must unroll them, or the sums would lie in memory.
    at_gw = uint32(chunk * to.pitch + of_k + across)
    left = int32(g.group_K - int32(k0 + across))
    for i in range(8):
        row = uint32(row0 + down + i % 4 + i // 4 * 64)
        if row < rows:
            store_row(gw, sums, i * 8, uint32(at_gw + row * g.K), left, plan.wide_gy)
    if to.has_bias and row0 == 0:
        store4(gs, uint32(of_line * FILTERS + filters), bias[0], bias[1], bias[2], bias[3])
        cuda.syncthreads()
        if thread < FILTERS and k0 + thread < uint32(g.group_K):
            total = float32(0)
            for i in range(DEPTH):
                total += gs[uint32(i * FILTERS + thread)]
            gb[uint32(chunk * to.bias_pitch + of_k + thread)] = total
