"""The definition of average_pool2d_backward on a GPU: a thread computes one element of gx.

The first rung. As windows may overlap, a thread gathers its shares from all windows that hold its element, each divided
by that window's number of elements. Limited by instructions: finding the windows and counting their elements.
"""

from __future__ import annotations

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Pool2DGeometry, unsupported
from fastconv.kernels.registry import kernel

THREADS = 256


@kernel(limited_by="instructions: each element counts its windows", unsupported=unsupported)
def cuda_naive(problem, gy, gx, workspace):
    g = Pool2DGeometry.of(problem)
    blocks = -(-g.N * g.H * g.W * g.C // THREADS)
    return [Launch(_average_pool2d_backward, (blocks,), (THREADS,), (gy, gx, g))]


@cuda_jit(FLOATS, FLOATS, Pool2DGeometry, launch_bounds=THREADS)
def _average_pool2d_backward(gy, gx, g):
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if thread >= uint32(g.N * g.H * g.W * g.C):
        return
    c, pixel = int32(thread % uint32(g.C)), thread // uint32(g.C)
    j, h, n = int32(pixel % uint32(g.W)), int32(pixel // uint32(g.W) % uint32(g.H)), int32(pixel // uint32(g.H * g.W))
    total = float32(0)
    for i in range(g.R):
        r = int32(g.R - 1 - i)  # the last tap first: outputs in their order
        down = int32(h + g.pad_top - r * g.dilation_h)  # p times its stride, if an output p met the element by tap r
        p = int32(uint32(max(down, 0)) // uint32(g.stride_h))
        rows = _taps_inside(p * g.stride_h - g.pad_top, g.R, g.dilation_h, g.H)
        for t in range(g.S):
            s = int32(g.S - 1 - t)
            right = int32(j + g.pad_left - s * g.dilation_w)
            q = int32(uint32(max(right, 0)) // uint32(g.stride_w))
            if p < g.P and q < g.Q and int32(p * g.stride_h) == down and int32(q * g.stride_w) == right:
                columns = _taps_inside(q * g.stride_w - g.pad_left, g.S, g.dilation_w, g.W)
                total += gy[uint32(((n * g.P + p) * g.Q + q) * g.C + c)] / float32(rows * columns)
    gx[thread] = total


@device_function
def _taps_inside(start, taps, dilation, length):
    """How many taps of a window that begins at `start` lie in an image of that length."""
    count = int32(0)
    for tap in range(taps):
        if 0 <= int32(start + tap * dilation) < length:
            count = int32(count + 1)
    return count
