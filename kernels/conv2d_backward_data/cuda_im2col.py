"""conv2d_backward_data as a matrix product, whose result col2im adds up.

The forward's product the other way: gy (N*P*Q, K) times the filter's transpose (K, R*S*C) is the gradient of the
forward's matrix of windows. The tiles are the forward's (see ../cuda_outer_product.py): a block computes 128 pixels x
64 elements of the windows of one group. Rows of gy and of w have their K filters side by side, so one function copies
both, 8 deep, turned over on the way; a warp copies a sector of each of four rows and writes 32 banks. Another kernel,
col2im's cuda_rows, gathers for each element of gx what the windows hold of it. Limited by bytes where K is small: the
matrix is written and read; else by FLOPs, and by waiting, since nothing is fetched while it multiplies.

The matrix has as many whole images at a time as fit into 128 MiB of the workspace, at least one.
"""

from __future__ import annotations

from fastconv.kernels import cuda_geometry
from fastconv.kernels.col2im.cuda_rows import col2im
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cuda_outer_product import COLUMNS, DEPTH, LANES, LINES, ROWS, SUMS, THREADS, TILE, multiply_add
from fastconv.kernels.registry import kernel

ROW_PITCH, COLUMN_PITCH = ROWS + 4, COLUMNS + 4  # of the copies: 8 deep x 4 rows, which a warp writes, are in 32 banks
MATRIX_BYTES = 1 << 27


def image_bytes(problem):
    """Bytes of one image's windows."""
    return 4 * problem.P * problem.Q * problem.R * problem.S * problem.C


def parts(problem):
    """The images cut into what is in memory at a time: pairs of the first and their number."""
    images = max(1, MATRIX_BYTES // image_bytes(problem))
    return [(first, min(images, problem.N - first)) for first in range(0, problem.N, images)]


def workspace_bytes(problem):
    """Bytes of the matrix, or of the part of it that is in memory at a time."""
    return max((images for _, images in parts(problem)), default=0) * image_bytes(problem)


def unsupported(problem):
    if image_bytes(problem) >= 1 << 33:
        return "the windows of an image are more than 32-bit indices reach"
    return cuda_geometry.unsupported(problem)


@kernel(
    limited_by="bytes of the im2col matrix where K is small, else FLOPs",
    unsupported=unsupported,
    workspace_bytes=workspace_bytes,
)
def cuda_im2col(problem, gy, w, gx, workspace):
    g = Conv2DGeometry.of(problem)
    col = workspace[: workspace_bytes(problem)].view("float32")
    tiles = -(-g.R * g.S * g.group_C // COLUMNS)
    launches = []
    for first, images in parts(problem):
        rows = images * g.P * g.Q
        args = (gy, w, col, g, first * g.P * g.Q, rows, tiles)
        blocks = -(-rows // ROWS) * tiles * problem.groups
        launches += [
            Launch(_multiply, (blocks,), (LANES, LINES), args),
            col2im(problem, col, gx, first, images),
        ]
    return launches


@cuda_jit(FLOATS, FLOATS, FLOATS, Conv2DGeometry, int32, int32, int32, launch_bounds=THREADS)
def _multiply(gy, w, col, g, first, rows, tiles):
    a = cuda.shared.array((DEPTH, ROW_PITCH), float32)  # gy, turned over
    b = cuda.shared.array((DEPTH, COLUMN_PITCH), float32)  # the filter, turned over
    sums = cuda.local.array(SUMS, float32)
    lane, line = int32(cuda.threadIdx.x), int32(cuda.threadIdx.y)
    tile = uint32(cuda.blockIdx.x)  # neighbours have the same rows of gy
    column0, tile = int32(tile % uint32(tiles) * COLUMNS), tile // uint32(tiles)
    groups = uint32(uint32(g.C) // uint32(g.group_C))
    group, row0 = int32(tile % groups), int32(tile // groups * ROWS)
    columns = int32(g.R * g.S * g.group_C)
    for i in range(SUMS):
        sums[i] = float32(0)
    d0 = int32(0)
    while d0 < g.group_K:
        _copy(a, ROWS, gy, g, int32(first + row0), int32(rows - row0), d0, group)
        _copy(b, COLUMNS, w, g, column0, int32(columns - column0), d0, group)
        cuda.syncthreads()
        multiply_add(sums, a, b, line, lane)
        cuda.syncthreads()  # before the copies are overwritten
        d0 = int32(d0 + DEPTH)
    at = cuda.local.array(TILE, int32)
    for k in range(TILE):
        # An element of the group's windows is a tap and a channel; in the matrix all groups' channels lie beside it.
        column = uint32(column0 + lane + k * LANES)
        tap, c = column // uint32(g.group_C), column % uint32(g.group_C)
        at[k] = int32(tap * uint32(g.C) + group * g.group_C + c)
    for i in range(TILE):
        row = int32(row0 + line * TILE + i)
        if row < rows:
            for k in range(TILE):
                if column0 + lane + k * LANES < columns:
                    col[uint32(row * (g.R * g.S * g.C) + at[k])] = sums[i * TILE + k]


@device_function
def _copy(to, size, matrix, g, first, rows, d0, group):
    """8 elements of a group's filters, from d0 on, of `size` rows from the first on; beside the matrix zeros."""
    thread = int32(cuda.threadIdx.y * LANES + cuda.threadIdx.x)
    d, i = int32(d0 + thread % DEPTH), int32(thread // DEPTH)
    for _ in range(size * DEPTH // THREADS):
        value = float32(0)
        if d < g.group_K and i < rows:
            value = matrix[uint32((first + i) * g.K + group * g.group_K + d)]
        to[uint32(thread % DEPTH), uint32(i)] = value
        i = int32(i + THREADS // DEPTH)
