"""max_pool2d_backward in two launches: where the maxima are, then who gets which gradient.

Beside cuda_naive, whose threads search all windows that hold their element: the first launch searches each window once
and writes a byte, the tap of its maximum, to the workspace. In the second a thread computes ROWS elements of gx below
each other, of one column and channel: it walks the windows that hold any of them, and reads a byte and a gradient of
each. So x comes from DRAM once, and no division is left in a loop. Threads are numbered along a row and its channels,
so neighbours read and write neighbours. Limited by bytes: the taps are a fourth of gy.
"""

from __future__ import annotations

from numba import types

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Pool2DGeometry
from fastconv.kernels.registry import kernel

THREADS = 256
ROWS = 4
BYTES = types.Array(types.uint8, 1, "C")


def unsupported(problem):
    if max(problem.dilation_h, problem.dilation_w) > 1:
        return "it takes windows for rectangles: no dilation"
    if problem.R * problem.S > 256:
        return "a byte counts no more than 256 taps"
    return cuda_geometry.unsupported(problem)


def workspace_bytes(problem):
    return problem.N * problem.P * problem.Q * problem.C


@kernel(limited_by="bytes: reading x, writing gx", unsupported=unsupported, workspace_bytes=workspace_bytes)
def cuda_argmax(problem, x, gy, gx, workspace):
    g = Pool2DGeometry.of(problem)
    taps = workspace[: workspace_bytes(problem)]
    searching = g.N * -(-g.P // ROWS) * g.Q * g.C
    gathering = g.N * -(-g.H // ROWS) * g.W * g.C
    return [
        Launch(_search, (-(-searching // THREADS),), (THREADS,), (x, taps, g)),
        Launch(_gather, (-(-gathering // THREADS),), (THREADS,), (taps, gy, gx, g)),
    ]


@cuda_jit(FLOATS, BYTES, Pool2DGeometry, launch_bounds=THREADS)
def _search(x, taps, g):
    """The tap r * S + s of each window's maximum: the first of equals, or the first NaN."""
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    across, down = uint32(g.Q * g.C), uint32((g.P + ROWS - 1) // uint32(ROWS))
    strip, element = thread // across, thread % across
    if strip >= uint32(g.N * down):
        return
    n, p = int32(strip // down), int32(strip % down * ROWS)
    q, c = int32(element // uint32(g.C)), int32(element % uint32(g.C))
    best, found = cuda.local.array(ROWS, float32), cuda.local.array(ROWS, int32)
    for i in range(ROWS):
        best[i], found[i] = float32(0), int32(-1)
    for r in range(g.R):
        top = int32(p * g.stride_h - g.pad_top + r)
        for s in range(g.S):
            j = int32(q * g.stride_w - g.pad_left + s)
            for i in range(ROWS):
                h = int32(top + i * g.stride_h)
                if 0 <= h < g.H and 0 <= j < g.W:
                    value = x[uint32(((n * g.H + h) * g.W + j) * g.C + c)]
                    if found[i] < 0 or value > best[i] or (value != value and best[i] == best[i]):
                        best[i], found[i] = value, int32(r * g.S + s)
    for i in range(ROWS):
        if int32(p + i) < g.P:
            taps[uint32((n * g.P + p + i) * across + element)] = found[i]


@cuda_jit(BYTES, FLOATS, FLOATS, Pool2DGeometry, launch_bounds=THREADS)
def _gather(taps, gy, gx, g):
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    across, down = uint32(g.W * g.C), uint32((g.H + ROWS - 1) // uint32(ROWS))
    strip, element = thread // across, thread % across
    if strip >= uint32(g.N * down):
        return
    n, h = int32(strip // down), int32(strip % down * ROWS)
    j, c = int32(element // uint32(g.C)), int32(element % uint32(g.C))
    total = cuda.local.array(ROWS, float32)
    for i in range(ROWS):
        total[i] = float32(0)
    p_end = int32(min(g.P, uint32(h + ROWS - 1 + g.pad_top) // uint32(g.stride_h) + 1))
    q_end = int32(min(g.Q, uint32(j + g.pad_left) // uint32(g.stride_w) + 1))
    q_first = int32(uint32(max(j + g.pad_left - g.S + g.stride_w, 0)) // uint32(g.stride_w))
    p = int32(uint32(max(h + g.pad_top - g.R + g.stride_h, 0)) // uint32(g.stride_h))
    while p < p_end:
        q = q_first
        while q < q_end:
            window = uint32(((n * g.P + p) * g.Q + q) * g.C + c)
            gradient = gy[window]
            # The tap by which the window holds the thread's first element, if it does; the next lies S further.
            tap = int32((h + g.pad_top - p * g.stride_h) * g.S + j + g.pad_left - q * g.stride_w)
            tap = int32(taps[window] - tap)
            for i in range(ROWS):
                if tap == int32(i * g.S):
                    total[i] += gradient
            q = int32(q + 1)
        p = int32(p + 1)
    for i in range(ROWS):
        if int32(h + i) < g.H:
            gx[uint32((n * g.H + h + i) * across + element)] = total[i]
