"""average_pool2d with a column of outputs for each thread.

Beside cuda_naive, which is coalesced already: a thread computes ROWS outputs below each other, of one q and channel. It
finds its place, three divisions, once for all of them, and for each tap has ROWS loads on their way that do not wait
for each other. How many elements a window has follows from its rows and its columns. Threads are numbered along Q and
C, so neighbours still read and write neighbours. Limited by bytes.
"""

from __future__ import annotations

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Pool2DGeometry, unsupported
from fastconv.kernels.registry import kernel

THREADS = 256
ROWS = 4


@kernel(limited_by="bytes: reading x", unsupported=unsupported)
def cuda_column(problem, x, y, workspace):
    g = Pool2DGeometry.of(problem)
    columns = g.N * -(-g.P // ROWS) * g.Q * g.C
    return [Launch(_average_pool2d, (-(-columns // THREADS),), (THREADS,), (x, y, g))]


@cuda_jit(FLOATS, FLOATS, Pool2DGeometry, launch_bounds=THREADS)
def _average_pool2d(x, y, g):
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    across, down = uint32(g.Q * g.C), uint32((g.P + ROWS - 1) // uint32(ROWS))
    strip, element = thread // across, thread % across
    if strip >= uint32(g.N * down):
        return
    n, p = int32(strip // down), int32(strip % down * ROWS)
    q, c = int32(element // uint32(g.C)), int32(element % uint32(g.C))
    total, rows = cuda.local.array(ROWS, float32), cuda.local.array(ROWS, int32)
    for i in range(ROWS):
        total[i], rows[i] = float32(0), int32(0)
    columns = int32(0)
    for r in range(g.R):
        top = int32(p * g.stride_h - g.pad_top + r * g.dilation_h)
        for i in range(ROWS):
            rows[i] = int32(rows[i] + (0 <= int32(top + i * g.stride_h) < g.H))
        columns = int32(0)
        for s in range(g.S):
            j = int32(q * g.stride_w - g.pad_left + s * g.dilation_w)
            if 0 <= j < g.W:
                columns = int32(columns + 1)
                for i in range(ROWS):
                    h = int32(top + i * g.stride_h)
                    if 0 <= h < g.H:
                        total[i] += x[uint32(((n * g.H + h) * g.W + j) * g.C + c)]
    for i in range(ROWS):
        if int32(p + i) < g.P:
            y[uint32((n * g.P + p + i) * across + element)] = total[i] / float32(rows[i] * columns)
