"""im2col with a row of the matrix across the warp: neighbours write, and mostly read, neighbours.

A warp's 32 threads take 32 elements of a row of col, so what they write are full sectors; what they read are runs of C
channels. A thread keeps its place in the row, and so its tap and channel, for 8 rows one below the other: their pixels
are counted on, and the divisions that an index costs are made once for 8 elements. Limited by bytes: col is R*S times
the pixels of y, and is written once.
"""

from __future__ import annotations

import math

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.registry import kernel

LANES = 32  # elements of a row side by side
WARPS = 8
ROWS = 8  # of a thread
THREADS = LANES * WARPS


def unsupported(problem):
    size = math.prod((problem.N, problem.P, problem.Q, problem.R, problem.S, problem.C))
    if size >= 1 << 31:
        return f"a matrix of {size} elements is more than 32-bit indices reach"
    return cuda_geometry.unsupported(problem)


@kernel(limited_by="bytes: writing col", unsupported=unsupported)
def cuda_rows(problem, x, col, workspace):
    return [im2col(Conv2DGeometry.of(problem), x, col, 0, problem.N * problem.P * problem.Q)]


def im2col(g, x, col, first, rows):
    """The launch that writes rows `first` to `first + rows` of the matrix to `col`."""
    blocks = -(-rows // (ROWS * WARPS)) * -(-g.R * g.S * g.C // LANES)
    return Launch(_im2col, (blocks,), (LANES, WARPS), (x, col, g, first, rows))


@cuda_jit(FLOATS, FLOATS, Conv2DGeometry, int32, int32, launch_bounds=THREADS)
def _im2col(x, col, g, first, rows):
    depth = int32(g.R * g.S * g.C)
    across = int32((depth + LANES - 1) // LANES)  # blocks beside each other
    d = int32(uint32(cuda.blockIdx.x) % uint32(across) * LANES + cuda.threadIdx.x)
    row = int32((uint32(cuda.blockIdx.x) // uint32(across) * WARPS + cuda.threadIdx.y) * ROWS)
    if d >= depth:
        return
    c, tap = int32(uint32(d) % uint32(g.C)), int32(uint32(d) // uint32(g.C))
    r, s = int32(uint32(tap) // uint32(g.S)), int32(uint32(tap) % uint32(g.S))
    from_h, from_w = int32(r * g.dilation_h - g.pad_top), int32(s * g.dilation_w - g.pad_left)
    pixel = uint32(first + row)
    q, p, n = int32(pixel % uint32(g.Q)), int32(pixel // uint32(g.Q) % uint32(g.P)), int32(pixel // uint32(g.P * g.Q))
    for _ in range(ROWS):
        if row < rows:
            h, j = int32(p * g.stride_h + from_h), int32(q * g.stride_w + from_w)
            value = float32(0)
            if 0 <= h < g.H and 0 <= j < g.W:
                value = x[uint32(((n * g.H + h) * g.W + j) * g.C + c)]
            col[uint32(row * depth + d)] = value
        row, q = int32(row + 1), int32(q + 1)
        if q == g.Q:
            q, p = int32(0), int32(p + 1)
        if p == g.P:
            p, n = int32(0), int32(n + 1)
