"""max_pool2d with four channels a thread, in loads and stores of 128 bits, by a kernel that knows the window.

Beside cuda_column: a request moves four times as much, and so does each load on its way. Where windows share rows, a
thread has ROWS outputs below each other, but loads each row once for all windows that it lies in, and looks for the
largest of its S pixels once. Where they share none, a thread has one output: the loads of its window are on their way
together. For that R, S and the stride are constants of the kernel, which is compiled for each window, and loops along a
row are unrolled. Limited by bytes.
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Pool2DGeometry
from fastconv.kernels.cuda_vectors import aligned, load4, store4
from fastconv.kernels.max_pool2d.cuda_column import cuda_column
from fastconv.kernels.registry import kernel

THREADS = 256
ROWS = 4  # outputs of a thread, where windows share rows
LOWEST = np.float32(-np.inf)


def unsupported(problem):
    if problem.C % 4:
        return "it takes channels by fours"
    return cuda_geometry.unsupported(problem)


@kernel(limited_by="bytes: reading x", unsupported=unsupported)
def cuda_vectorized(problem, x, y, workspace):
    if not aligned(x, y):
        return cuda_column(problem, x, y, workspace)
    g = Pool2DGeometry.of(problem)
    rows = min(ROWS, g.P) if g.R > g.stride_h and g.dilation_h == 1 else 1
    threads = g.N * -(-g.P // rows) * g.Q * g.C // 4
    return [Launch(max_pool2d_by(g.R, g.S, g.stride_h, rows), (-(-threads // THREADS),), (THREADS,), (x, y, g))]


@functools.cache
def max_pool2d_by(R, S, stride_h, rows):
    """The kernel for `rows` windows of R by S below each other, stride_h apart, in a thread."""
    lines = (rows - 1) * stride_h + R  # of x, that these windows see
    outputs = rows * 4

    @cuda_jit(FLOATS, FLOATS, Pool2DGeometry, launch_bounds=THREADS)
    def _max_pool2d(x, y, g):
        thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        across, down = uint32(g.Q * g.C // 4), uint32((g.P + rows - 1) // uint32(rows))
        strip, element = thread // across, uint32(thread % across * 4)
        if strip >= uint32(g.N * down):
            return
        n, p = int32(strip // down), int32(strip % down * rows)
        q, c = int32(element // uint32(g.C)), int32(element % uint32(g.C))
        best = cuda.local.array(outputs, float32)
        largest, value = cuda.local.array(4, float32), cuda.local.array(4, float32)
        for i in range(outputs):
            best[i] = LOWEST
        for line in range(lines):
            h = int32(p * g.stride_h - g.pad_top + line * g.dilation_h)
            for k in range(4):
                largest[k] = LOWEST
            for s in range(S):
                j = int32(q * g.stride_w - g.pad_left + s * g.dilation_w)
                for k in range(4):
                    value[k] = LOWEST
                if 0 <= h < g.H and 0 <= j < g.W:
                    at = uint32(((n * g.H + h) * g.W + j) * g.C + c)
                    value[0], value[1], value[2], value[3] = load4(x, at)
                for k in range(4):
                    largest[k] = _larger(value[k], largest[k])
            for i in range(rows):
                if i * stride_h <= line < i * stride_h + R:
                    for k in range(4):
                        best[i * 4 + k] = _larger(largest[k], best[i * 4 + k])
        for i in range(rows):
            if int32(p + i) < g.P:
                at = uint32((n * g.P + p + i) * g.Q * g.C + element)
                store4(y, at, best[i * 4], best[i * 4 + 1], best[i * 4 + 2], best[i * 4 + 3])

    return _max_pool2d


@device_function
def _larger(value, best):
    """The larger of both; NaN if one is."""
    return value if value > best or value != value else best
