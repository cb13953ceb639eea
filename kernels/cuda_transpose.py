"""Matrices turned round on the GPU, through tiles in shared memory.

A thread block copies a tile of 32 x 32 elements: in by rows of the one matrix, out by rows of the other, so that a warp
reads and writes 32 neighbours both times. The tile's rows are 33 elements apart, so that its columns lie in different
banks. Limited by bytes: each element is read and written once.
"""

from __future__ import annotations

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32

TILE = 32  # rows and columns
PITCH = TILE + 1
ROWS = 8  # of threads; each copies every eighth row


def transpose(matrices, turned, count, rows, columns):
    """The launch that writes `turned` (count, columns, rows) from `matrices` (count, rows, columns)."""
    blocks = count * -(-rows // TILE) * -(-columns // TILE)
    return Launch(_transpose, (blocks,), (TILE, ROWS), (matrices, turned, rows, columns))


@cuda_jit(FLOATS, FLOATS, int32, int32, launch_bounds=TILE * ROWS)
def _transpose(matrices, turned, rows, columns):
    tile = cuda.shared.array((TILE, PITCH), float32)
    x, y = int32(cuda.threadIdx.x), int32(cuda.threadIdx.y)
    across, down = uint32((columns + TILE - 1) // uint32(TILE)), uint32((rows + TILE - 1) // uint32(TILE))
    block = uint32(cuda.blockIdx.x)
    left, top = int32(block % across * TILE), int32(block // across % down * TILE)
    matrix = int32(block // across // down * rows * columns)
    for i in range(0, TILE, ROWS):
        if top + y + i < rows and left + x < columns:
            tile[uint32(y + i), uint32(x)] = matrices[uint32(matrix + (top + y + i) * columns + left + x)]
    cuda.syncthreads()
    for i in range(0, TILE, ROWS):
        if left + y + i < columns and top + x < rows:
            turned[uint32(matrix + (left + y + i) * rows + top + x)] = tile[uint32(x), uint32(y + i)]
