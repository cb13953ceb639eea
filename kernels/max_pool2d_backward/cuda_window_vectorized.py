"""max_pool2d_backward with four channels of a window for each thread, where no two windows overlap.

Beside cuda_window: loads and stores of 128 bits, a fourth of the requests. R and S are constants of the kernel, which
is compiled for each window: its loops are unrolled and their loads sent before the first has come, so that one window
is enough for a thread. Limited by bytes.
"""

from __future__ import annotations

import functools

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Pool2DGeometry
from fastconv.kernels.cuda_vectors import aligned, load4, store4
from fastconv.kernels.max_pool2d_backward import cuda_window
from fastconv.kernels.registry import kernel

THREADS = 256


def unsupported(problem):
    if problem.C % 4:
        return "it takes channels by fours"
    return cuda_window.unsupported(problem)


@kernel(limited_by="bytes: reading x, writing gx", unsupported=unsupported)
def cuda_window_vectorized(problem, x, gy, gx, workspace):
    if not aligned(x, gy, gx):
        return cuda_window.cuda_window(problem, x, gy, gx, workspace)
    g = Pool2DGeometry.of(problem)
    threads = g.N * g.P * g.Q * g.C // 4
    return [Launch(max_pool2d_backward_by(g.R, g.S), (-(-threads // THREADS),), (THREADS,), (x, gy, gx, g))]


@functools.cache
def max_pool2d_backward_by(R, S):
    """The kernel for windows of R by S."""

    @cuda_jit(FLOATS, FLOATS, FLOATS, Pool2DGeometry, launch_bounds=THREADS)
    def _max_pool2d_backward(x, gy, gx, g):
        thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        quads = uint32(g.C // 4)
        if thread >= uint32(g.N * g.P * g.Q * quads):
            return
        c, pixel = int32(thread % quads * 4), thread // quads
        q, p = int32(pixel % uint32(g.Q)), int32(pixel // uint32(g.Q) % uint32(g.P))
        n = int32(pixel // uint32(g.P * g.Q))
        top, left = int32(p * g.stride_h - g.pad_top), int32(q * g.stride_w - g.pad_left)
        best, value = cuda.local.array(4, float32), cuda.local.array(4, float32)
        gradient, found = cuda.local.array(4, float32), cuda.local.array(4, int32)  # found: where the maximum is in x
        gradient[0], gradient[1], gradient[2], gradient[3] = load4(gy, uint32(thread * 4))
        for k in range(4):
            best[k], found[k] = float32(0), int32(-1)
        for r in range(R):
            h = int32(top + r * g.dilation_h)
            for s in range(S):
                j = int32(left + s * g.dilation_w)
                inside = 0 <= h < g.H and 0 <= j < g.W
                at = int32(((n * g.H + h) * g.W + j) * g.C + c)
                for k in range(4):
                    value[k] = float32(0)
                if inside:  # alone: loads that nothing depends on yet do not wait for each other
                    value[0], value[1], value[2], value[3] = load4(x, uint32(at))
                for k in range(4):
                    nan = value[k] != value[k] and best[k] == best[k]
                    if inside and (found[k] < 0 or value[k] > best[k] or nan):
                        best[k], found[k] = value[k], at
        right = int32(left + g.stride_w)  # where the next window begins, or the image ends
        if q + 1 == g.Q:
            right = g.W
        bottom = int32(top + g.stride_h)
        if p + 1 == g.P:
            bottom = g.H
        h = int32(max(top, 0))
        while h < bottom:
            j = int32(max(left, 0))
            while j < right:
                at = int32(((n * g.H + h) * g.W + j) * g.C + c)
                for k in range(4):
                    value[k] = gradient[k] if at == found[k] else float32(0)
                store4(gx, uint32(at), value[0], value[1], value[2], value[3])
                j = int32(j + 1)
            h = int32(h + 1)

    return _max_pool2d_backward
