"""conv2d_backward_data as matrix products whose left matrices are never written: tiles of sums in registers.

Pixels of gx that are equal modulo the stride, a phase, are met by the same taps, in pixels of gy that lie as they do.
So each phase is a matrix product: a row for each of its pixels, a column for each channel, summed over the taps that
meet it and the K filters. No product with a zero of the stride is made. A block computes a tile of 128 pixels of a phase
x 64 channels of one group, each of its 128 threads 8 x 8 sums, as in conv2d's cuda_implicit_gemm.

Beside that one: gy and w both have their filters side by side, and filters are what is summed over. So slices of both
are loaded four filters at a time and turned round on the way to shared memory, one set of indices does for both, and w
need not be turned before. Rows of 4 floats more than pixels, and channels, keep what a warp writes in different banks.
Limited by FLOPs where tiles are full.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry, unsupported
from fastconv.kernels.cuda_taps import TapSteps, first_tap
from fastconv.kernels.cuda_vectors import ALIGNMENT, aligned, load4, store4
from fastconv.kernels.registry import kernel

PIXELS, CHANNELS, DEPTH = 128, 64, 8  # of a block's tile, and of a slice
THREADS = 128  # 16 down the pixels, 8 along the channels
GY_ROW, W_ROW = PIXELS + 4, CHANNELS + 4
GY_SLICES, W_SLICES = 2 * DEPTH * GY_ROW, 2 * DEPTH * W_ROW


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
        channel_tiles=-(-g.group_C // CHANNELS),
        phases=min(g.stride_h, g.H) * min(g.stride_w, g.W),
        phases_w=min(g.stride_w, g.W),
        rows=-(-g.H // g.stride_h),
        columns=-(-g.W // g.stride_w),
        wide_k=int(g.group_K % 4 == 0 and aligned(gy, w)),
        wide_c=int(g.group_C % 4 == 0 and aligned(gx, relu)),
        relu=int(relu is not None),
    )
    blocks = -(-g.N * plan.rows * plan.columns // PIXELS) * plan.groups * plan.phases * plan.channel_tiles
    gate = gx if relu is None else relu  # without a ReLU the kernel reads nothing there
    return [Launch(_backward_data, (blocks,), (THREADS,), (gy, w, gate, gx, g, TapSteps.of(problem), plan))]


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, TapSteps, Plan, launch_bounds=(THREADS, 3))
def _backward_data(gy, w, gate, gx, g, step, plan):
    gys = cuda.shared.array(GY_SLICES, float32, ALIGNMENT)  # (2, DEPTH, GY_ROW)
    ws = cuda.shared.array(W_SLICES, float32, ALIGNMENT)  # (2, DEPTH, W_ROW)
    sums = cuda.local.array(64, float32)  # 8 pixels x 8 channels
    a, b = cuda.local.array(8, float32), cuda.local.array(8, float32)
    thread = uint32(cuda.threadIdx.x)
    tile = uint32(cuda.blockIdx.x)  # neighbours have the same pixels of gy
    c0 = int32(tile % uint32(plan.channel_tiles) * CHANNELS)  # the tile's first channel, in its group
    tile = tile // uint32(plan.channel_tiles)
    phase = tile % uint32(plan.phases)
    tile = tile // uint32(plan.phases)
    group = int32(tile % uint32(plan.groups))
    pixel0 = uint32(tile // uint32(plan.groups) * PIXELS)
    # The phase's first pixel, the first tap that meets it, and where in gy.
    h0, j0 = int32(phase // uint32(plan.phases_w)), int32(phase % uint32(plan.phases_w))
    first_r, top = first_tap(int32(h0 + g.pad_top), g.R, g.stride_h, g.dilation_h)
    first_s, left = first_tap(int32(j0 + g.pad_left), g.S, g.stride_w, g.dilation_w)

    # What the thread copies: 4 filters of the slice, for 2 pixels and a channel.
    quad, column = int32(thread % 2 * 4), int32(thread // 2)
    p0, q0, corner = cuda.local.array(2, int32), cuda.local.array(2, int32), cuda.local.array(2, int32)
    for i in range(2):
        pixel = uint32(pixel0 + column + i * (PIXELS // 2))
        n, pixel = int32(pixel // uint32(plan.rows * plan.columns)), uint32(pixel % uint32(plan.rows * plan.columns))
        p0[i] = int32(int32(pixel // uint32(plan.columns)) + top)
        q0[i] = int32(int32(pixel % uint32(plan.columns)) + left)
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

    # What the thread computes: pixels from `down` on, 4 and 64 further 4; channels from `across` on, 4 and 32 further 4.
    down, across = uint32(thread // 8 * 4), uint32(thread % 8 * 4)
    for i in range(64):
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
            gy_at, w_at = uint32(old * DEPTH * GY_ROW + down), uint32(old * DEPTH * W_ROW + across)
            end = uint32(gy_at + DEPTH * GY_ROW)
            while gy_at < end:
                for e in range(2):  # of constant length: unrolled
                    a[0], a[1], a[2], a[3] = load4(gys, gy_at + e * GY_ROW)
                    a[4], a[5], a[6], a[7] = load4(gys, gy_at + e * GY_ROW + 64)
                    b[0], b[1], b[2], b[3] = load4(ws, w_at + e * W_ROW)
                    b[4], b[5], b[6], b[7] = load4(ws, w_at + e * W_ROW + 32)
                    for i in range(8):
                        for j in range(8):
                            sums[i * 8 + j] += a[i] * b[j]
                gy_at, w_at = uint32(gy_at + 2 * GY_ROW), uint32(w_at + 2 * W_ROW)
        if turn < slices:
            for e in range(4):
                for i in range(2):
                    gys[uint32((new * DEPTH + quad + e) * GY_ROW + column + i * 64)] = next_gy[i * 4 + e]
                ws[uint32((new * DEPTH + quad + e) * W_ROW + column)] = next_w[e]
        cuda.syncthreads()
        turn = uint32(turn + 1)

    # Short loops: the compiler must unroll them, or the sums would lie in memory.
    place = cuda.local.array(8, int32)  # in gx; -1 beside it
    for i in range(8):
        pixel = uint32(pixel0 + down + i % 4 + i // 4 * 64)
        n, pixel = int32(pixel // uint32(plan.rows * plan.columns)), uint32(pixel % uint32(plan.rows * plan.columns))
        h = int32(int32(pixel // uint32(plan.columns)) * g.stride_h + h0)
        j = int32(int32(pixel % uint32(plan.columns)) * g.stride_w + j0)
        place[i] = int32(((n * g.H + h) * g.W + j) * g.C + group * g.group_C + c0 + int32(across))
        if n >= g.N or h >= g.H or j >= g.W:
            place[i] = int32(-1)
    channels = int32(g.group_C - c0 - int32(across))
    if plan.relu:
        for i in range(8):
            if place[i] >= 0:
                _gate(sums, gate, i * 8, place[i], channels, plan.wide_c)
    for i in range(8):
        if place[i] >= 0:
            _store(gx, sums, i * 8, place[i], channels, plan.wide_c)


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
    """The gradient before a ReLU whose output is y: of eight sums, those from i on, none where y[at ...] is not above 0.

    The sums belong to y[at] and y[at + 32] and what follows; `channels` are left there.
    """
    for j in range(2):
        first, place = i + j * 4, uint32(at + j * 32)
        if wide:
            if channels > j * 32:
                d, e, f, h = load4(y, place)
                sums[first], sums[first + 1] = _where(d, sums[first]), _where(e, sums[first + 1])
                sums[first + 2], sums[first + 3] = _where(f, sums[first + 2]), _where(h, sums[first + 3])
        else:
            for e in range(4):
                if channels > j * 32 + e:
                    sums[first + e] = _where(y[uint32(place + e)], sums[first + e])


@device_function
def _where(y, total):
    return float32(0) if y <= float32(0) else total


@device_function
def _store(gx, sums, i, at, channels, wide):
    """Eight sums, those from i on, to gx[at] and gx[at + 32] and what follows; `channels` are left there."""
    for j in range(2):
        first, place = i + j * 4, uint32(at + j * 32)
        if wide:
            if channels > j * 32:
                store4(gx, place, sums[first], sums[first + 1], sums[first + 2], sums[first + 3])
        else:
            for e in range(4):
                if channels > j * 32 + e:
                    gx[uint32(place + e)] = sums[first + e]
