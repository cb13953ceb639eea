"""conv2d on tensor cores: the tiles of cuda_implicit_gemm, multiplied by a warp at a time, in TF32.

A block computes a tile of 128 pixels x 64 filters of one group, each of its 4 warps 64 x 32 of it: 4 x 4 products of
16 x 8 by `mma_tf32`, in which the threads of a warp share what they hold. Slices are of 16 elements of the windows.

Beside cuda_implicit_gemm: an instruction makes 1024 multiply-adds in place of 32, from 6 floats a thread. x and w are
rounded to TF32 on their way to shared memory, once for all who read them; products and sums are float32, as the bias
is. In shared memory x's slice lies as it comes, a row for each pixel: a thread wants single elements now, of 8 rows and
4 columns in a warp, so rows are 4 floats longer than a multiple of 8, and w's 8 longer than one of 32. Four threads
copy a row's 16 elements, and neighbouring fours take rows 4 apart, which begin 16 banks apart. Limited by the tensor
cores where tiles are full.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, too_old, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cuda_mma import NEEDS, mma_tf32, store_pairs, tf32
from fastconv.kernels.cuda_vectors import ALIGNMENT, aligned, load4, store4
from fastconv.kernels.registry import kernel

PIXELS, FILTERS, DEPTH = 128, 64, 16  # of a block's tile, and of a slice
THREADS = 128
X_ROW, W_ROW = DEPTH + 4, FILTERS + 8
X_SLICE, W_SLICE = PIXELS * X_ROW, DEPTH * W_ROW
X_SLICES, W_SLICES = 2 * X_SLICE, 2 * W_SLICE


class Plan(NamedTuple):
    """How the work is cut, and what is to be done besides."""

    groups: int
    filter_tiles: int  # of a group
    slices: int  # of a window
    wide_x: int  # whether four channels at a time are loaded
    wide_w: int  # whether four filters at a time are loaded
    wide_y: int  # whether two filters at a time are stored
    has_bias: int
    relu: int


def unsupported(problem):
    return cuda_geometry.unsupported(problem) or too_old(NEEDS)


@kernel(limited_by="tensor cores, where tiles are full", unsupported=unsupported, fuses=("relu",), precision="tf32")
def cuda_mma_tf32(problem, x, w, bias, y, workspace, relu=False):
    g = Conv2DGeometry.of(problem)
    plan = Plan(
        groups=problem.groups,
        filter_tiles=-(-g.group_K // FILTERS),
        slices=-(-g.R * g.S * g.group_C // DEPTH),
        wide_x=int(g.group_C % 4 == 0 and aligned(x)),
        wide_w=int(g.group_K % 4 == 0 and aligned(w)),
        wide_y=int(g.group_K % 2 == 0 and aligned(y)),
        has_bias=int(bias is not None),
        relu=int(relu),
    )
    blocks = -(-g.N * g.P * g.Q // PIXELS) * plan.groups * plan.filter_tiles
    given = y if bias is None else bias  # without a bias the kernel reads nothing there
    return [Launch(_conv2d, (blocks,), (THREADS,), (x, w, given, y, g, plan))]


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, Plan, launch_bounds=(THREADS, 3), needs=NEEDS)
def _conv2d(x, w, bias, y, g, plan):
    xs = cuda.shared.array(X_SLICES, float32, ALIGNMENT)  # (2, PIXELS, X_ROW)
    ws = cuda.shared.array(W_SLICES, float32, ALIGNMENT)  # (2, DEPTH, W_ROW)
    sums = cuda.local.array(64, float32)  # 4 x 4 tiles of mma_tf32, 4 sums of each
    a, b = cuda.local.array(16, float32), cuda.local.array(8, float32)
    thread = uint32(cuda.threadIdx.x)
    tile = uint32(cuda.blockIdx.x)  # neighbours have the same pixels
    pixels = uint32(g.N * g.P * g.Q)
    k0 = uint32(tile % uint32(plan.filter_tiles) * FILTERS)  # the tile's first filter, in its group
    tile = tile // uint32(plan.filter_tiles)
    group = uint32(tile % uint32(plan.groups))
    pixel0 = uint32(tile // uint32(plan.groups) * PIXELS)
    y0 = uint32(group * g.group_K + k0)  # the tile's first filter

    # What the thread copies: 4 elements of the slice for 4 pixels, 32 apart, and 4 filters of two rows of w.
    quad, column = uint32(thread % 4 * 4), uint32(thread // 4)
    column = uint32(column % 2 * 4 + column // 2 % 4 + column // 8 * 8)
    row, filters = uint32(thread // 16), uint32(thread % 16 * 4)
    h0, j0, corner = cuda.local.array(4, int32), cuda.local.array(4, int32), cuda.local.array(4, int32)
    for i in range(4):
        pixel = uint32(pixel0 + column + i * 32)
        n, pixel = int32(pixel // uint32(g.P * g.Q)), uint32(pixel % uint32(g.P * g.Q))
        h0[i] = int32(int32(pixel // uint32(g.Q)) * g.stride_h - g.pad_top)
        j0[i] = int32(int32(pixel % uint32(g.Q)) * g.stride_w - g.pad_left)
        corner[i] = int32(((n * g.H + h0[i]) * g.W + j0[i]) * g.C + group * g.group_C)
        if n >= g.N:
            h0[i] = int32(-(1 << 30))  # above the image with every tap
    next_x, next_w = cuda.local.array(16, float32), cuda.local.array(8, float32)
    # The tap and the channel of the quad's first element.
    r, s, c = int32(0), int32(0), int32(quad)
    while c >= g.group_C:
        c = int32(c - g.group_C)
        s = int32(s + 1)
        if s == g.S:
            r, s = int32(r + 1), int32(0)

    # What the thread multiplies: its place in a fragment, and where its warp's part of the tile begins.
    lane_row, lane_column = uint32(thread % 32 // 4), uint32(thread % 4)
    down, across = uint32(thread // 32 % 2 * 64), uint32(thread // 64 * 32)
    for j in range(4):
        for e in range(2):
            k = uint32(k0 + across + j * 8 + lane_column * 2 + e)
            first = float32(0)
            if plan.has_bias and k < uint32(g.group_K):
                first = bias[uint32(group * g.group_K + k)]
            for i in range(4):
                sums[i * 16 + j * 4 + e] = first
                sums[i * 16 + j * 4 + e + 2] = first

    step = uint32(0)
    while step <= uint32(plan.slices):
        new, old = uint32(step % 2), uint32((step + 1) % 2)
        if step < uint32(plan.slices):
            for i in range(16):
                next_x[i] = float32(0)
            if plan.wide_x:
                h, v = int32(r * g.dilation_h), int32(s * g.dilation_w)
                offset = int32((h * g.W + v) * g.C + c)
                for i in range(4):
                    if r < g.R and uint32(h0[i] + h) < uint32(g.H) and uint32(j0[i] + v) < uint32(g.W):
                        at = uint32(corner[i] + offset)
                        next_x[i * 4], next_x[i * 4 + 1], next_x[i * 4 + 2], next_x[i * 4 + 3] = load4(x, at)
                c = int32(c + DEPTH)
            else:
                for e in range(4):
                    h, v = int32(r * g.dilation_h), int32(s * g.dilation_w)
                    offset = int32((h * g.W + v) * g.C + c)
                    for i in range(4):
                        if r < g.R and uint32(h0[i] + h) < uint32(g.H) and uint32(j0[i] + v) < uint32(g.W):
                            next_x[i * 4 + e] = x[uint32(corner[i] + offset)]
                    c = int32(c + 1)
                    if c == g.group_C:
                        c = int32(0)
                        s = int32(s + 1)
                        if s == g.S:
                            r, s = int32(r + 1), int32(0)
                c = int32(c + DEPTH - 4)
            while c >= g.group_C:
                c = int32(c - g.group_C)
                s = int32(s + 1)
                if s == g.S:
                    r, s = int32(r + 1), int32(0)
            for i in range(8):
                next_w[i] = float32(0)
            for i in range(2):
                element = uint32(step * DEPTH + row + i * 8)
                at = uint32(element * g.K + y0 + filters)
                if element < uint32(g.R * g.S * g.group_C):
                    if plan.wide_w:
                        if k0 + filters < uint32(g.group_K):
                            next_w[i * 4], next_w[i * 4 + 1], next_w[i * 4 + 2], next_w[i * 4 + 3] = load4(w, at)
                    else:
                        for e in range(4):
                            if uint32(k0 + filters + e) < uint32(g.group_K):
                                next_w[i * 4 + e] = w[uint32(at + e)]
        if step > 0:
            x_at = uint32(old * X_SLICE + (down + lane_row) * X_ROW + lane_column)
            w_at = uint32(old * W_SLICE + lane_column * W_ROW + across + lane_row)
            for _ in range(DEPTH // 8):
                for i in range(4):
                    at = x_at + i * 16 * X_ROW  # not cast: constants become a part of the instructions
                    a[i * 4], a[i * 4 + 1] = xs[at], xs[at + 8 * X_ROW]
                    a[i * 4 + 2], a[i * 4 + 3] = xs[at + 4], xs[at + 8 * X_ROW + 4]
                for j in range(4):
                    b[j * 2], b[j * 2 + 1] = ws[w_at + j * 8], ws[w_at + j * 8 + 4 * W_ROW]
                for i in range(4):
                    a0, a1, a2, a3 = a[i * 4], a[i * 4 + 1], a[i * 4 + 2], a[i * 4 + 3]
                    for j in range(4):
                        n = i * 16 + j * 4
                        sums[n], sums[n + 1], sums[n + 2], sums[n + 3] = mma_tf32(
                            a0, a1, a2, a3, b[j * 2], b[j * 2 + 1], sums[n], sums[n + 1], sums[n + 2], sums[n + 3]
                        )
                x_at, w_at = uint32(x_at + 8), uint32(w_at + 8 * W_ROW)
        if step < uint32(plan.slices):
            for i in range(4):
                at = uint32(new * X_SLICE + (column + i * 32) * X_ROW + quad)
                e = i * 4
                store4(xs, at, tf32(next_x[e]), tf32(next_x[e + 1]), tf32(next_x[e + 2]), tf32(next_x[e + 3]))
            for i in range(2):
                at = uint32(new * W_SLICE + (row + i * 8) * W_ROW + filters)
                e = i * 4
                store4(ws, at, tf32(next_w[e]), tf32(next_w[e + 1]), tf32(next_w[e + 2]), tf32(next_w[e + 3]))
        cuda.syncthreads()
        step = uint32(step + 1)

    # Short loops: the compiler must unroll them, or the sums would lie in memory.
    if plan.relu:
        for i in range(64):
            if sums[i] < float32(0):
                sums[i] = float32(0)
    k = uint32(across + lane_column * 2)
    for i in range(8):
        pixel = uint32(pixel0 + down + lane_row + i * 8)
        if pixel < pixels:
            left = int32(g.group_K - int32(k0 + k))
            store_pairs(y, sums, i // 2 * 16 + i % 2 * 2, uint32(pixel * g.K + y0 + k), left, plan.wide_y)
