"""conv2d in CUDA C++: cuda_implicit_gemm's idea, with tiles of 128 x 128 and 256 threads a block.

cudacpp_implicit_gemm.cu is the kernel; what it is made of is in kernels/cuda_cpp. Beside the Numba rung the tile is
twice as wide, so a number that a block fetches from x is used for twice as many filters; a thread has 8 x 8 sums in
both. Limited by FLOPs where tiles are full.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.kernels.cuda import Launch
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cuda_nvrtc import CppKernel
from fastconv.kernels.cuda_tiles import COLUMNS, ROWS, THREADS, unsupported
from fastconv.kernels.cuda_vectors import aligned
from fastconv.kernels.registry import kernel

_conv2d = CppKernel(__file__, "conv2d")
DEPTH = 8  # of a slice


class Plan(NamedTuple):
    """ForwardPlan of forward.cuh."""

    groups: int
    filter_tiles: int  # of a group
    slices: int  # of a window
    wide_x: int
    wide_w: int
    wide_y: int
    has_bias: int
    relu: int


@kernel(limited_by="FLOPs, where tiles are full", unsupported=unsupported, fuses=("relu",))
def cudacpp_implicit_gemm(problem, x, w, bias, y, workspace, relu=False):
    return [launch(_conv2d, DEPTH, 4, problem, x, w, bias, y, relu)]


def launch(compiled, depth, stored, problem, x, w, bias, y, relu):
    """The launch of a kernel whose slices are `depth` deep and which stores `stored` filters at a time."""
    g = Conv2DGeometry.of(problem)
    plan = Plan(
        groups=problem.groups,
        filter_tiles=-(-g.group_K // COLUMNS),
        slices=-(-g.R * g.S * g.group_C // depth),
        wide_x=int(g.group_C % 4 == 0 and aligned(x)),
        wide_w=int(g.group_K % 4 == 0 and aligned(w)),
        wide_y=int(g.group_K % stored == 0 and aligned(y)),
        has_bias=int(bias is not None),
        relu=int(relu),
    )
    blocks = -(-g.N * g.P * g.Q // ROWS) * plan.groups * plan.filter_tiles
    given = y if bias is None else bias  # without a bias the kernel reads nothing there
    return Launch(compiled, (blocks,), (THREADS,), (x, w, given, y, g, plan))
