"""conv2d with one channel a group, with a column of outputs for each thread.

Beside cuda_coalesced: a sum is over the window alone, so each load of w served one multiply-add. Here a thread computes
ROWS outputs below each other, of one q and filter: for each tap it reads w once, and has ROWS loads of x on their way
that do not wait for each other. Threads are numbered along Q and K, so neighbours read and write neighbours. Limited by
bytes: x and y; where windows overlap, x comes from the level-1 cache.
"""

from __future__ import annotations

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.registry import kernel

THREADS = 256
ROWS = 4


def unsupported(problem):
    if problem.groups != problem.C:
        return "it is for one channel a group"
    return cuda_geometry.unsupported(problem)


@kernel(limited_by="bytes: reading x, writing y", unsupported=unsupported, fuses=("relu",))
def cuda_depthwise(problem, x, w, bias, y, workspace, relu=False):
    g = Conv2DGeometry.of(problem)
    columns = g.N * -(-g.P // ROWS) * g.Q * g.K
    given = y if bias is None else bias  # without a bias the kernel reads nothing there
    args = (x, w, given, y, g, int(bias is not None), int(relu))
    return [Launch(_conv2d, (-(-columns // THREADS),), (THREADS,), args)]


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, int32, int32, launch_bounds=THREADS)
def _conv2d(x, w, bias, y, g, has_bias, relu):
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    across, down = uint32(g.Q * g.K), uint32((g.P + ROWS - 1) // uint32(ROWS))
    strip, element = thread // across, thread % across
    if strip >= uint32(g.N * down):
        return
    n, p = int32(strip // down), int32(strip % down * ROWS)
    q, k = int32(element // uint32(g.K)), int32(element % uint32(g.K))
    c = int32(uint32(k) // uint32(g.group_K))
    start = float32(0)
    if has_bias:
        start = bias[uint32(k)]
    total = cuda.local.array(ROWS, float32)
    for i in range(ROWS):
        total[i] = start
    for r in range(g.R):
        top = int32(p * g.stride_h - g.pad_top + r * g.dilation_h)
        for s in range(g.S):
            j = int32(q * g.stride_w - g.pad_left + s * g.dilation_w)
            if 0 <= j < g.W:
                b = w[uint32((r * g.S + s) * g.K + k)]
                for i in range(ROWS):
                    h = int32(top + i * g.stride_h)
                    if 0 <= h < g.H:
                        total[i] += x[uint32(((n * g.H + h) * g.W + j) * g.C + c)] * b
    for i in range(ROWS):
        if int32(p + i) < g.P:
            value = total[i]
            if relu and value < float32(0):
                value = float32(0)
            y[uint32((n * g.P + p + i) * across + element)] = value
