"""average_pool2d_backward with a column of gx for each thread.

Beside cuda_naive, which asks of each tap whether a window holds its element by it: a thread computes ROWS elements
below each other, of one column and channel, and walks the windows that hold any of them. Each gradient is read and
divided once for all elements that it goes to; how many elements a window has is a difference of its ends. Divisions
find the first and the last window, before the loops. Limited by bytes.
"""

from __future__ import annotations

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Pool2DGeometry
from fastconv.kernels.registry import kernel

THREADS = 256
ROWS = 4


def unsupported(problem):
    if max(problem.dilation_h, problem.dilation_w) > 1:
        return "it takes windows for rectangles: no dilation"
    return cuda_geometry.unsupported(problem)


@kernel(limited_by="bytes: writing gx", unsupported=unsupported)
def cuda_column(problem, gy, gx, workspace):
    g = Pool2DGeometry.of(problem)
    columns = g.N * -(-g.H // ROWS) * g.W * g.C
    return [Launch(_average_pool2d_backward, (-(-columns // THREADS),), (THREADS,), (gy, gx, g))]


@cuda_jit(FLOATS, FLOATS, Pool2DGeometry, launch_bounds=THREADS)
def _average_pool2d_backward(gy, gx, g):
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    across, down = uint32(g.W * g.C), uint32((g.H + ROWS - 1) // uint32(ROWS))
    strip, element = thread // across, thread % across
    if strip >= uint32(g.N * down):
        return
    n, h = int32(strip // down), int32(strip % down * ROWS)
    j, c = int32(element // uint32(g.C)), int32(element % uint32(g.C))
    total = cuda.local.array(ROWS, float32)
    for i in range(ROWS):
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
            columns = int32(min(left + g.S, g.W) - max(left, 0))
            share = gy[uint32(((n * g.P + p) * g.Q + q) * g.C + c)] / float32(rows * columns)
            for i in range(ROWS):
                if top <= int32(h + i) < int32(top + g.R):
                    total[i] += share
            q = int32(q + 1)
        p = int32(p + 1)
    for i in range(ROWS):
        if int32(h + i) < g.H:
            gx[uint32((n * g.H + h + i) * across + element)] = total[i]
