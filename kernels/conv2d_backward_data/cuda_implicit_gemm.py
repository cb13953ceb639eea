"""conv2d_backward_data as matrix products whose left matrices are never written: tiles of sums in registers.

The pixels of gx that are equal modulo the stride, a phase, are met by the same taps, and neighbours among them at
neighbours in gy. So each phase is a matrix product: a row for each of its pixels, a column for each channel, summed
over the K filters of the taps that meet it. No product with a zero of the stride is made. A block computes a tile of
128 pixels of a phase x 64 channels of one group, each of its 128 threads 8 x 8 sums, as in conv2d's cuda_implicit_gemm.

Beside that one: gy and w both have their filters side by side, which here are what is summed over. So slices of both
are loaded four filters at a time and turned round on the way to shared memory; one set of indices does for both, and w
need not be turned before. Lines of 4 floats more than pixels, or channels, put what a warp writes in different banks.
Limited by FLOPs where tiles are full.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry, unsupported
from fastconv.kernels.cuda_quads import COLUMNS, DEPTH, ROWS, SUMS, THREADS, multiply_slices, store_row
from fastconv.kernels.cuda_taps import TapSteps, first_tap
from fastconv.kernels.cuda_vectors import ALIGNMENT, aligned, load4
from fastconv.kernels.registry import kernel

GY_LINE, W_LINE = ROWS + 4, COLUMNS + 4
GY_SLICES, W_SLICES = 2 * DEPTH * GY_LINE, 2 * DEPTH * W_LINE


class Plan(NamedTuple):
    """How the work is cut, and what is to be done besides."""

    groups: int
    channel_tiles: int  # of a group
    phases: int
    phases_w: int  # of them beside each other
    rows: int  # of a phase, at most
    columns: int
    wide_k: int  # whether four filters at a time are loaded
    wide_c: int  # whether four channels at a time are stored
    relu: int


@kernel(limited_by="FLOPs, where tiles are full", unsupported=unsupported, fuses=("relu",))
def cuda_implicit_gemm(problem, gy, w, gx, workspace, relu=None):
    g = Conv2DGeometry.of(problem)
    plan = Plan(
        groups=problem.groups,
        channel_tiles=-(-g.group_C // COLUMNS),
        phases=min(g.stride_h, g.H) * min(g.stride_w, g.W),
        phases_w=min(g.stride_w, g.W),
        rows=-(-g.H // g.stride_h),
        columns=-(-g.W // g.stride_w),
        wide_k=int(g.group_K % 4 == 0 and aligned(gy, w)),
        wide_c=int(g.group_C % 4 == 0 and aligned(gx, relu)),
        relu=int(relu is not None),
    )
    blocks = -(-g.N * plan.rows * plan.columns // ROWS) * plan.groups * plan.phases * plan.channel_tiles
    gate = gx if relu is None else relu  # without a ReLU the kernel reads nothing there
    return [Launch(_backward_data, (blocks,), (THREADS,), (gy, w, gate, gx, g, TapSteps.of(problem), plan))]


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, TapSteps, Plan, launch_bounds=(THREADS, 3))
def _backward_data(gy, w, gate, gx, g, step, plan):
    gys = cuda.shared.array(GY_SLICES, float32, ALIGNMENT)  # (2, DEPTH, GY_LINE)
    ws = cuda.shared.array(W_SLICES, float32, ALIGNMENT)  # (2, DEPTH, W_LINE)
    sums = cuda.local.array(SUMS, float32)  # 8 pixels x 8 channels
    thread = uint32(cuda.threadIdx.x)
    tile = uint32(cuda.blockIdx.x)  # neighbours have the same pixels of gy
    c0 = int32(tile % uint32(plan.channel_tiles) * COLUMNS)  # the tile's first channel, in its group
    tile = tile // uint32(plan.channel_tiles)
    phase = tile % uint32(plan.phases)
    tile = tile // uint32(plan.phases)
    group = int32(tile % uint32(plan.groups))
    pixel0 = uint32(tile // uint32(plan.groups) * ROWS)
    # The phase's first pixel, the first tap that meets it, and where in gy.
    h0, j0 = int32(phase // uint32(plan.phases_w)), int32(phase % uint32(plan.phases_w))
    first_r, top = first_tap(int32(h0 + g.pad_top), g.R, g.stride_h, g.dilation_h)
    first_s, left = first_tap(int32(j0 + g.pad_left), g.S, g.stride_w, g.dilation_w)

    # What the thread copies: 4 filters of the slice, for 2 pixels and a channel.
    quad, column = int32(thread % 2 * 4), int32(thread // 2)
    p0, q0, corner = cuda.local.array(2, int32), cuda.local.array(2, int32), cuda.local.array(2, int32)
    for i in range(2):
        n, row, across = _place(plan, uint32(pixel0 + column + i * (ROWS // 2)))
        p0[i], q0[i] = int32(row + top), int32(across + left)
        corner[i] = int32(((n * g.P + p0[i]) * g.Q + q0[i]) * g.K + group * g.group_K)
        if n >= g.N:
            p0[i] = int32(-1)  # above gy with every tap
    of_w = int32((c0 + column) * g.K + group * g.group_K)
    is_channel = c0 + column < g.group_C
    next_gy, next_w = cuda.local.array(8, float32), cuda.local.array(4, float32)
    # Of the quad's first element the tap, how far that is up and to the left in gy, and the filter.
    r, s, up, back, k = _advance(g, step, first_s, first_r, first_s, int32(0), int32(0), quad)
    rows = uint32(max(g.R - first_r + step.r - 1, 0)) // uint32(step.r)  # of taps that meet the phase
    columns = uint32(max(g.S - first_s + step.s - 1, 0)) // uint32(step.s)
    slices = uint32((rows * columns * uint32(g.group_K) + DEPTH - 1) // uint32(DEPTH))

    # What the thread computes: pixels from `down` on, 4 and 64 further 4; channels from `right` on, 4 and 32 further 4.
    down, right = uint32(thread // 8 * 4), uint32(thread % 8 * 4)
    c = int32(c0 + int32(right))
    for i in range(SUMS):
        sums[i] = float32(0)

    turn = uint32(0)
    while turn <= slices:
        new, old = uint32(turn % 2), uint32((turn + 1) % 2)
        if turn < slices:
            for i in range(8):
                next_gy[i] = float32(0)
            for i in range(4):
                next_w[i] = float32(0)
            if plan.wide_k:
                if r < g.R:
                    for i in range(2):
                        if 0 <= int32(p0[i] - up) < g.P and 0 <= int32(q0[i] - back) < g.Q:
                            at = uint32(corner[i] - (up * g.Q + back) * g.K + k)
                            next_gy[i * 4], next_gy[i * 4 + 1], next_gy[i * 4 + 2], next_gy[i * 4 + 3] = load4(gy, at)
                    if is_channel:
                        at = uint32(of_w + (r * g.S + s) * g.group_C * g.K + k)
                        next_w[0], next_w[1], next_w[2], next_w[3] = load4(w, at)
                k = int32(k + DEPTH)
            else:
                for e in range(4):
                    if r < g.R:
                        for i in range(2):
                            if 0 <= int32(p0[i] - up) < g.P and 0 <= int32(q0[i] - back) < g.Q:
                                next_gy[i * 4 + e] = gy[uint32(corner[i] - (up * g.Q + back) * g.K + k)]
                        if is_channel:
                            next_w[e] = w[uint32(of_w + (r * g.S + s) * g.group_C * g.K + k)]
                    r, s, up, back, k = _advance(g, step, first_s, r, s, up, back, int32(k + 1))
                k = int32(k + DEPTH - 4)
            r, s, up, back, k = _advance(g, step, first_s, r, s, up, back, k)
        if turn > 0:
            gy_at, w_at = uint32(old * DEPTH * GY_LINE + down), uint32(old * DEPTH * W_LINE + right)
            multiply_slices(sums, gys, ws, gy_at, w_at, GY_LINE, W_LINE)
        if turn < slices:
            for e in range(4):
                for i in range(2):
                    gys[uint32((new * DEPTH + quad + e) * GY_LINE + column + i * (ROWS // 2))] = next_gy[i * 4 + e]
                ws[uint32((new * DEPTH + quad + e) * W_LINE + column)] = next_w[e]
        cuda.syncthreads()
        turn = uint32(turn + 1)

    # Short loops: the compiler must unroll them, or the sums would lie in memory.
    at = cuda.local.array(8, int32)  # the thread's pixels in gx; -1 beside it
    for i in range(8):
        n, row, across = _place(plan, uint32(pixel0 + down + i % 4 + i // 4 * (ROWS // 2)))
        h, j = int32(h0 + row * g.stride_h), int32(j0 + across * g.stride_w)
        at[i] = int32(((n * g.H + h) * g.W + j) * g.C + group * g.group_C + c)
        if n >= g.N or h >= g.H or j >= g.W:
            at[i] = int32(-1)
    channels = int32(g.group_C - c)
    if plan.relu:
        for i in range(8):
            if at[i] >= 0:
                _gate(sums, gate, i * 8, at[i], channels, plan.wide_c)
    for i in range(8):
        if at[i] >= 0:
            store_row(gx, sums, i * 8, at[i], channels, plan.wide_c)


@device_function
def _place(plan, pixel):
    """Image, row and column of a phase's pixel."""
    size = uint32(plan.rows * plan.columns)
    n, pixel = int32(pixel // size), pixel % size
    return n, int32(pixel // uint32(plan.columns)), int32(pixel % uint32(plan.columns))


@device_function
def _advance(g, step, first_s, r, s, up, back, k):
    """From filter k on, which may be none of the group's, to that of a later tap."""
    while k >= g.group_K:
        k, s, back = int32(k - g.group_K), int32(s + step.s), int32(back + step.q)
        if s >= g.S:
            s, back, r, up = first_s, int32(0), int32(r + step.r), int32(up + step.p)
    return r, s, up, back, k


@device_function
def _gate(sums, y, i, at, channels, wide):
    """What a ReLU whose output is y lets through of the eight sums from i on, which `store_row` will store."""
    for j in range(2):
        first, place = i + j * 4, uint32(at + j * (COLUMNS // 2))
        if wide:
            if channels > j * (COLUMNS // 2):
                d, e, f, h = load4(y, place)
                sums[first], sums[first + 1] = _through(sums[first], d), _through(sums[first + 1], e)
                sums[first + 2], sums[first + 3] = _through(sums[first + 2], f), _through(sums[first + 3], h)
        else:
            for e in range(4):
                if channels > j * (COLUMNS // 2) + e:
                    sums[first + e] = _through(sums[first + e], y[uint32(place + e)])


@device_function
def _through(total, y):
    return float32(0) if y <= float32(0) else total
