"""conv2d_backward_data with one channel a group, with a column of gx for each thread.

Beside cuda_coalesced: a sum is over the window alone, so each load of w served one multiply-add. Here a thread computes
ROWS elements below each other that are a stride apart: the same taps meet them, in rows of gy below each other. For
each tap it reads w once, and has ROWS loads of gy on their way that do not wait for each other. It walks along the taps
that meet its elements, with neither a division nor a product with a zero (see ../cuda_taps.py). Threads are numbered
along W and C, so neighbours read and write neighbours. Limited by bytes: gy and gx; where windows overlap, gy comes
from the level-1 cache.
"""

from __future__ import annotations

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cuda_taps import TapSteps, first_tap
from fastconv.kernels.registry import kernel

THREADS = 256
ROWS = 4


def unsupported(problem):
    if problem.groups != problem.C:
        return "it is for one channel a group"
    return cuda_geometry.unsupported(problem)


@kernel(limited_by="bytes: reading gy, writing gx", unsupported=unsupported, fuses=("relu",))
def cuda_depthwise(problem, gy, w, gx, workspace, relu=None):
    g = Conv2DGeometry.of(problem)
    phases = min(g.stride_h, g.H)  # rows that no two of them share a column of a thread's
    strips = phases * -(-g.H // (g.stride_h * ROWS))
    gate = gx if relu is None else relu  # without a ReLU the kernel reads nothing there
    args = (gy, w, gate, gx, g, TapSteps.of(problem), phases, strips, int(relu is not None))
    return [Launch(_backward_data, (-(-g.N * strips * g.W * g.C // THREADS),), (THREADS,), args)]


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, TapSteps, int32, int32, int32, launch_bounds=THREADS)
def _backward_data(gy, w, gate, gx, g, step, phases, strips, relu):
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    across = uint32(g.W * g.C)
    strip, element = thread // across, thread % across
    n, strip = int32(strip // uint32(strips)), strip % uint32(strips)
    if n >= g.N:
        return
    h = int32(strip // uint32(phases) * ROWS * g.stride_h + strip % uint32(phases))
    j, c = int32(element // uint32(g.C)), int32(element % uint32(g.C))
    r, p = first_tap(int32(h + g.pad_top), g.R, g.stride_h, g.dilation_h)
    first_s, first_q = first_tap(int32(j + g.pad_left), g.S, g.stride_w, g.dilation_w)
    total = cuda.local.array(ROWS, float32)
    for i in range(ROWS):
        total[i] = float32(0)
    while r < g.R:
        s, q = first_s, first_q
        while s < g.S:
            if 0 <= q < g.Q:
                k = int32(c * g.group_K)
                while k < (c + 1) * g.group_K:
                    b = w[uint32((r * g.S + s) * g.K + k)]
                    for i in range(ROWS):
                        if 0 <= int32(p + i) < g.P:
                            total[i] += gy[uint32(((n * g.P + p + i) * g.Q + q) * g.K + k)] * b
                    k = int32(k + 1)
            s, q = int32(s + step.s), int32(q - step.q)
        r, p = int32(r + step.r), int32(p - step.p)
    for i in range(ROWS):
        row = int32(h + i * g.stride_h)
        if row < g.H:
            at = uint32((n * g.H + row) * across + element)
            value = total[i]
            if relu and gate[at] <= float32(0):
                value = float32(0)
            gx[at] = value
