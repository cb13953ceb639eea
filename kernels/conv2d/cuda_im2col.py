"""conv2d as a matrix product: the windows written out as rows of a matrix, which a tiled product multiplies with w.

Two kernels. The first is im2col's cuda_rows. The second multiplies its matrix (N*P*Q, R*S*C) with the filter
(R*S*C, K): a block of 128 threads computes 128 pixels x 64 filters of one group, 8 deep at a time from shared memory, a
thread 8 x 8 of them in registers. Beside cuda_register_tile there are neither taps nor edges in the loop, whose 16
elements serve 64 multiply-adds. A thread's filters lie 8 apart, so that the 8 threads beside it read neighbours of w's
copy and write neighbours of y, a full sector. Of both copies a warp writes and reads elements in different banks.
Limited by bytes where K is small: the matrix is written and read; else by FLOPs, by the loads from shared memory (16
for 64 multiply-adds, which just balances) and, since nothing is fetched while it multiplies, by waiting.

The matrix has as many rows at a time as fit into 128 MiB of the workspace.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cuda_outer_product import COLUMNS, DEPTH, LANES, LINES, ROWS, SUMS, THREADS, TILE, multiply_add
from fastconv.kernels.im2col.cuda_rows import im2col
from fastconv.kernels.registry import kernel

PITCH = ROWS + 4  # of the matrix's copy: 8 deep x 4 pixels, which a warp writes, are in 32 banks
MATRIX_BYTES = 1 << 27
LOWEST = np.float32(-np.inf)


def matrix_rows(problem):
    """Rows of the im2col matrix, one for each pixel of y, that are in memory at a time."""
    row_bytes = 4 * problem.R * problem.S * problem.C
    return min(problem.N * problem.P * problem.Q, max(ROWS, MATRIX_BYTES // row_bytes // ROWS * ROWS))


def workspace_bytes(problem):
    """Bytes of the im2col matrix, or of the part of it that is in memory at a time."""
    return 4 * matrix_rows(problem) * problem.R * problem.S * problem.C


def unsupported(problem):
    if problem.groups > 65535:
        return "there are more groups than a grid's third dimension holds"
    if problem.K // problem.groups > 65535 * COLUMNS:
        return "there are more filters than a grid's second dimension holds"
    if workspace_bytes(problem) >= 1 << 33:
        return "a row of the matrix is more than 32-bit indices reach"
    return cuda_geometry.unsupported(problem)


@kernel(
    limited_by="bytes of the im2col matrix where K is small, else FLOPs",
    unsupported=unsupported,
    workspace_bytes=workspace_bytes,
    fuses=("relu",),
)
def cuda_im2col(problem, x, w, bias, y, workspace, relu=False):
    g = Conv2DGeometry.of(problem)
    col = workspace[: workspace_bytes(problem)].view("float32").reshape(-1, g.R * g.S * g.C)
    given = y if bias is None else bias  # without a bias the kernel reads nothing there
    launches = []
    for first, rows in parts(problem):
        args = (col, w, given, y, g, first, rows, int(bias is not None), int(relu))
        grid = (-(-rows // ROWS), -(-g.group_K // COLUMNS), problem.groups)
        launches += [im2col(g, x, col, first, rows), Launch(_multiply, grid, (LANES, LINES), args)]
    return launches


def parts(problem):
    """The matrix cut into what is in memory at a time: pairs of first row and rows."""
    pixels = problem.N * problem.P * problem.Q
    return [(first, min(matrix_rows(problem), pixels - first)) for first in range(0, pixels, matrix_rows(problem) or 1)]


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, int32, int32, int32, int32, launch_bounds=THREADS)
def _multiply(col, w, bias, y, g, first, rows, has_bias, relu):
    a = cuda.shared.array((DEPTH, PITCH), float32)  # the matrix, turned over
    b = cuda.shared.array((DEPTH, COLUMNS), float32)  # the filter
    sums = cuda.local.array(SUMS, float32)
    lane, line = int32(cuda.threadIdx.x), int32(cuda.threadIdx.y)
    row0, k0 = int32(cuda.blockIdx.x * ROWS), int32(cuda.blockIdx.y * COLUMNS)
    group = int32(cuda.blockIdx.z)
    for i in range(SUMS):
        sums[i] = float32(0)
    d0, depth = int32(0), int32(g.R * g.S * g.group_C)
    while d0 < depth:
        _copy_matrix(a, col, g, row0, rows, d0, depth, group)
        _copy_filters(b, w, g, k0, d0, depth, group)
        cuda.syncthreads()
        multiply_add(sums, a, b, line, lane)
        cuda.syncthreads()  # before the copies are overwritten
        d0 = int32(d0 + DEPTH)
    _write(sums, bias, y, g, int32(row0 + line * TILE), first, rows, int32(k0 + lane), group, has_bias, relu)


@device_function
def _copy_matrix(a, col, g, row0, rows, d0, depth, group):
    """8 elements of each of 128 rows; a warp copies 4 rows at a time. Beside the matrix there are zeros."""
    thread = int32(cuda.threadIdx.y * LANES + cuda.threadIdx.x)
    d, i = int32(d0 + thread % DEPTH), int32(thread // DEPTH)
    # An element of w's depth is a tap and a channel of the group; in the matrix all groups' channels lie beside it.
    column = int32(uint32(d) // uint32(g.group_C) * g.C + group * g.group_C + uint32(d) % uint32(g.group_C))
    for _ in range(ROWS * DEPTH // THREADS):
        value = float32(0)
        if d < depth and row0 + i < rows:
            value = col[uint32((row0 + i) * (g.R * g.S * g.C) + column)]
        a[uint32(thread % DEPTH), uint32(i)] = value
        i = int32(i + THREADS // DEPTH)


@device_function
def _copy_filters(b, w, g, k0, d0, depth, group):
    """8 rows of w, 64 filters; a warp copies 32 neighbours at a time. Beside the group's filters there are zeros."""
    thread = int32(cuda.threadIdx.y * LANES + cuda.threadIdx.x)
    k, i = int32(thread % COLUMNS), int32(thread // COLUMNS)
    for _ in range(COLUMNS * DEPTH // THREADS):
        value = float32(0)
        if d0 + i < depth and k0 + k < g.group_K:
            value = w[uint32((d0 + i) * g.K + group * g.group_K + k0 + k)]
        b[uint32(i), uint32(k)] = value
        i = int32(i + THREADS // COLUMNS)


@device_function
def _write(sums, bias, y, g, row, first, rows, k0, group, has_bias, relu):
    """The sums become elements of y: 8 rows of it from `row` on, and every eighth of the block's filters from k0 on."""
    lowest = float32(0) if relu else LOWEST
    for k in range(TILE):
        k_in_group = int32(k0 + k * LANES)
        if k_in_group < g.group_K:
            of_y = int32(group * g.group_K + k_in_group)
            start = float32(0)
            if has_bias:
                start = bias[of_y]
            for i in range(TILE):
                if row + i < rows:
                    total = sums[i * TILE + k] + start
                    y[uint32((first + row + i) * g.K + of_y)] = lowest if total < lowest else total
