"""conv2d's filter gradient with one channel a group: a thread has all taps of a filter.

Beside cuda_split: an element of gw is a sum over pixels alone, and gy was loaded for each tap again. Here a thread keeps
the sums of a filter's whole window in registers, so that a load of gy serves them all, and adds it to the bias's sum,
too. A warp's threads take 32 neighbouring filters of one pixel, and the 8 lines of a block the pixels next to each
other, whose windows overlap: x is read from the level-1 cache but the first time. The pixels are cut into chunks, whose
sums a last launch adds; the sums of a block's lines are added before, in shared memory. Limited by bytes: reading x and
gy. The workspace is at most 1024 times gw and gb of 32 filters.
"""

from __future__ import annotations

import functools

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_chunks import SMALL_BLOCKS, Chunks, Sums, place_sums, sums_bytes
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cuda_pixels import Step, pixel_place, walk_on
from fastconv.kernels.registry import kernel

FILTERS, LINES = 32, 8  # of a block
LEAST = 64  # pixels of a chunk
MOST_TAPS = 64  # a register for each


def unsupported(problem):
    if problem.groups != problem.C:
        return "it is for one channel a group"
    if problem.R * problem.S > MOST_TAPS:
        return f"a window of more than {MOST_TAPS} taps leaves a thread too few registers"
    return cuda_geometry.unsupported(problem)


def chunks_of(p):
    return Chunks.of(p.N * p.P * p.Q, -(-p.K // FILTERS), LEAST, LINES, SMALL_BLOCKS)


@kernel(
    limited_by="bytes: reading x and gy",
    unsupported=unsupported,
    workspace_bytes=lambda problem: sums_bytes(problem, chunks_of(problem)),
)
def cuda_depthwise(problem, x, gy, gw, gb, workspace):
    chunks = chunks_of(problem)
    memory = workspace[: sums_bytes(problem, chunks)].view("float32")
    sums = Sums.of(problem, chunks, gb)
    to_gw, to_gb, launches = place_sums(problem, sums, gw, gb, memory)
    args = (x, gy, to_gw, to_gb, Conv2DGeometry.of(problem), sums, Step.of(problem, LINES))
    grid = (-(-problem.K // FILTERS) * chunks.number,)
    return [Launch(backward_filter_by(problem.R, problem.S), grid, (FILTERS, LINES), args), *launches]


@functools.cache
def backward_filter_by(R, S):
    """The kernel for such a window. Its size is a constant in it, so that the sums are registers."""
    taps = R * S
    registers = taps + 1  # the last is the bias's

    @cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, Sums, Step, launch_bounds=FILTERS * LINES)
    def _backward_filter(x, gy, gw, gb, g, to, step):
        shared = cuda.shared.array((LINES, LINES, FILTERS), float32)
        sums = cuda.local.array(registers, float32)
        for i in range(registers):
            sums[i] = float32(0)
        lane, line = int32(cuda.threadIdx.x), int32(cuda.threadIdx.y)
        tiles = uint32((g.K + FILTERS - 1) // FILTERS)
        chunk = int32(uint32(cuda.blockIdx.x) // tiles)
        k = int32(uint32(cuda.blockIdx.x) % tiles * FILTERS + lane)
        c = int32(uint32(k) // uint32(g.group_K))
        pixel = int32(chunk * to.terms + line)
        end = int32(min((chunk + 1) * to.terms, g.N * g.P * g.Q))
        n, p, q = pixel_place(g, pixel)
        while pixel < end:
            if k < g.K:
                gradient = gy[uint32(pixel * g.K + k)]
                sums[taps] += gradient
                for r in range(R):
                    h = int32(p * g.stride_h - g.pad_top + r * g.dilation_h)
                    for s in range(S):
                        j = int32(q * g.stride_w - g.pad_left + s * g.dilation_w)
                        value = float32(0)
                        if 0 <= h < g.H and 0 <= j < g.W:
                            value = x[uint32(((n * g.H + h) * g.W + j) * g.C + c)]
                        sums[r * S + s] += value * gradient
            n, p, q = walk_on(g, step, n, p, q)
            pixel = int32(pixel + LINES)
        # As many sums at a time as there are lines: each line adds up one of them.
        for first in range(0, registers, LINES):
            for i in range(LINES):
                if first + i < registers:
                    shared[i, uint32(line), uint32(lane)] = sums[first + i]
            cuda.syncthreads()
            tap = int32(first + line)
            if tap <= taps and k < g.K:
                total = float32(0)
                for i in range(LINES):
                    total += shared[uint32(line), i, uint32(lane)]
                if tap < taps:
                    gw[uint32(chunk * to.pitch + tap * g.K + k)] = total
                elif to.bias_at >= 0:
                    gb[uint32(chunk * to.pitch + to.bias_at + k)] = total
            cuda.syncthreads()  # before the copies are overwritten

    return _backward_filter
