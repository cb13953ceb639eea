"""The definition of max_pool2d_backward on a GPU: a thread computes one element of gx.

The first rung. Threads that sent each window's gradient to its maximum would add to the same element at once where
windows overlap. Here a thread gathers instead: it searches every window that holds its element, and takes the gradients
of those whose maximum it is. Limited by instructions: a window is searched by each of its R*S elements.
"""

from __future__ import annotations

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Pool2DGeometry, unsupported
from fastconv.kernels.registry import kernel

THREADS = 256


@kernel(limited_by="instructions: each element searches its windows", unsupported=unsupported)
def cuda_naive(problem, x, gy, gx, workspace):
    g = Pool2DGeometry.of(problem)
    blocks = -(-g.N * g.H * g.W * g.C // THREADS)
    return [Launch(_max_pool2d_backward, (blocks,), (THREADS,), (x, gy, gx, g))]


# At least 4 blocks on a multiprocessor, not 8: for these the assembler would keep registers in memory on some GPUs.
@cuda_jit(FLOATS, FLOATS, FLOATS, Pool2DGeometry, launch_bounds=(THREADS, 4))
def _max_pool2d_backward(x, gy, gx, g):
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
        for t in range(g.S):
            s = int32(g.S - 1 - t)
            right = int32(j + g.pad_left - s * g.dilation_w)
            q = int32(uint32(max(right, 0)) // uint32(g.stride_w))
            if p < g.P and q < g.Q and int32(p * g.stride_h) == down and int32(q * g.stride_w) == right:
                if _first_maximum(x, g, n, p, q, c) == r * g.S + s:
                    total += gy[uint32(((n * g.P + p) * g.Q + q) * g.C + c)]
    gx[thread] = total


@device_function
def _first_maximum(x, g, n, p, q, c):
    """The tap r * S + s of the window's maximum: the first of equals, or the first NaN."""
    best, found = float32(0), int32(-1)
    for r in range(g.R):
        h = int32(p * g.stride_h - g.pad_top + r * g.dilation_h)
        for s in range(g.S):
            j = int32(q * g.stride_w - g.pad_left + s * g.dilation_w)
            if 0 <= h < g.H and 0 <= j < g.W:
                value = x[uint32(((n * g.H + h) * g.W + j) * g.C + c)]
                if found < 0 or value > best or (value != value and best == best):
                    best, found = value, int32(r * g.S + s)
    return found
