"""conv2d with the pixels of a tile, and the halo round them, in shared memory.

Beside cuda_coalesced: a block computes 32 filters of one group on a tile of 4 x 4 pixels, a warp each pixel. Its 512
threads first copy what the tile's windows see of x to shared memory, a chunk of channels at a time: of 3x3 windows 36
pixels, instead of 16 times 9. There all threads of a warp read the same element, in one pass. Limited by loads: still
two for each multiply-add, though x's comes from shared memory and only w's by way of the level-1 cache.
"""

from __future__ import annotations

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.registry import kernel

TILE = 4  # pixels of y, in rows and in columns
FILTERS = 32  # a warp's threads
THREADS = TILE * TILE * FILTERS
CHUNK = 32  # channels, where they fit
SHARED_BYTES = 48 * 1024  # of a block, on every GPU


def halo(problem):
    """Rows, columns and channels of the copy in shared memory; no channels where not even one fits."""
    rows = (TILE - 1) * problem.stride_h + (problem.R - 1) * problem.dilation_h + 1
    columns = (TILE - 1) * problem.stride_w + (problem.S - 1) * problem.dilation_w + 1
    return rows, columns, min(CHUNK, problem.C // problem.groups, SHARED_BYTES // (4 * rows * columns))


def filter_blocks(problem):
    """Blocks that share the filters: none holds filters of two groups."""
    return problem.groups * -(-problem.K // problem.groups // FILTERS)


def unsupported(problem):
    rows, columns, channels = halo(problem)
    if channels == 0:
        return f"a tile's halo of {rows} x {columns} pixels is more than shared memory holds"
    if filter_blocks(problem) > 65535:
        return f"{filter_blocks(problem)} blocks of filters are more than a grid's second dimension holds"
    return cuda_geometry.unsupported(problem)


@kernel(limited_by="loads: one of w for each multiply-add", unsupported=unsupported, fuses=("relu",))
def cuda_shared(problem, x, w, bias, y, workspace, relu=False):
    g = Conv2DGeometry.of(problem)
    rows, columns, channels = halo(problem)
    grid = g.N * -(-g.P // TILE) * -(-g.Q // TILE), filter_blocks(problem)
    given = y if bias is None else bias  # without a bias the kernel reads nothing there
    args = x, w, given, y, g, rows, columns, channels, int(bias is not None), int(relu)
    return [Launch(_conv2d, grid, (FILTERS, TILE * TILE), args, shared_bytes=4 * rows * columns * channels)]


@cuda_jit(*4 * [FLOATS], Conv2DGeometry, int32, int32, int32, int32, int32, launch_bounds=THREADS)
def _conv2d(x, w, bias, y, g, rows, columns, channels, has_bias, relu):
    tile = cuda.shared.array(0, float32)  # (rows, columns, channels)
    # The block's tile of pixels, and the thread's pixel in it.
    across, down = uint32((g.Q + TILE - 1) // TILE), uint32((g.P + TILE - 1) // TILE)
    block, pixel = uint32(cuda.blockIdx.x), int32(cuda.threadIdx.y)
    n = int32(block // uint32(across * down))
    p0, q0 = int32(block // across % down * TILE), int32(block % across * TILE)
    p, q = int32(p0 + pixel // TILE), int32(q0 + pixel % TILE)
    # The block's group of filters, and the thread's filter in it.
    blocks = uint32((g.group_K + FILTERS - 1) // FILTERS)
    group = int32(uint32(cuda.blockIdx.y) // blocks)
    k_in_group = int32(uint32(cuda.blockIdx.y) % blocks * FILTERS + cuda.threadIdx.x)
    k = int32(group * g.group_K + k_in_group)
    total = float32(0)
    if has_bias and k_in_group < g.group_K:
        total = bias[k]
    for part in range(int32(uint32(g.group_C + channels - 1) // uint32(channels))):
        first = int32(part * channels)
        i = uint32(cuda.threadIdx.y * FILTERS + cuda.threadIdx.x)
        while i < uint32(rows * columns * channels):
            c = int32(first + i % uint32(channels))
            h = int32(p0 * g.stride_h - g.pad_top + i // uint32(columns * channels))
            j = int32(q0 * g.stride_w - g.pad_left + i // uint32(channels) % uint32(columns))
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
                    for c in range(int32(min(channels, g.group_C - first))):
                        a = tile[uint32((row * columns + column) * channels + c)]
                        b = w[uint32(((r * g.S + s) * g.group_C + first + c) * g.K + k)]
                        total += a * b
        cuda.syncthreads()  # before the tile is overwritten
    if relu and total < float32(0):
        total = float32(0)
    if p < g.P and q < g.Q and k_in_group < g.group_K:
        y[uint32(((n * g.P + p) * g.Q + q) * g.K + k)] = total
