"""max_pool2d with a column of outputs for each thread.

Beside cuda_naive, which is coalesced already: a thread computes ROWS outputs below each other, of one q and channel. It
finds its place, three divisions, once for all of them, and for each tap has ROWS loads on their way that do not wait
for each other. Threads are numbered along Q and C, so neighbours still read and write neighbours. Limited by bytes.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Pool2DGeometry, unsupported
from fastconv.kernels.registry import kernel

THREADS = 256
ROWS = 4
LOWEST = np.float32(-np.inf)


@kernel(limited_by="bytes: reading x", unsupported=unsupported)
def cuda_column(problem, x, y, workspace):
    g = Pool2DGeometry.of(problem)
    columns = g.N * -(-g.P // ROWS) * g.Q * g.C
    return [Launch(_max_pool2d, (-(-columns // THREADS),), (THREADS,), (x, y, g))]


@cuda_jit(FLOATS, FLOATS, Pool2DGeometry, launch_bounds=THREADS)
def _max_pool2d(x, y, g):
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    across, down = uint32(g.Q * g.C), uint32((g.P + ROWS - 1) // uint32(ROWS))
    strip, element = thread // across, thread % across
    if strip >= uint32(g.N * down):
        return
    n, p = int32(strip // down), int32(strip % down * ROWS)
    q, c = int32(element // uint32(g.C)), int32(element % uint32(g.C))
    best = cuda.local.array(ROWS, float32)
    for i in range(ROWS):
        best[i] = LOWEST
    for r in range(g.R):
        top = int32(p * g.stride_h - g.pad_top + r * g.dilation_h)
        for s in range(g.S):
            j = int32(q * g.stride_w - g.pad_left + s * g.dilation_w)
            if 0 <= j < g.W:
                for i in range(ROWS):
                    h = int32(top + i * g.stride_h)
                    if 0 <= h < g.H:
                        value = x[uint32(((n * g.H + h) * g.W + j) * g.C + c)]
                        if value > best[i] or value != value:  # NaN stays: nothing is greater
                            best[i] = value
    for i in range(ROWS):
        if int32(p + i) < g.P:
            y[uint32((n * g.P + p + i) * across + element)] = best[i]
