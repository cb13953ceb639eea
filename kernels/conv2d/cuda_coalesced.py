"""conv2d with the filters across the warp: one line differs from cuda_naive.

Threads are numbered along the filters first, so the 32 threads of a warp compute 32 filters of one pixel (or, of fewer
filters, a few pixels). Their elements of w lie side by side, 4 sectors of 32 bytes, as do those of y; the element of x
is the same for all. Limited by loads: two of them, by way of the level-1 cache, for each multiply-add.
"""

from __future__ import annotations

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry, unsupported
from fastconv.kernels.registry import kernel

THREADS = 256


@kernel(limited_by="loads: two for each multiply-add", unsupported=unsupported, fuses=("relu",))
def cuda_coalesced(problem, x, w, bias, y, workspace, relu=False):
    g = Conv2DGeometry.of(problem)
    blocks = -(-g.N * g.P * g.Q * g.K // THREADS)
    given = y if bias is None else bias  # without a bias the kernel reads nothing there
    return [Launch(_conv2d, (blocks,), (THREADS,), (x, w, given, y, g, int(bias is not None), int(relu)))]


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, int32, int32, launch_bounds=THREADS)
def _conv2d(x, w, bias, y, g, has_bias, relu):
    pixels = uint32(g.N * g.P * g.Q)
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if thread >= pixels * g.K:
        return
    k, pixel = thread % uint32(g.K), thread // uint32(g.K)
    q, p, n = int32(pixel % uint32(g.Q)), int32(pixel // uint32(g.Q) % uint32(g.P)), int32(pixel // uint32(g.P * g.Q))
    first = int32(k // uint32(g.group_K)) * g.group_C  # channel of the filter's group
    total = float32(0)
    if has_bias:
        total = bias[k]
    for r in range(g.R):
        h = int32(p * g.stride_h - g.pad_top + r * g.dilation_h)
        for s in range(g.S):
            j = int32(q * g.stride_w - g.pad_left + s * g.dilation_w)
            if 0 <= h < g.H and 0 <= j < g.W:
                for c in range(g.group_C):
                    a = x[uint32(((n * g.H + h) * g.W + j) * g.C + first + c)]
                    b = w[uint32(((r * g.S + s) * g.group_C + c) * g.K + k)]
                    total += a * b
    if relu and total < float32(0):
        total = float32(0)
    y[uint32(pixel * g.K + k)] = total
