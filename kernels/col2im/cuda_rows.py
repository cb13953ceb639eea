"""col2im with a thread for each element of gx: it gathers what the windows hold of it.

The CPU's kernels add each window to the pixels below it, and threads that did so would add to one pixel at once. Here a
thread walks along the taps that meet its pixel and adds up one element for each, always in the same order. Threads are
numbered as gx lies, so neighbours read neighbours: a warp reads runs of C elements of rows of col. Limited by bytes:
col is read once; with few channels by sectors, of which only C elements are used.
"""

from __future__ import annotations

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cuda_taps import TapSteps, first_tap
from fastconv.kernels.im2col.cuda_rows import unsupported
from fastconv.kernels.registry import kernel

THREADS = 256


@kernel(limited_by="bytes: reading col", unsupported=unsupported)
def cuda_rows(problem, col, gx, workspace):
    return [col2im(problem, col, gx, 0, problem.N)]


def col2im(problem, col, gx, first, images):
    """The launch that writes images `first` to `first + images` of gx; col holds theirs alone."""
    elements = images * problem.H * problem.W * problem.C
    args = (col, gx, Conv2DGeometry.of(problem), TapSteps.of(problem), first, images)
    return Launch(_col2im, (-(-elements // THREADS),), (THREADS,), args)


@cuda_jit(FLOATS, FLOATS, Conv2DGeometry, TapSteps, int32, int32, launch_bounds=THREADS)
def _col2im(col, gx, g, step, first, images):
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if thread >= uint32(images * g.H * g.W * g.C):
        return
    c, pixel = int32(thread % uint32(g.C)), thread // uint32(g.C)
    j, h, n = int32(pixel % uint32(g.W)), int32(pixel // uint32(g.W) % uint32(g.H)), int32(pixel // uint32(g.H * g.W))
    r, p = first_tap(int32(h + g.pad_top), g.R, g.stride_h, g.dilation_h)
    first_s, first_q = first_tap(int32(j + g.pad_left), g.S, g.stride_w, g.dilation_w)
    total = float32(0)
    while r < g.R:
        s, q = first_s, first_q
        while s < g.S:
            if 0 <= p < g.P and 0 <= q < g.Q:
                total += col[uint32(((((n * g.P + p) * g.Q + q) * g.R + r) * g.S + s) * g.C + c)]
            s, q = int32(s + step.s), int32(q - step.q)
        r, p = int32(r + step.r), int32(p - step.p)
    gx[uint32(first * g.H * g.W * g.C + thread)] = total
