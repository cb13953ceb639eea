"""average_pool2d with four channels a thread, in loads and stores of 128 bits, by a kernel that knows the window.

Beside cuda_column: a request moves four times as much, and so does each load on its way. Where windows share rows, a
thread has ROWS outputs below each other, but loads each row once for all windows that it lies in. Where they share
none, a thread has one output: the loads of its window are on their way together. For that R, S and the stride are
constants of the kernel, which is compiled for each window, and loops along a row are unrolled. Sums have cuda_column's
order. Limited by bytes.
"""

from __future__ import annotations

import functools

from fastconv.kernels import cuda_geometry
from fastconv.kernels.average_pool2d.cuda_column import cuda_column
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Pool2DGeometry
from fastconv.kernels.cuda_vectors import aligned, load4, store4
from fastconv.kernels.registry import kernel

THREADS = 256
ROWS = 4  # outputs of a thread, where windows share rows


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
    return [Launch(average_pool2d_by(g.R, g.S, g.stride_h, rows), (-(-threads // THREADS),), (THREADS,), (x, y, g))]


@functools.cache
def average_pool2d_by(R, S, stride_h, rows):
    """The kernel for `rows` windows of R by S below each other, stride_h apart, in a thread."""
    lines = (rows - 1) * stride_h + R  # of x, that these windows see
    outputs = rows * 4

    @cuda_jit(FLOATS, FLOATS, Pool2DGeometry, launch_bounds=THREADS)
    def _average_pool2d(x, y, g):
        thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        across, down = uint32(g.Q * g.C // 4), uint32((g.P + rows - 1) // uint32(rows))
        strip, element = thread // across, uint32(thread % across * 4)
        if strip >= uint32(g.N * down):
            return
        n, p = int32(strip // down), int32(strip % down * rows)
        q, c = int32(element // uint32(g.C)), int32(element % uint32(g.C))
        total, value = cuda.local.array(outputs, float32), cuda.local.array(4, float32)
        count, columns = cuda.local.array(rows, int32), int32(0)  # rows of each window in the image, and columns
        for i in range(outputs):
            total[i] = float32(0)
        for i in range(rows):
            count[i] = int32(0)
        for s in range(S):
            columns = int32(columns + (0 <= int32(q * g.stride_w - g.pad_left + s * g.dilation_w) < g.W))
        for line in range(lines):
            h = int32(p * g.stride_h - g.pad_top + line * g.dilation_h)
            for i in range(rows):
                count[i] = int32(count[i] + (i * stride_h <= line < i * stride_h + R and 0 <= h < g.H))
            for s in range(S):
                j = int32(q * g.stride_w - g.pad_left + s * g.dilation_w)
                for k in range(4):
                    value[k] = float32(0)
                if 0 <= h < g.H and 0 <= j < g.W:
                    at = uint32(((n * g.H + h) * g.W + j) * g.C + c)
                    value[0], value[1], value[2], value[3] = load4(x, at)
                for i in range(rows):
                    if i * stride_h <= line < i * stride_h + R:
                        for k in range(4):
                            total[i * 4 + k] += value[k]
        for i in range(rows):
            if int32(p + i) < g.P:
                at, elements = uint32((n * g.P + p + i) * g.Q * g.C + element), float32(count[i] * columns)
                for k in range(4):
                    value[k] = total[i * 4 + k] / elements
                store4(y, at, value[0], value[1], value[2], value[3])

    return _average_pool2d
