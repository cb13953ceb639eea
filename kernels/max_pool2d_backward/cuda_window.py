"""max_pool2d_backward with a window for each thread, where no two windows overlap.

Beside cuda_naive, whose threads search a window for each element of it: a thread searches its window once and writes
the gradients of all elements up to the next window, zero but for the maximum's. So x and gy are read once, and gx is
written once. A thread takes ROWS windows below each other, with ROWS loads on their way that do not wait for each
other. Threads are numbered along Q and C, so neighbours read and write neighbours. Limited by bytes.
"""

from __future__ import annotations

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Pool2DGeometry
from fastconv.kernels.registry import kernel

THREADS = 256
ROWS = 2


def unsupported(problem):
    p = problem
    if (p.R - 1) * p.dilation_h >= p.stride_h or (p.S - 1) * p.dilation_w >= p.stride_w:
        return "it is for windows that do not overlap"
    return cuda_geometry.unsupported(problem)


@kernel(limited_by="bytes: reading x, writing gx", unsupported=unsupported)
def cuda_window(problem, x, gy, gx, workspace):
    g = Pool2DGeometry.of(problem)
    columns = g.N * -(-g.P // ROWS) * g.Q * g.C
    return [Launch(_max_pool2d_backward, (-(-columns // THREADS),), (THREADS,), (x, gy, gx, g))]


@cuda_jit(FLOATS, FLOATS, FLOATS, Pool2DGeometry, launch_bounds=THREADS)
def _max_pool2d_backward(x, gy, gx, g):
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    across, down = uint32(g.Q * g.C), uint32((g.P + ROWS - 1) // uint32(ROWS))
    strip, element = thread // across, thread % across
    if strip >= uint32(g.N * down):
        return
    n, p = int32(strip // down), int32(strip % down * ROWS)
    q, c = int32(element // uint32(g.C)), int32(element % uint32(g.C))
    best, found = cuda.local.array(ROWS, float32), cuda.local.array(ROWS, int32)
    for i in range(ROWS):
        best[i], found[i] = float32(0), int32(-1)  # found: the maximum's place in x
    for r in range(g.R):
        top = int32(p * g.stride_h - g.pad_top + r * g.dilation_h)
        for s in range(g.S):
            j = int32(q * g.stride_w - g.pad_left + s * g.dilation_w)
            for i in range(ROWS):
                h = int32(top + i * g.stride_h)
                if 0 <= h < g.H and 0 <= j < g.W:
                    place = int32(((n * g.H + h) * g.W + j) * g.C + c)
                    value = x[uint32(place)]
                    if found[i] < 0 or value > best[i] or (value != value and best[i] == best[i]):
                        best[i], found[i] = value, place
    left = int32(max(q * g.stride_w - g.pad_left, 0))
    right = int32((q + 1) * g.stride_w - g.pad_left)  # where the next window begins, or the image ends
    if q + 1 == g.Q:
        right = g.W
    for i in range(ROWS):
        if int32(p + i) < g.P:
            gradient = gy[uint32((n * g.P + p + i) * across + element)]
            h = int32(max((p + i) * g.stride_h - g.pad_top, 0))
            bottom = int32((p + i + 1) * g.stride_h - g.pad_top)
            if p + i + 1 == g.P:
                bottom = g.H
            while h < bottom:
                j = left
                while j < right:
                    place = int32(((n * g.H + h) * g.W + j) * g.C + c)
                    value = float32(0)
                    if place == found[i]:
                        value = gradient
                    gx[uint32(place)] = value
                    j = int32(j + 1)
                h = int32(h + 1)
