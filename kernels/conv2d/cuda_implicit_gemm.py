"""conv2d as a matrix product whose left matrix is never written: tiles of sums in registers.

The product is im2col's: a row for each pixel of y, a column for each filter, summed over the R*S*C elements of a
window. A block computes a tile of 128 pixels x 64 filters of one group, each of its 128 threads 8 x 8 sums. For that
it copies slices of 8 elements of the windows, and of w, to shared memory; where an element lies in x is worked out on
the way.

Beside cuda_shared: an element read from shared memory is used 8 times, not once, since 16 of them make 64 products.
Four floats move in one instruction: along C from x, along K from w and to y, where there are multiples of four. Slices
are kept twice: while one is multiplied, the next is on its way, first to registers, then to the other copy, so one
barrier a slice is enough. In shared memory x's slice is turned round, so that a thread's pixels lie side by side; rows
of 4 floats more than pixels keep its columns in different banks. Limited by FLOPs where tiles are full.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry, unsupported
from fastconv.kernels.cuda_quads import COLUMNS, DEPTH, ROWS, SUMS, THREADS, multiply_slices, store_row
from fastconv.kernels.cuda_vectors import ALIGNMENT, aligned, load4, store4
from fastconv.kernels.registry import kernel

PIXELS, FILTERS = ROWS, COLUMNS  # of a block's tile: 16 threads down the pixels, 8 along the filters
ROW = PIXELS + 4
X_SLICES, W_SLICES = 2 * DEPTH * ROW, 2 * DEPTH * FILTERS


class Plan(NamedTuple):
    """How the work is cut, and what is to be done besides."""

    groups: int
    filter_tiles: int  # of a group
    slices: int  # of a window
    wide_x: int  # whether four channels at a time are loaded
    wide_w: int  # whether four filters at a time are loaded and stored
    has_bias: int
    relu: int


@kernel(limited_by="FLOPs, where tiles are full", unsupported=unsupported, fuses=("relu",))
def cuda_implicit_gemm(problem, x, w, bias, y, workspace, relu=False):
    g = Conv2DGeometry.of(problem)
    plan = Plan(
        groups=problem.groups,
        filter_tiles=-(-g.group_K // FILTERS),
        slices=-(-g.R * g.S * g.group_C // DEPTH),
        wide_x=int(g.group_C % 4 == 0 and aligned(x)),
        wide_w=int(g.group_K % 4 == 0 and aligned(w, y)),
        has_bias=int(bias is not None),
        relu=int(relu),
    )
    blocks = -(-g.N * g.P * g.Q // PIXELS) * plan.groups * plan.filter_tiles
    given = y if bias is None else bias  # without a bias the kernel reads nothing there
    return [Launch(_conv2d, (blocks,), (THREADS,), (x, w, given, y, g, plan))]


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, Plan, launch_bounds=(THREADS, 3))
def _conv2d(x, w, bias, y, g, plan):
    xs = cuda.shared.array(X_SLICES, float32, ALIGNMENT)  # (2, DEPTH, ROW)
    ws = cuda.shared.array(W_SLICES, float32, ALIGNMENT)  # (2, DEPTH, FILTERS)
    sums = cuda.local.array(SUMS, float32)  # 8 pixels x 8 filters
    thread = uint32(cuda.threadIdx.x)
    tile = uint32(cuda.blockIdx.x)  # neighbours have the same pixels
    pixels = uint32(g.N * g.P * g.Q)
    k0 = uint32(tile % uint32(plan.filter_tiles) * FILTERS)  # the tile's first filter, in its group
    tile = tile // uint32(plan.filter_tiles)
    group = uint32(tile % uint32(plan.groups))
    pixel0 = uint32(tile // uint32(plan.groups) * PIXELS)
    y0 = uint32(group * g.group_K + k0)  # the tile's first filter

    # What the thread copies: 4 elements of the slice for 2 pixels, and 4 filters of a row of w.
    quad, column = uint32(thread % 2 * 4), uint32(thread // 2)
    row, filters = uint32(thread // 16), uint32(thread % 16 * 4)
    h0, j0, corner = cuda.local.array(2, int32), cuda.local.array(2, int32), cuda.local.array(2, int32)
    for i in range(2):
        pixel = uint32(pixel0 + column + i * (PIXELS // 2))
        n, pixel = int32(pixel // uint32(g.P * g.Q)), uint32(pixel % uint32(g.P * g.Q))
        h0[i] = int32(int32(pixel // uint32(g.Q)) * g.stride_h - g.pad_top)
        j0[i] = int32(int32(pixel % uint32(g.Q)) * g.stride_w - g.pad_left)
        corner[i] = int32(((n * g.H + h0[i]) * g.W + j0[i]) * g.C + group * g.group_C)
        if n >= g.N:
            h0[i] = int32(-(1 << 30))  # above the image with every tap
    next_x, next_w = cuda.local.array(8, float32), cuda.local.array(4, float32)
    # The tap and the channel of the quad's first element.
    r, s, c = int32(0), int32(0), int32(quad)
    while c >= g.group_C:
        c = int32(c - g.group_C)
        s = int32(s + 1)
        if s == g.S:
            r, s = int32(r + 1), int32(0)

    # What the thread computes: pixels from `down` on, 4 and 64 further 4; filters from `across` on, 4 and 32 further 4.
    down, across = uint32(thread // 8 * 4), uint32(thread % 8 * 4)
    for j in range(8):
        k = uint32(k0 + across + j % 4 + j // 4 * 32)
        first = float32(0)
        if plan.has_bias and k < uint32(g.group_K):
            first = bias[uint32(group * g.group_K + k)]
        for i in range(8):
            sums[i * 8 + j] = first

    step = uint32(0)
    while step <= uint32(plan.slices):
        new, old = uint32(step % 2), uint32((step + 1) % 2)
        if step < uint32(plan.slices):
            for i in range(8):
                next_x[i] = float32(0)
            if plan.wide_x:
                h, v = int32(r * g.dilation_h), int32(s * g.dilation_w)
                for i in range(2):
                    if r < g.R and 0 <= int32(h0[i] + h) < g.H and 0 <= int32(j0[i] + v) < g.W:
                        at = uint32(corner[i] + (h * g.W + v) * g.C + c)
                        next_x[i * 4], next_x[i * 4 + 1], next_x[i * 4 + 2], next_x[i * 4 + 3] = load4(x, at)
                c = int32(c + DEPTH)
            else:
                for e in range(4):
                    h, v = int32(r * g.dilation_h), int32(s * g.dilation_w)
                    for i in range(2):
                        if r < g.R and 0 <= int32(h0[i] + h) < g.H and 0 <= int32(j0[i] + v) < g.W:
                            next_x[i * 4 + e] = x[uint32(corner[i] + (h * g.W + v) * g.C + c)]
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
            for i in range(4):
                next_w[i] = float32(0)
            element = uint32(step * DEPTH + row)
            at = uint32(element * g.K + y0 + filters)
            if element < uint32(g.R * g.S * g.group_C):
                if plan.wide_w:
                    if k0 + filters < uint32(g.group_K):
                        next_w[0], next_w[1], next_w[2], next_w[3] = load4(w, at)
                else:
                    for i in range(4):
                        if uint32(k0 + filters + i) < uint32(g.group_K):
                            next_w[i] = w[uint32(at + i)]
        if step > 0:
            x_at, w_at = uint32(old * DEPTH * ROW + down), uint32(old * DEPTH * FILTERS + across)
            multiply_slices(sums, xs, ws, x_at, w_at, ROW, FILTERS)
        if step < uint32(plan.slices):
            for i in range(2):
                for e in range(4):
                    xs[uint32((new * DEPTH + quad + e) * ROW + column + i * 64)] = next_x[i * 4 + e]
            store4(ws, uint32((new * DEPTH + row) * FILTERS + filters), next_w[0], next_w[1], next_w[2], next_w[3])
        cuda.syncthreads()
        step = uint32(step + 1)

    # Short loops: the compiler must unroll them, or the sums would lie in memory.
    if plan.relu:
        for i in range(64):
            if sums[i] < float32(0):
                sums[i] = float32(0)
    for i in range(8):
        pixel = uint32(pixel0 + down + i % 4 + i // 4 * 64)
        if pixel < pixels:
            filters = int32(g.group_K - int32(k0 + across))
            store_row(y, sums, i * 8, uint32(pixel * g.K + y0 + across), filters, plan.wide_w)
