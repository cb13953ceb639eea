"""conv2d_backward_filter in CUDA C++: cuda_implicit_gemm's idea, with tiles of 128 x 128 and 256 threads a block.

cudacpp_implicit_gemm.cu is the kernel; what it is made of is in kernels/cuda_cpp. Pixels are cut into chunks, and the
chunks' sums added, by the problem alone and always in one order (`cuda_chunks.py`, in Python). The bias's gradient is
the sum of gy's rows, by the same functions: the kernel's copies need not pass through registers, so nobody has the
numbers in hand. Limited by FLOPs where tiles are full.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.kernels.cuda import Launch
from fastconv.kernels.cuda_chunks import Chunks, Sums, place_sums, row_sums_bytes, sum_rows, sums_bytes
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cuda_nvrtc import CppKernel
from fastconv.kernels.cuda_pixels import Step
from fastconv.kernels.cuda_tiles import COLUMNS, ROWS, THREADS, unsupported
from fastconv.kernels.cuda_vectors import aligned
from fastconv.kernels.registry import kernel

_backward_filter = CppKernel(__file__, "backward_filter")
DEPTH = 8  # of a slice
LEAST, MULTIPLE = 64, 16  # pixels of a chunk


class Plan(NamedTuple):
    """BackwardFilterPlan of backward_filter.cuh."""

    row_tiles: int  # of a group
    filter_tiles: int  # of a group
    groups: int
    wide_x: int
    wide_gy: int
    wide_gw: int
    pixels: int
    pitch: int


def tiles_of(p):
    """Tiles of a group's rows and filters."""
    return -(-(p.R * p.S * p.C // p.groups) // ROWS), -(-(p.K // p.groups) // COLUMNS)


def chunks_of(p):
    row_tiles, filter_tiles = tiles_of(p)
    return Chunks.of(p.N * p.P * p.Q, row_tiles * filter_tiles * p.groups, LEAST, MULTIPLE)


def workspace_bytes(p):
    """Bytes of the chunks' sums, and of those of the bias."""
    return sums_bytes(p, chunks_of(p)) + row_sums_bytes(p.N * p.P * p.Q, p.K)


@kernel(limited_by="FLOPs, where tiles are full", unsupported=unsupported, workspace_bytes=workspace_bytes)
def cudacpp_implicit_gemm(problem, x, gy, gw, gb, workspace):
    return launches(_backward_filter, DEPTH, 4, problem, x, gy, gw, gb, workspace)


def launches(compiled, depth, stored, problem, x, gy, gw, gb, workspace):
    """Those of a kernel whose slices are `depth` deep and which stores `stored` filters at a time."""
    g, chunks = Conv2DGeometry.of(problem), chunks_of(problem)
    row_tiles, filter_tiles = tiles_of(problem)
    memory = workspace[: workspace_bytes(problem)].view("float32")
    sums = Sums.of(problem, chunks, False)
    out, _, add = place_sums(problem, chunks, gw, None, memory)
    plan = Plan(
        row_tiles=row_tiles,
        filter_tiles=filter_tiles,
        groups=problem.groups,
        wide_x=int(g.group_C % 4 == 0 and aligned(x)),
        wide_gy=int(g.group_K % 4 == 0 and aligned(gy)),
        wide_gw=int(g.group_K % stored == 0 and aligned(out)),
        pixels=chunks.terms,
        pitch=sums.pitch,
    )
    blocks = row_tiles * filter_tiles * problem.groups * chunks.number
    found = [Launch(compiled, (blocks,), (THREADS,), (x, gy, out, g, Step.of(problem, depth), plan)), *add]
    if gb is not None:
        found += sum_rows(gy, gb, g.N * g.P * g.Q, g.K, memory[sums_bytes(problem, chunks) // 4 :])
    return found
