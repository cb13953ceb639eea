"""conv2d_backward_data with the filter turned round first, so that a warp reads neighbours of it.

Beside cuda_naive: its threads are numbered along the channels as they are here, but of w, whose filters lie side by
side, a warp read 32 elements K apart. A launch of its own now writes w (R, S, C / groups, K) to the workspace as
(R, S, K, C / groups); after that one line differs. Threads of a warp read 32 neighbours of the filter, 4 sectors, and
one element of gy for all. Limited by loads: two of them, by way of the level-1 cache, for each multiply-add.
"""

from __future__ import annotations

import math

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry, unsupported
from fastconv.kernels.cuda_transpose import transpose
from fastconv.kernels.registry import kernel

THREADS = 256


def workspace_bytes(problem):
    """Bytes of the filter."""
    return 4 * math.prod(problem.w_shape)


@kernel(limited_by="loads: two for each multiply-add", unsupported=unsupported, workspace_bytes=workspace_bytes)
def cuda_coalesced(problem, gy, w, gx, workspace):
    g = Conv2DGeometry.of(problem)
    turned = workspace[: workspace_bytes(problem)].view("float32")
    blocks = -(-g.N * g.H * g.W * g.C // THREADS)
    return [
        transpose(w, turned, g.R * g.S, g.group_C, g.K),
        Launch(_backward_data, (blocks,), (THREADS,), (gy, turned, gx, g)),
    ]


@cuda_jit(FLOATS, FLOATS, FLOATS, Conv2DGeometry, launch_bounds=THREADS)
def _backward_data(gy, turned, gx, g):
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
                    b = turned[uint32(((r * g.S + s) * g.K + k) * g.group_C + c - group * g.group_C)]
                    total += a * b
    gx[thread] = total
