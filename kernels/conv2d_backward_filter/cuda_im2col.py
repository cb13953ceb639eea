"""conv2d's filter gradient as a matrix product: windows written out as rows of a matrix, whose columns multiply gy's.

Three kernels. The first is im2col's cuda_rows. The second multiplies its matrix (N*P*Q, R*S*C), turned over, with gy
(N*P*Q, K): a block of 128 threads computes 128 rows of gw x 64 filters of one group, 8 pixels at a time from shared
memory, a thread 8 x 8 of them in registers. Beside cuda_split 16 loads, from shared memory, serve 64 multiply-adds. The
sum goes over the rows of both matrices, so both are copied as they lie. gw has few such tiles: the pixels are cut into
chunks, as there, whose sums the third kernel adds; it also adds the rows of gy, for the bias. Limited by bytes where K
is small: the matrix is written and read; else by FLOPs, by the loads from shared memory, which just balance them, and,
since nothing is fetched while it multiplies, by waiting.

The matrix has as many rows at a time as fit into 128 MiB of the workspace. The sums of a part are added to those of the
part before; they take at most 12 MiB more, and 768 times gb.
"""

from __future__ import annotations

from fastconv.kernels.conv2d.cuda_im2col import matrix_rows, parts, unsupported
from fastconv.kernels.conv2d.cuda_im2col import workspace_bytes as matrix_bytes
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_chunks import Chunks, Sums, place_sums, row_sums_bytes, sum_rows, sums_bytes
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cuda_outer_product import COLUMNS, DEPTH, LANES, LINES, ROWS, SUMS, THREADS, TILE, multiply_add
from fastconv.kernels.im2col.cuda_rows import im2col
from fastconv.kernels.registry import kernel

LEAST = 64  # pixels of a chunk


def chunks_of(p):
    """The chunks of a part of the matrix."""
    rows, filters = p.R * p.S * p.C // p.groups, p.K // p.groups
    return Chunks.of(matrix_rows(p), -(-rows // ROWS) * -(-filters // COLUMNS) * p.groups, LEAST, DEPTH)


def workspace_bytes(p):
    """Bytes of the matrix, of the chunks' sums, and of those of the bias."""
    return matrix_bytes(p) + sums_bytes(p, chunks_of(p)) + row_sums_bytes(p.N * p.P * p.Q, p.K)


@kernel(
    limited_by="bytes of the im2col matrix where K is small, else FLOPs",
    unsupported=unsupported,
    workspace_bytes=workspace_bytes,
)
def cuda_im2col(problem, x, gy, gw, gb, workspace):
    g, chunks = Conv2DGeometry.of(problem), chunks_of(problem)
    memory = workspace[: workspace_bytes(problem)].view("float32")
    col, memory = memory[: matrix_bytes(problem) // 4], memory[matrix_bytes(problem) // 4 :]
    sums = Sums.of(problem, chunks, False)
    out, _, add = place_sums(problem, chunks, gw, None, memory)
    tiles = -(-g.R * g.S * g.group_C // ROWS)
    grid = (tiles * chunks.number, -(-g.group_K // COLUMNS), problem.groups)
    launches = []
    for first, rows in parts(problem) or [(0, 0)]:  # without images gw is 0
        args = (col, gy, out, g, sums, tiles, first, rows)
        launches += [im2col(g, x, col, first, rows), Launch(_multiply, grid, (LANES, LINES), args)]
    launches += add
    if gb is not None:
        launches += sum_rows(gy, gb, g.N * g.P * g.Q, g.K, memory[sums_bytes(problem, chunks) // 4 :])
    return launches


@cuda_jit(FLOATS, FLOATS, FLOATS, Conv2DGeometry, Sums, int32, int32, int32, launch_bounds=THREADS)
def _multiply(col, gy, out, g, to, tiles, first, rows):
    a = cuda.shared.array((DEPTH, ROWS), float32)  # the matrix
    b = cuda.shared.array((DEPTH, COLUMNS), float32)  # gy
    sums = cuda.local.array(SUMS, float32)
    lane, line = int32(cuda.threadIdx.x), int32(cuda.threadIdx.y)
    chunk = int32(uint32(cuda.blockIdx.x) // uint32(tiles))
    row0, k0 = int32(uint32(cuda.blockIdx.x) % uint32(tiles) * ROWS), int32(cuda.blockIdx.y * COLUMNS)
    group = int32(cuda.blockIdx.z)
    of_out = int32(chunk * to.pitch + group * g.group_K)
    row, k = int32(row0 + line * TILE), int32(k0 + lane)  # the thread's first
    _begin(sums, out, g, of_out, row, k, first > 0)
    pixel = int32(chunk * to.terms)
    end = int32(min(pixel + to.terms, rows))
    while pixel < end:
        _copy_matrix(a, col, g, pixel, end, row0, group)
        _copy_gy(b, gy, g, first, pixel, end, k0, group)
        cuda.syncthreads()
        multiply_add(sums, a, b, line, lane)
        cuda.syncthreads()  # before the copies are overwritten
        pixel = int32(pixel + DEPTH)
    _write(sums, out, g, of_out, row, k)


@device_function
def _copy_matrix(a, col, g, pixel, end, row0, group):
    """128 columns of 8 rows of the matrix, a thread one of them. Beside the matrix there are zeros."""
    thread = int32(cuda.threadIdx.y * LANES + cuda.threadIdx.x)
    d = int32(row0 + thread)
    # A row of gw is a tap and a channel of the group; in the matrix all groups' channels lie beside each other.
    column = int32(uint32(d) // uint32(g.group_C) * g.C + group * g.group_C + uint32(d) % uint32(g.group_C))
    for i in range(DEPTH):
        value = float32(0)
        if pixel + i < end and d < g.R * g.S * g.group_C:
            value = col[uint32((pixel + i) * (g.R * g.S * g.C) + column)]
        a[i, uint32(thread)] = value


@device_function
def _copy_gy(b, gy, g, first, pixel, end, k0, group):
    """64 filters of 8 pixels; a warp copies 32 neighbours at a time. Beside the group's filters there are zeros."""
    thread = int32(cuda.threadIdx.y * LANES + cuda.threadIdx.x)
    k, i = int32(thread % COLUMNS), int32(thread // COLUMNS)
    for _ in range(COLUMNS * DEPTH // THREADS):
        value = float32(0)
        if pixel + i < end and k0 + k < g.group_K:
            value = gy[uint32((first + pixel + i) * g.K + group * g.group_K + k0 + k)]
        b[uint32(i), uint32(k)] = value
        i = int32(i + THREADS // COLUMNS)


@device_function
def _begin(sums, out, g, of_out, row, k, add):
    """The sums begin as zeros, or as what the part of the matrix before left in `out`."""
    for i in range(TILE):
        for j in range(TILE):
            total = float32(0)
            if add and row + i < g.R * g.S * g.group_C and k + j * LANES < g.group_K:
                total = out[uint32(of_out + (row + i) * g.K + k + j * LANES)]
            sums[i * TILE + j] = total


@device_function
def _write(sums, out, g, of_out, row, k):
    """The sums become elements of `out`: 8 rows of it, and every eighth of the block's filters."""
    for i in range(TILE):
        for j in range(TILE):
            if row + i < g.R * g.S * g.group_C and k + j * LANES < g.group_K:
                out[uint32(of_out + (row + i) * g.K + k + j * LANES)] = sums[i * TILE + j]
