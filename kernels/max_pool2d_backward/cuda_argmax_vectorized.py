"""max_pool2d_backward in two launches, with four channels a thread.

Beside cuda_argmax: loads and stores of 128 bits, and the four channels' taps in one word. R, S and the stride are
constants of the search, which is compiled for each window: a thread has ROWS windows below each other, loads each row
once for all of them, and looks for its maximum once. Limited by bytes: x and gx, and the taps twice.
"""

from __future__ import annotations

import functools

import numpy as np
from numba import types

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Pool2DGeometry
from fastconv.kernels.cuda_vectors import aligned, load4, store4
from fastconv.kernels.max_pool2d_backward import cuda_argmax
from fastconv.kernels.registry import kernel

THREADS = 256
ROWS = 4
OUTPUTS = ROWS * 4
WORDS = types.Array(types.uint32, 1, "C")  # a tap of each of four channels, the first in the lowest byte


def unsupported(problem):
    if problem.C % 4:
        return "it takes channels by fours"
    return cuda_argmax.unsupported(problem)


workspace_bytes = cuda_argmax.workspace_bytes


@kernel(limited_by="bytes: reading x, writing gx", unsupported=unsupported, workspace_bytes=workspace_bytes)
def cuda_argmax_vectorized(problem, x, gy, gx, workspace):
    if not aligned(x, gy, gx):
        return cuda_argmax.cuda_argmax(problem, x, gy, gx, workspace)
    g = Pool2DGeometry.of(problem)
    taps = workspace[: workspace_bytes(problem)].view(np.uint32)
    rows = min(ROWS, g.P) if g.R > g.stride_h else 1
    searching = g.N * -(-g.P // rows) * g.Q * g.C // 4
    gathering = g.N * -(-g.H // ROWS) * g.W * g.C // 4
    return [
        Launch(search_by(g.R, g.S, g.stride_h, rows), (-(-searching // THREADS),), (THREADS,), (x, taps, g)),
        Launch(_gather, (-(-gathering // THREADS),), (THREADS,), (taps, gy, gx, g)),
    ]


@functools.cache
def search_by(R, S, stride_h, rows):
    """The search in `rows` windows of R by S below each other, stride_h apart, in a thread."""
    lines = (rows - 1) * stride_h + R  # of x, that these windows see
    outputs = rows * 4

    @cuda_jit(FLOATS, WORDS, Pool2DGeometry, launch_bounds=THREADS)
    def _search(x, taps, g):
        """The tap r * S + s of each window's maximum: the first of equals, or the first NaN."""
        thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        across, down = uint32(g.Q * g.C // 4), uint32((g.P + rows - 1) // uint32(rows))
        strip, quad = thread // across, thread % across
        if strip >= uint32(g.N * down):
            return
        n, p = int32(strip // down), int32(strip % down * rows)
        q, c = int32(quad * 4 // uint32(g.C)), int32(quad * 4 % uint32(g.C))
        best, found = cuda.local.array(outputs, float32), cuda.local.array(outputs, int32)
        largest, tap = cuda.local.array(4, float32), cuda.local.array(4, int32)  # of a line
        value = cuda.local.array(4, float32)
        for i in range(outputs):
            best[i], found[i] = float32(0), int32(-1)
        for line in range(lines):
            h = int32(p * g.stride_h - g.pad_top + line)
            for k in range(4):
                largest[k], tap[k] = float32(0), int32(-1)
            for s in range(S):
                j = int32(q * g.stride_w - g.pad_left + s)
                inside = 0 <= h < g.H and 0 <= j < g.W
                for k in range(4):
                    value[k] = float32(0)
                if inside:  # alone: loads that nothing depends on yet do not wait for each other
                    at = uint32(((n * g.H + h) * g.W + j) * g.C + c)
                    value[0], value[1], value[2], value[3] = load4(x, at)
                for k in range(4):
                    nan = value[k] != value[k] and largest[k] == largest[k]
                    if inside and (tap[k] < 0 or value[k] > largest[k] or nan):
                        largest[k], tap[k] = value[k], int32(s)
            for i in range(rows):
                if i * stride_h <= line < i * stride_h + R:
                    for k in range(4):
                        o = i * 4 + k
                        nan = largest[k] != largest[k] and best[o] == best[o]
                        if tap[k] >= 0 and (found[o] < 0 or largest[k] > best[o] or nan):
                            best[o], found[o] = largest[k], int32((line - i * stride_h) * S + tap[k])
        for i in range(rows):
            if int32(p + i) < g.P:
                word = uint32(0)
                for k in range(4):
                    word = uint32(word | uint32(found[i * 4 + k]) << uint32(8 * k))
                taps[uint32((n * g.P + p + i) * across + quad)] = word

    return _search


@cuda_jit(WORDS, FLOATS, FLOATS, Pool2DGeometry, launch_bounds=THREADS)
def _gather(taps, gy, gx, g):
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    across, down = uint32(g.W * g.C // 4), uint32((g.H + ROWS - 1) // uint32(ROWS))
    strip, quad = thread // across, thread % across
    if strip >= uint32(g.N * down):
        return
    n, h = int32(strip // down), int32(strip % down * ROWS)
    j, c = int32(quad * 4 // uint32(g.C)), int32(quad * 4 % uint32(g.C))
    total, gradient = cuda.local.array(OUTPUTS, float32), cuda.local.array(4, float32)
    for i in range(OUTPUTS):
        total[i] = float32(0)
    p_end = int32(min(g.P, uint32(h + ROWS - 1 + g.pad_top) // uint32(g.stride_h) + 1))
    q_end = int32(min(g.Q, uint32(j + g.pad_left) // uint32(g.stride_w) + 1))
    q_first = int32(uint32(max(j + g.pad_left - g.S + g.stride_w, 0)) // uint32(g.stride_w))
    p = int32(uint32(max(h + g.pad_top - g.R + g.stride_h, 0)) // uint32(g.stride_h))
    while p < p_end:
        q = q_first
        while q < q_end:
            at = uint32(((n * g.P + p) * g.Q + q) * g.C + c)
            gradient[0], gradient[1], gradient[2], gradient[3] = load4(gy, at)
            word = taps[at // uint32(4)]
            # The tap by which the window holds the thread's first element, if it does; the next lies S further.
            first = int32((h + g.pad_top - p * g.stride_h) * g.S + j + g.pad_left - q * g.stride_w)
            for k in range(4):
                tap = int32(int32(word >> uint32(8 * k) & uint32(255)) - first)
                for i in range(ROWS):
                    if tap == int32(i * g.S):
                        total[i * 4 + k] += gradient[k]
            q = int32(q + 1)
        p = int32(p + 1)
    for i in range(ROWS):
        if int32(h + i) < g.H:
            at = uint32(((n * g.H + h + i) * across + quad) * 4)
            store4(gx, at, total[i * 4], total[i * 4 + 1], total[i * 4 + 2], total[i * 4 + 3])
