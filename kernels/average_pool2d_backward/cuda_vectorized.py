"""average_pool2d_backward with four channels a thread, in loads and stores of 128 bits.

Beside cuda_column: a request moves four times as much. A thread still computes ROWS elements of gx below each other,
but of four channels, whose windows it finds once. Limited by bytes: most are those of gx, for whose stores nothing
waits.
"""

from __future__ import annotations

from fastconv.kernels.average_pool2d_backward import cuda_column
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Pool2DGeometry
from fastconv.kernels.cuda_vectors import aligned, load4, store4
from fastconv.kernels.registry import kernel

THREADS = 256
ROWS = 4
OUTPUTS = ROWS * 4


def unsupported(problem):
    if problem.C % 4:
        return "it takes channels by fours"
    return cuda_column.unsupported(problem)


@kernel(limited_by="bytes: writing gx", unsupported=unsupported)
def cuda_vectorized(problem, gy, gx, workspace):
    if not aligned(gy, gx):
        return cuda_column.cuda_column(problem, gy, gx, workspace)
    g = Pool2DGeometry.of(problem)
    threads = g.N * -(-g.H // ROWS) * g.W * g.C // 4
    return [Launch(_average_pool2d_backward, (-(-threads // THREADS),), (THREADS,), (gy, gx, g))]


@cuda_jit(FLOATS, FLOATS, Pool2DGeometry, launch_bounds=THREADS)
def _average_pool2d_backward(gy, gx, g):
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    across, down = uint32(g.W * g.C // 4), uint32((g.H + ROWS - 1) // uint32(ROWS))
    strip, element = thread // across, uint32(thread % across * 4)
    if strip >= uint32(g.N * down):
        return
    n, h = int32(strip // down), int32(strip % down * ROWS)
    j, c = int32(element // uint32(g.C)), int32(element % uint32(g.C))
    total, share = cuda.local.array(OUTPUTS, float32), cuda.local.array(4, float32)
    for i in range(OUTPUTS):
        total[i] = float32(0)
    p_end = int32(min(g.P, uint32(h + ROWS - 1 + g.pad_top) // uint32(g.stride_h) + 1))
    q_end = int32(min(g.Q, uint32(j + g.pad_left) // uint32(g.stride_w) + 1))
    q_first = int32(uint32(max(j + g.pad_left - g.S + g.stride_w, 0)) // uint32(g.stride_w))
    p = int32(uint32(max(h + g.pad_top - g.R + g.stride_h, 0)) // uint32(g.stride_h))
    while p < p_end:
        top = int32(p * g.stride_h - g.pad_top)
        rows = int32(min(top + g.R, g.H) - max(top, 0))
        q = q_first
        while q < q_end:
            left = int32(q * g.stride_w - g.pad_left)
            elements = float32(rows * int32(min(left + g.S, g.W) - max(left, 0)))
            share[0], share[1], share[2], share[3] = load4(gy, uint32(((n * g.P + p) * g.Q + q) * g.C + c))
            for k in range(4):
                share[k] /= elements
            for i in range(ROWS):
                if top <= int32(h + i) < int32(top + g.R):
                    for k in range(4):
                        total[i * 4 + k] += share[k]
            q = int32(q + 1)
        p = int32(p + 1)
    for i in range(ROWS):
        if int32(h + i) < g.H:
            at = uint32((n * g.H + h + i) * g.W * g.C + element)
            store4(gx, at, total[i * 4], total[i * 4 + 1], total[i * 4 + 2], total[i * 4 + 3])
