"""conv2d with a few filters a group, with four filters of a column of outputs for each thread.

Beside cuda_implicit_gemm, whose tile of 64 filters of one group would be all but empty: here a thread has ROWS outputs
below each other, of four filters of one group. For each tap and four channels it reads four floats of x for each
output and 16 of w, for 64 multiply-adds. Threads are numbered along Q and K, so a warp's have neighbouring groups: they
read neighbours in x and w, and write neighbours. Limited by loads from the level-1 cache; with four channels a group by
bytes.
"""

from __future__ import annotations

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cuda_vectors import aligned, load4, load_four, store4
from fastconv.kernels.registry import kernel

THREADS = 128
ROWS = 4
SUMS = 4 * ROWS
FEW = 32  # filters of a group: with more a tile of cuda_implicit_gemm is half full


def unsupported(problem):
    if problem.groups == 1 or problem.K // problem.groups % 4:
        return "it is for groups of four filters or multiples of them"
    return cuda_geometry.unsupported(problem)


@kernel(
    limited_by="loads; with few channels a group bytes",
    unsupported=unsupported,
    fuses=("relu",),
    pays=lambda problem: problem.K // problem.groups < FEW,
)
def cuda_grouped(problem, x, w, bias, y, workspace, relu=False):
    g = Conv2DGeometry.of(problem)
    threads = g.N * -(-g.P // ROWS) * g.Q * (g.K // 4)
    given = y if bias is None else bias  # without a bias the kernel reads nothing there
    wide_x, wide_w = int(g.group_C % 4 == 0 and aligned(x)), int(aligned(w, y))
    args = (x, w, given, y, g, wide_x, wide_w, int(bias is not None), int(relu))
    return [Launch(_conv2d, (-(-threads // THREADS),), (THREADS,), args)]


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, int32, int32, int32, int32, launch_bounds=THREADS)
def _conv2d(x, w, bias, y, g, wide_x, wide_w, has_bias, relu):
    thread = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    quads = uint32(g.K // 4)
    across, down = uint32(g.Q * quads), uint32((g.P + ROWS - 1) // uint32(ROWS))
    strip, element = thread // across, thread % across
    if strip >= uint32(g.N * down):
        return
    n, p = int32(strip // down), int32(strip % down * ROWS)
    q, k = int32(element // quads), int32(element % quads * 4)
    c0 = int32(uint32(k) // uint32(g.group_K) * g.group_C)
    sums, a = cuda.local.array(SUMS, float32), cuda.local.array(SUMS, float32)
    for f in range(4):
        first = float32(0)
        if has_bias:
            first = bias[uint32(k + f)]
        for i in range(ROWS):
            sums[i * 4 + f] = first
    for r in range(g.R):
        top = int32(p * g.stride_h - g.pad_top + r * g.dilation_h)
        for s in range(g.S):
            j = int32(q * g.stride_w - g.pad_left + s * g.dilation_w)
            c = int32(g.group_C)  # a column beside the image has no channels to look at
            if 0 <= j < g.W:
                c = int32(0)
            while c < g.group_C:
                for i in range(SUMS):
                    a[i] = float32(0)
                channels = int32(1)
                for i in range(ROWS):
                    h = int32(top + i * g.stride_h)
                    if 0 <= h < g.H:
                        at = uint32(((n * g.H + h) * g.W + j) * g.C + c0 + c)
                        if wide_x:
                            a[i * 4], a[i * 4 + 1], a[i * 4 + 2], a[i * 4 + 3] = load4(x, at)
                        else:
                            a[i * 4] = x[at]
                if wide_x:
                    channels = int32(4)
                for e in range(4):
                    if e < channels:
                        at = uint32(((r * g.S + s) * g.group_C + c + e) * g.K + k)
                        b0, b1, b2, b3 = load_four(w, at, wide_w)
                        for i in range(ROWS):
                            sums[i * 4] += a[i * 4 + e] * b0
                            sums[i * 4 + 1] += a[i * 4 + e] * b1
                            sums[i * 4 + 2] += a[i * 4 + e] * b2
                            sums[i * 4 + 3] += a[i * 4 + e] * b3
                c = int32(c + channels)
    for i in range(ROWS):
        if int32(p + i) < g.P:
            if relu:
                for f in range(4):
                    if sums[i * 4 + f] < float32(0):
                        sums[i * 4 + f] = float32(0)
            at = uint32(((n * g.P + p + i) * g.Q + q) * g.K + k)
            if wide_w:
                store4(y, at, sums[i * 4], sums[i * 4 + 1], sums[i * 4 + 2], sums[i * 4 + 3])
            else:
                for f in range(4):
                    y[uint32(at + f)] = sums[i * 4 + f]
