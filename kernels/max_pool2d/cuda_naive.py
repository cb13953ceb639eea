"""The definition of max_pool2d on a GPU: a thread computes one element of y.

The first rung. Threads are numbered as y lies in memory, channels first, so a warp reads neighbours in x and writes
neighbours in y. Limited by bytes: a window's elements are read once for each window that holds them, from the caches
where windows overlap.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, int32, uint32
from fastconv.kernels.cuda_geometry import Pool2DGeometry, unsupported
from fastconv.kernels.registry import kernel

THREADS = 256
LOWEST = np.float32(-np.inf)


@kernel(limited_by="bytes: reading x", unsupported=unsupported)
def cuda_naive(problem, x, y, workspace):
    g = Pool2DGeometry.of(problem)
    blocks = -(-g.N * g.P * g.Q * g.C // THREADS)
    return [Launch(_max_pool2d, (blocks,), (THREADS,), (x, y, g))]


@cuda_jit(FLOATS, FLOATS, Pool2DGeometry, launch_bounds=THREADS)
def _max_pool2d(x, y, g):
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if thread >= uint32(g.N * g.P * g.Q * g.C):
        return
    c, pixel = int32(thread % uint32(g.C)), thread // uint32(g.C)
    q, p, n = int32(pixel % uint32(g.Q)), int32(pixel // uint32(g.Q) % uint32(g.P)), int32(pixel // uint32(g.P * g.Q))
    best = LOWEST
    for r in range(g.R):
        h = int32(p * g.stride_h - g.pad_top + r * g.dilation_h)
        for s in range(g.S):
            j = int32(q * g.stride_w - g.pad_left + s * g.dilation_w)
            if 0 <= h < g.H and 0 <= j < g.W:
                value = x[uint32(((n * g.H + h) * g.W + j) * g.C + c)]
                if value > best or value != value:  # NaN stays: nothing is greater
                    best = value
    y[thread] = best
