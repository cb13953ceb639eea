"""The formula of conv2d's input gradient on a GPU: a thread computes one element of gx.

The first rung. The CPU's walks the forward's loops and adds to whatever x a product used; threads that did so would add
to the same element at once. Here a thread gathers instead: it asks of each tap which output, if any, used its element.
Threads are numbered as gx lies in memory, so a warp's threads share gy and read elements of w that lie K apart. Limited
by these, which take a sector of 32 bytes each.
"""

from __future__ import annotations

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry, unsupported
from fastconv.kernels.registry import kernel

THREADS = 256


@kernel(limited_by="sectors: a warp's 32 elements of w lie apart", unsupported=unsupported)
def cuda_naive(problem, gy, w, gx, workspace):
    g = Conv2DGeometry.of(problem)
    blocks = -(-g.N * g.H * g.W * g.C // THREADS)
    return [Launch(_backward_data, (blocks,), (THREADS,), (gy, w, gx, g))]


@cuda_jit(FLOATS, FLOATS, FLOATS, Conv2DGeometry, launch_bounds=THREADS)
def _backward_data(gy, w, gx, g):
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if thread >= uint32(g.N * g.H * g.W * g.C):
        return
    c, pixel = int32(thread % uint32(g.C)), thread // uint32(g.C)
    j, h, n = int32(pixel % uint32(g.W)), int32(pixel // uint32(g.W) % uint32(g.H)), int32(pixel // uint32(g.H * g.W))
    group = int32(uint32(c) // uint32(g.group_C))
    total = float32(0)
    for r in range(g.R):
        down = int32(h + g.pad_top - r * g.dilation_h)  # p times its stride, if an output p met the element by tap r
        p = int32(uint32(max(down, 0)) // uint32(g.stride_h))
        for s in range(g.S):
            right = int32(j + g.pad_left - s * g.dilation_w)
            q = int32(uint32(max(right, 0)) // uint32(g.stride_w))
            if p < g.P and q < g.Q and int32(p * g.stride_h) == down and int32(q * g.stride_w) == right:
                for i in range(g.group_K):
                    k = int32(group * g.group_K + i)
                    a = gy[uint32(((n * g.P + p) * g.Q + q) * g.K + k)]
                    b = w[uint32(((r * g.S + s) * g.group_C + c - group * g.group_C) * g.K + k)]
                    total += a * b
    gx[thread] = total
