"""b = a.T: a block copies a tile of 32 x 32 elements, by way of shared memory."""

from __future__ import annotations

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32

TILE = 32  # rows and columns of a tile; a block has a thread for each element
WIDTH = TILE + 1  # of a row in shared memory: so a column's elements lie in different banks


def cuda_transpose(a, b):
    rows, columns = a.shape
    grid = (-(-columns // TILE), -(-rows // TILE))
    return [Launch(_transpose, grid, (TILE, TILE), (a, b, rows, columns))]


@cuda_jit(FLOATS, FLOATS, int32, int32, launch_bounds=TILE * TILE)
def _transpose(a, b, rows, columns):
    tile = cuda.shared.array((TILE, WIDTH), float32)
    x, y = int32(cuda.threadIdx.x), int32(cuda.threadIdx.y)
    left, top = int32(cuda.blockIdx.x * TILE), int32(cuda.blockIdx.y * TILE)  # where the tile begins in a
    row, column = int32(top + y), int32(left + x)
    if row < rows and column < columns:
        tile[y, x] = a[uint32(row * columns + column)]
    cuda.syncthreads()
    row, column = int32(left + y), int32(top + x)  # in b, which has `columns` rows of `rows` elements
    if row < columns and column < rows:
        b[uint32(row * rows + column)] = tile[x, y]
