"""conv2d_backward_filter with the sum over pixels split over blocks.

Beside cuda_naive, whose few threads each sum over all pixels: the rows of gy are cut into chunks, as many as fill a
GPU, and a thread sums one element of gw over one chunk, into the workspace. A last launch adds the chunks in their
order, so every run gives the same bits; the same kernel adds the rows of gy for the bias. The columns of gy that a tap
meets are found before the loop, which is left with two loads and a multiply-add. Threads are numbered along the
filters, so a warp reads neighbours in gy, and of x one element, or with one channel a group neighbours. Limited by
loads.
"""

from __future__ import annotations

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_chunks import Chunks, Sums, place_sums, row_sums_bytes, sum_rows, sums_bytes
from fastconv.kernels.cuda_geometry import Conv2DGeometry, unsupported
from fastconv.kernels.registry import kernel

THREADS = 256
ENOUGH = 1024  # blocks: what 128 multiprocessors hold at once
PIXELS = 64  # of a chunk, at least


def blocks_of(p):
    """Blocks that a chunk takes: a thread for each element of gw."""
    return -(-p.R * p.S * p.C // p.groups * p.K // THREADS)


def chunks_of(p):
    """The rows of gy in chunks."""
    return Chunks.of(p.N * p.P, blocks_of(p), -(-PIXELS // p.Q), blocks=ENOUGH)


def workspace_bytes(p):
    return sums_bytes(p, chunks_of(p)) + row_sums_bytes(p.N * p.P * p.Q, p.K)


@kernel(limited_by="loads: two for each multiply-add", unsupported=unsupported, workspace_bytes=workspace_bytes)
def cuda_split(problem, x, gy, gw, gb, workspace):
    g, chunks = Conv2DGeometry.of(problem), chunks_of(problem)
    memory = workspace[: workspace_bytes(problem)].view("float32")
    sums = Sums.of(problem, chunks, False)
    to_gw, _, add = place_sums(problem, chunks, gw, None, memory)
    grid = (blocks_of(problem), chunks.number)
    launches = [Launch(_backward_filter, grid, (THREADS,), (x, gy, to_gw, g, sums)), *add]
    if gb is not None:
        rest = memory[sums_bytes(problem, chunks) // 4 :]
        launches += sum_rows(gy, gb, g.N * g.P * g.Q, g.K, rest)
    return launches


@cuda_jit(FLOATS, FLOATS, FLOATS, Conv2DGeometry, Sums, launch_bounds=THREADS)
def _backward_filter(x, gy, gw, g, to):
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
    row = int32(cuda.blockIdx.y * to.terms)
    end = int32(min(row + to.terms, g.N * g.P))
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
    gw[uint32(cuda.blockIdx.y * to.pitch + thread)] = total
