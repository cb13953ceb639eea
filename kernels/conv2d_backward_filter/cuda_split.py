"""conv2d_backward_filter with the sum over pixels split over blocks.

Beside cuda_naive, whose few threads each sum over all pixels: the rows of gy are cut into chunks, as many as fill a
GPU, and a thread sums one element of gw over one chunk, into the workspace. A last launch adds the chunks in their
order, so every run gives the same bits; so it goes for the bias. The columns of gy that a tap meets are found before
the loop, which is left with two loads and a multiply-add. Threads are numbered along the filters, so a warp reads
neighbours in gy, and of x one element, or with one channel a group neighbours. Limited by loads.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry, unsupported
from fastconv.kernels.registry import kernel

THREADS = 256
ENOUGH = 1 << 18  # threads: what 128 multiprocessors hold at once
PIXELS = 64  # of a chunk, at least


class Chunks(NamedTuple):
    """How the rows of gy are cut: by the problem alone."""

    number: int
    rows: int  # of a chunk; the last may have fewer

    @classmethod
    def of(cls, p):
        """The chunks of a problem."""
        rows = max(p.N * p.P, 1)
        wanted = min(-(-ENOUGH // (p.R * p.S * p.C // p.groups * p.K)), -(-rows * p.Q // PIXELS), 65535)
        each = -(-rows // wanted)
        return cls(-(-rows // each), each)


def workspace_bytes(problem):
    return 4 * Chunks.of(problem).number * problem.K * (problem.R * problem.S * problem.C // problem.groups + 1)


@kernel(limited_by="loads: two for each multiply-add", unsupported=unsupported, workspace_bytes=workspace_bytes)
def cuda_split(problem, x, gy, gw, gb, workspace):
    g, t = Conv2DGeometry.of(problem), Chunks.of(problem)
    elements = g.R * g.S * g.group_C * g.K
    memory = workspace[: workspace_bytes(problem)].view("float32")
    sums, bias_sums = memory[: t.number * elements], memory[t.number * elements :]
    blocks, bias_blocks = -(-elements // THREADS), -(-g.K // THREADS)
    launches = [
        Launch(_backward_filter, (blocks, t.number), (THREADS,), (x, gy, sums, g, t)),
        Launch(_add_chunks, (blocks,), (THREADS,), (sums, gw, elements, t.number)),
    ]
    if gb is not None:
        launches += [
            Launch(_backward_bias, (bias_blocks, t.number), (THREADS,), (gy, bias_sums, g, t)),
            Launch(_add_chunks, (bias_blocks,), (THREADS,), (bias_sums, gb, g.K, t.number)),
        ]
    return launches


@cuda_jit(FLOATS, FLOATS, FLOATS, Conv2DGeometry, Chunks, launch_bounds=THREADS)
def _backward_filter(x, gy, sums, g, t):
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    elements = uint32(g.R * g.S * g.group_C * g.K)
    if thread >= elements:
        return
    k, place = int32(thread % uint32(g.K)), thread // uint32(g.K)
    c, tap = int32(place % uint32(g.group_C)), place // uint32(g.group_C)
    r, s = int32(tap // uint32(g.S)), int32(tap % uint32(g.S))
    channel = int32(uint32(k) // uint32(g.group_K) * g.group_C + c)
    left = int32(s * g.dilation_w - g.pad_left)  # the column that the tap meets at q = 0; it moves on by the stride
    q_first = int32(uint32(max(g.stride_w - 1 - left, 0)) // uint32(g.stride_w))
    q_end = int32(uint32(max(g.W - 1 - left + g.stride_w, 0)) // uint32(g.stride_w))
    q_end = int32(min(g.Q, q_end))
    total = float32(0)
    row = int32(cuda.blockIdx.y * t.rows)
    end = int32(min(row + t.rows, g.N * g.P))
    while row < end:
        n = int32(row // uint32(g.P))
        h = int32((row - n * g.P) * g.stride_h - g.pad_top + r * g.dilation_h)
        if 0 <= h < g.H:
            at_x = uint32(((n * g.H + h) * g.W + q_first * g.stride_w + left) * g.C + channel)
            at_gy = uint32((row * g.Q + q_first) * g.K + k)
            q = q_first
            while q < q_end:
                total += x[at_x] * gy[at_gy]
                at_x, at_gy = uint32(at_x + g.stride_w * g.C), uint32(at_gy + g.K)
                q = int32(q + 1)
        row = int32(row + 1)
    sums[uint32(cuda.blockIdx.y * elements + thread)] = total


@cuda_jit(FLOATS, FLOATS, Conv2DGeometry, Chunks, launch_bounds=THREADS)
def _backward_bias(gy, sums, g, t):
    k = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if k >= g.K:
        return
    total = float32(0)
    pixel = int32(cuda.blockIdx.y * t.rows * g.Q)
    end = int32(min(pixel + t.rows * g.Q, g.N * g.P * g.Q))
    while pixel < end:
        total += gy[uint32(pixel * g.K + k)]
        pixel = int32(pixel + 1)
    sums[uint32(cuda.blockIdx.y * g.K + k)] = total


@cuda_jit(FLOATS, FLOATS, int32, int32, launch_bounds=THREADS)
def _add_chunks(sums, out, elements, chunks):
    thread = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if thread >= uint32(elements):
        return
    total = float32(0)
    for chunk in range(chunks):
        total += sums[uint32(chunk * elements + thread)]
    out[thread] = total
