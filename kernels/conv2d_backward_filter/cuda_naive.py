"""The formula of conv2d's filter gradient on a GPU: a thread computes one element of gw.

The first rung. A thread sums its element over all pixels of the batch in their order, so that no two threads write to
the same place and every run gives the same bits. Threads are numbered as gw lies in memory: a warp reads neighbours in
gy and mostly one element of x. Limited by latency: there are only R*S*C/groups*K threads, and each waits for its loads
N*P*Q times.
"""

from __future__ import annotations

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry, unsupported
from fastconv.kernels.registry import kernel

THREADS = 256


@kernel(limited_by="latency: few threads with long sums", unsupported=unsupported)
def cuda_naive(problem, x, gy, gw, gb, workspace):
    g = Conv2DGeometry.of(problem)
    blocks = -(-g.R * g.S * g.group_C * g.K // THREADS)
    launches = [Launch(_backward_filter, (blocks,), (THREADS,), (x, gy, gw, g))]
    if gb is not None:
        launches.append(Launch(_backward_bias, (-(-g.K // THREADS),), (THREADS,), (gy, gb, g)))
    return launches


@cuda_jit(FLOATS, FLOATS, FLOATS, Conv2DGeometry, launch_bounds=THREADS)
def _backward_filter(x, gy, gw, g):
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if thread >= uint32(g.R * g.S * g.group_C * g.K):
        return
    k, row = int32(thread % uint32(g.K)), thread // uint32(g.K)
    c, tap = int32(row % uint32(g.group_C)), row // uint32(g.group_C)
    r, s = int32(tap // uint32(g.S)), int32(tap % uint32(g.S))
    channel = int32(uint32(k) // uint32(g.group_K) * g.group_C + c)
    total = float32(0)
    for n in range(g.N):
        for p in range(g.P):
            h = int32(p * g.stride_h - g.pad_top + r * g.dilation_h)
            for q in range(g.Q):
                j = int32(q * g.stride_w - g.pad_left + s * g.dilation_w)
                if 0 <= h < g.H and 0 <= j < g.W:
                    a = x[uint32(((n * g.H + h) * g.W + j) * g.C + channel)]
                    b = gy[uint32(((n * g.P + p) * g.Q + q) * g.K + k)]
                    total += a * b
    gw[thread] = total


@cuda_jit(FLOATS, FLOATS, Conv2DGeometry, launch_bounds=THREADS)
def _backward_bias(gy, gb, g):
    k = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if k >= g.K:
        return
    total = float32(0)
    for pixel in range(int32(g.N * g.P * g.Q)):
        total += gy[uint32(pixel * g.K + k)]
    gb[k] = total
