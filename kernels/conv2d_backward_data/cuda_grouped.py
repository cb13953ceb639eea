"""conv2d_backward_data with a few channels a group, with four channels of a column of gx for each thread.

Beside cuda_implicit_gemm, whose tile of 64 channels of one group would be all but empty: here a thread has ROWS
elements of gx that are a stride below each other, which the same taps meet (see ../cuda_taps.py), of four channels of
one group. For each tap and four filters it reads four floats of gy for each element and 16 of w, for 64 multiply-adds.
Threads are numbered along W and C, so a warp's read neighbours in gy and w, and write neighbours. Limited by loads from
the level-1 cache; with four filters a group by bytes.
"""

from __future__ import annotations

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cuda_taps import TapSteps, first_tap
from fastconv.kernels.cuda_vectors import aligned, load4, store4
from fastconv.kernels.registry import kernel

THREADS = 128
ROWS = 4
SUMS = 4 * ROWS
FEW = 32  # channels of a group: with more a tile of cuda_implicit_gemm is half full


def unsupported(problem):
    if problem.groups == 1 or problem.C // problem.groups % 4:
        return "it is for groups of four channels or multiples of them"
    return cuda_geometry.unsupported(problem)


@kernel(
    limited_by="loads; with few filters a group bytes",
    unsupported=unsupported,
    fuses=("relu",),
    pays=lambda problem: problem.C // problem.groups < FEW,
)
def cuda_grouped(problem, gy, w, gx, workspace, relu=None):
    g = Conv2DGeometry.of(problem)
    phases = min(g.stride_h, g.H)  # rows that no two of them share a column of a thread's
    strips = phases * -(-g.H // (g.stride_h * ROWS))
    gate = gx if relu is None else relu  # without a ReLU the kernel reads nothing there
    wide_k, wide_c = int(g.group_K % 4 == 0 and aligned(gy, w)), int(aligned(gx))
    args = (gy, w, gate, gx, g, TapSteps.of(problem), phases, strips, wide_k, wide_c, int(relu is not None))
    return [Launch(_backward_data, (-(-g.N * strips * g.W * g.C // 4 // THREADS),), (THREADS,), args)]


@device_function
def _filters(array, i, wide):
    """The four floats from array[i] on, or that one and zeros."""
    if wide:
        return load4(array, i)
    return array[i], float32(0), float32(0), float32(0)


@cuda_jit(
    *(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, TapSteps, int32, int32, int32, int32, int32),
    launch_bounds=(THREADS, 5),
)
def _backward_data(gy, w, gate, gx, g, step, phases, strips, wide_k, wide_c, relu):
    thread = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    quads = uint32(g.C // 4)
    across = uint32(g.W * quads)
    strip, element = thread // across, thread % across
    n, strip = int32(strip // uint32(strips)), strip % uint32(strips)
    if n >= g.N:
        return
    h = int32(strip // uint32(phases) * ROWS * g.stride_h + strip % uint32(phases))
    j, c = int32(element // quads), int32(element % quads * 4)
    group = int32(uint32(c) // uint32(g.group_C))
    k0, c0 = int32(group * g.group_K), int32(c - group * g.group_C)
    r, p = first_tap(int32(h + g.pad_top), g.R, g.stride_h, g.dilation_h)
    first_s, first_q = first_tap(int32(j + g.pad_left), g.S, g.stride_w, g.dilation_w)
    sums, a = cuda.local.array(SUMS, float32), cuda.local.array(SUMS, float32)
    for i in range(SUMS):
        sums[i] = float32(0)
    filters = int32(1)
    if wide_k:
        filters = int32(4)
    while r < g.R:
        s, q = first_s, first_q
        while s < g.S:
            k = int32(g.group_K)  # a column beside the output has no filters to look at
            if 0 <= q < g.Q:
                k = int32(0)
            while k < g.group_K:
                for i in range(SUMS):
                    a[i] = float32(0)
                for i in range(ROWS):
                    if 0 <= int32(p + i) < g.P:
                        at = uint32(((n * g.P + p + i) * g.Q + q) * g.K + k0 + k)
                        a[i * 4], a[i * 4 + 1], a[i * 4 + 2], a[i * 4 + 3] = _filters(gy, at, wide_k)
                for e in range(4):
                    at = uint32(((r * g.S + s) * g.group_C + c0 + e) * g.K + k0 + k)
                    b0, b1, b2, b3 = _filters(w, at, wide_k)
                    for i in range(ROWS):
                        # One after the other, as where filters come singly: the same bits.
                        sums[i * 4 + e] += a[i * 4] * b0
                        sums[i * 4 + e] += a[i * 4 + 1] * b1
                        sums[i * 4 + e] += a[i * 4 + 2] * b2
                        sums[i * 4 + e] += a[i * 4 + 3] * b3
                k = int32(k + filters)
            s, q = int32(s + step.s), int32(q - step.q)
        r, p = int32(r + step.r), int32(p - step.p)
    for i in range(ROWS):
        row = int32(h + i * g.stride_h)
        if row < g.H:
            at = uint32(((n * g.H + row) * g.W + j) * g.C + c)
            if relu:
                for e in range(4):
                    if gate[uint32(at + e)] <= float32(0):
                        sums[i * 4 + e] = float32(0)
            if wide_c:
                store4(gx, at, sums[i * 4], sums[i * 4 + 1], sums[i * 4 + 2], sums[i * 4 + 3])
            else:
                for e in range(4):
                    gx[uint32(at + e)] = sums[i * 4 + e]
