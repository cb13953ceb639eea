"""Winograd's F(3x3, 4x4) for the filter's gradient: 36 products for each tile of 4x4 pixels of gy in place of 144.

gw = G^T [ sum over tiles of (B^T x B) * (A gy A^T) ] G: forward's algorithm transposed, on its tiles. Beside cuda_split
the sum is a matrix product for each of 36 points, C x tiles by tiles x K, of which each half is transformed first; see
../cuda_winograd.py. With few channels that would be few blocks, so the tiles of a product are cut into chunks, as many
as fill a GPU; a last launch adds the chunks in their order and transforms the sums to gw, so every run gives the same
bits. The bias is cuda_split's. Limited by bytes, as forward; below 128 channels by products with zeros.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.kernels import cuda_winograd_tiles
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_batched_gemm import COLUMNS, DEPTH, ROWS, Product, multiply
from fastconv.kernels.cuda_chunks import row_sums_bytes, sum_rows
from fastconv.kernels.cuda_winograd import PART_BYTES, POINTS, SIZE, STEP, THREADS, collect
from fastconv.kernels.cuda_winograd_tiles import Tiles, tiles_of_conv2d
from fastconv.kernels.cuda_winograd_transforms import FILTER_GRADIENT, both_sides
from fastconv.kernels.registry import kernel

ENOUGH = 512  # blocks, to fill a GPU with
LEAST = 32  # tiles of a chunk
_TRANSFORM = FILTER_GRADIENT[STEP]


class Plan(NamedTuple):
    """Tiles of x and gy, and how the sum over them is cut: into parts, in memory one at a time, of so many chunks."""

    x: Tiles
    gy: Tiles
    chunks: int
    depth: int  # tiles of a chunk

    @classmethod
    def of(cls, problem):
        """The plan for a problem."""
        x, gy = tiles_of_conv2d(problem, STEP, ROWS, COLUMNS)
        blocks = POINTS * (x.padded // ROWS) * (gy.pitch // COLUMNS)
        tiles = max(x.number, 1)
        fitting = max(LEAST, PART_BYTES // (4 * POINTS * (x.pitch + gy.pitch)) // DEPTH * DEPTH)
        wanted = -(-tiles // -(-ENOUGH // blocks))
        depth = min(max(-(-wanted // DEPTH) * DEPTH, LEAST), fitting)
        return cls(x, gy, min(fitting // depth, -(-tiles // depth)), depth)

    @property
    def sums(self):
        """Floats of the products."""
        return POINTS * self.chunks * self.x.padded * self.gy.pitch

    @property
    def points(self):
        """Floats of a part's points."""
        return POINTS * self.chunks * self.depth * (self.x.pitch + self.gy.pitch)


def workspace_bytes(problem):
    plan = Plan.of(problem)
    return 4 * (plan.sums + plan.points) + row_sums_bytes(_pixels(problem), problem.K)


def unsupported(problem):
    plan = Plan.of(problem)
    if max(plan.sums, plan.points) >= 1 << 31:
        return "the products, or the points of 32 tiles, are more than 32-bit indices reach"
    return cuda_winograd_tiles.unsupported(problem)


@kernel(
    limited_by="bytes of the points, with hundreds of channels FLOPs",
    unsupported=unsupported,
    exact=False,
    workspace_bytes=workspace_bytes,
)
def cuda_winograd(problem, x, gy, gw, gb, workspace):
    plan = Plan.of(problem)
    floats = workspace[: workspace_bytes(problem)].view("float32")
    sums, points, bias_sums = floats[: plan.sums], floats[plan.sums :], floats[plan.sums + plan.points :]
    rows = plan.chunks * plan.depth
    of_x, of_gy = points[: POINTS * rows * plan.x.pitch], points[POINTS * rows * plan.x.pitch : plan.points]
    launches = []
    for first in range(0, plan.x.number, rows):
        # Each point's tiles lie in a row, so its chunks are matrices one behind the other.
        shapes = Product(
            POINTS * plan.chunks, plan.x.padded, plan.x.groups, plan.gy.padded, plan.depth, adds=int(first > 0)
        )
        launches += [
            collect(x, of_x, plan.x, first, rows),
            collect(gy, of_gy, plan.gy, first, rows, gradient=True),
            multiply(of_x, of_gy, sums, shapes, transposed=True),
        ]
    chunks = plan.chunks if launches else 0  # without tiles the sums are 0
    grid = (-(-plan.x.channels * problem.K // THREADS),)
    launches.append(Launch(_gather, grid, (THREADS,), (sums, gw, plan.x, plan.gy, chunks)))
    return launches + ([] if gb is None else sum_rows(gy, gb, _pixels(problem), problem.K, bias_sums))


def _pixels(problem):
    """Rows of gy, which the bias sums."""
    return problem.N * problem.P * problem.Q


@cuda_jit(FLOATS, FLOATS, Tiles, Tiles, int32, launch_bounds=THREADS)
def _gather(sums, gw, x, gy, chunks):
    patch = cuda.local.array(POINTS, float32)
    K = uint32(gy.groups * gy.channels)
    thread = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    c, k = uint32(thread // K), uint32(thread % K)
    if c >= uint32(x.channels):
        return
    column = uint32(k // uint32(gy.channels) * uint32(gy.padded) + k % uint32(gy.channels))
    matrix = uint32(x.padded * gy.groups * gy.padded)
    at = uint32(c * uint32(gy.groups * gy.padded) + column)
    for e in range(POINTS):
        patch[e] = float32(0)
    for chunk in range(chunks):
        for e in range(POINTS):
            patch[e] += sums[uint32(uint32(e * chunks + chunk) * matrix + at)]
    both_sides(_TRANSFORM, patch, SIZE, SIZE, 3)
    for tap in range(9):
        gw[uint32((tap * x.channels + c) * K + k)] = patch[tap // 3 * SIZE + tap % 3]
