"""conv2d with the pixels of a tile, and the halo round them, in shared memory.

Beside cuda_coalesced: a block computes 32 filters of one group on a tile of 4 x 4 pixels, a warp each pixel. Its 512
threads first copy what the tile's windows see of x to shared memory, a chunk of channels at a time: of 3x3 windows 36
pixels, instead of 16 times 9. There all threads of a warp read the same element, in one pass. Limited by loads: still
two for each multiply-add, though x's comes from shared memory and only w's by way of the level-1 cache.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.registry import kernel

TILE = 4  # pixels of y, in rows and in columns
FILTERS = 32  # a warp's threads
THREADS = TILE * TILE * FILTERS
CHANNELS = 32  # at a time, where they fit
SHARED_BYTES = 48 * 1024  # of a block, on every GPU


class Tiling(NamedTuple):
    """How the work is cut."""

    across: int  # tiles beside each other
    down: int  # tiles below each other
    filter_blocks: int  # of a group
    rows: int  # of the copy in shared memory
    columns: int
    channels: int
    chunks: int  # of channels

    @classmethod
    def of(cls, p):
        """The tiling of a problem; 0 channels where not even one fits into shared memory."""
        rows = (TILE - 1) * p.stride_h + (p.R - 1) * p.dilation_h + 1
        columns = (TILE - 1) * p.stride_w + (p.S - 1) * p.dilation_w + 1
        channels = min(CHANNELS, p.C // p.groups, SHARED_BYTES // (4 * rows * columns))
        chunks = -(-p.C // p.groups // max(channels, 1))
        return cls(-(-p.Q // TILE), -(-p.P // TILE), -(-p.K // p.groups // FILTERS), rows, columns, channels, chunks)


def unsupported(problem):
    t = Tiling.of(problem)
    if t.channels == 0:
        return f"a tile sees {t.rows} x {t.columns} pixels, which shared memory does not hold"
    if max(problem.N, problem.groups * t.filter_blocks) > 65535:
        return "there are more images or filters than a grid's second and third dimension hold"
    return cuda_geometry.unsupported(problem)


@kernel(limited_by="loads: two for each multiply-add, one of them shared", unsupported=unsupported, fuses=("relu",))
def cuda_shared(problem, x, w, bias, y, workspace, relu=False):
    g, t = Conv2DGeometry.of(problem), Tiling.of(problem)
    given = y if bias is None else bias  # without a bias the kernel reads nothing there
    return [
        Launch(
            _conv2d,
            grid=(t.across * t.down, problem.groups * t.filter_blocks, g.N),
            block=(FILTERS, TILE * TILE),
            args=(x, w, given, y, g, t, int(bias is not None), int(relu)),
            shared_bytes=4 * t.rows * t.columns * t.channels,
        )
    ]


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, Tiling, int32, int32, launch_bounds=THREADS)
def _conv2d(x, w, bias, y, g, t, has_bias, relu):
    tile = cuda.shared.array(0, float32)  # (rows, columns, channels)
    n, pixel = int32(cuda.blockIdx.z), int32(cuda.threadIdx.y)
    p0 = int32(uint32(cuda.blockIdx.x) // uint32(t.across) * TILE)  # the tile's first pixel
    q0 = int32(uint32(cuda.blockIdx.x) % uint32(t.across) * TILE)
    p, q = int32(p0 + pixel // TILE), int32(q0 + pixel % TILE)
    group = int32(uint32(cuda.blockIdx.y) // uint32(t.filter_blocks))
    k_in_group = int32(uint32(cuda.blockIdx.y) % uint32(t.filter_blocks) * FILTERS + cuda.threadIdx.x)
    k = int32(group * g.group_K + k_in_group)
    total = float32(0)
    if has_bias and k_in_group < g.group_K:
        total = bias[k]
    for chunk in range(t.chunks):
        first = int32(chunk * t.channels)
        i = uint32(pixel * FILTERS + cuda.threadIdx.x)
        while i < uint32(t.rows * t.columns * t.channels):
            c = int32(first + i % uint32(t.channels))
            h = int32(p0 * g.stride_h - g.pad_top + i // uint32(t.columns * t.channels))
            j = int32(q0 * g.stride_w - g.pad_left + i // uint32(t.channels) % uint32(t.columns))
            value = float32(0)
            if 0 <= h < g.H and 0 <= j < g.W and c < g.group_C:
                value = x[uint32(((n * g.H + h) * g.W + j) * g.C + group * g.group_C + c)]
            tile[i] = value
            i = uint32(i + THREADS)
        cuda.syncthreads()
        if k_in_group < g.group_K:
            for r in range(g.R):
                row = int32((p - p0) * g.stride_h + r * g.dilation_h)
                for s in range(g.S):
                    column = int32((q - q0) * g.stride_w + s * g.dilation_w)
                    for c in range(int32(min(t.channels, g.group_C - first))):
                        a = tile[uint32((row * t.columns + column) * t.channels + c)]
                        b = w[uint32(((r * g.S + s) * g.group_C + first + c) * g.K + k)]
                        total += a * b
        cuda.syncthreads()  # before the tile is overwritten
    if relu and total < float32(0):
        total = float32(0)
    if p < g.P and q < g.Q and k_in_group < g.group_K:
        y[uint32(((n * g.P + p) * g.Q + q) * g.K + k)] = total
