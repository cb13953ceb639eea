"""conv2d_backward_data in CUDA C++: cuda_implicit_gemm's idea, with tiles of 128 x 128 and 256 threads a block.

cudacpp_implicit_gemm.cu is the kernel; what it is made of is in kernels/cuda_cpp. Limited by FLOPs where tiles are
full.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.kernels.cuda import Launch
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cuda_nvrtc import CppKernel
from fastconv.kernels.cuda_taps import TapSteps
from fastconv.kernels.cuda_tiles import COLUMNS, ROWS, THREADS, unsupported
from fastconv.kernels.cuda_vectors import aligned
from fastconv.kernels.registry import kernel

_backward_data = CppKernel(__file__, "backward_data")


class Plan(NamedTuple):
    """BackwardDataPlan of backward_data.cuh."""

    groups: int
    channel_tiles: int  # of a group
    phases: int
    phases_w: int
    rows: int
    columns: int
    wide_k: int
    wide_c: int
    relu: int


@kernel(limited_by="FLOPs, where tiles are full", unsupported=unsupported, fuses=("relu",))
def cudacpp_implicit_gemm(problem, gy, w, gx, workspace, relu=None):
    return [launch(_backward_data, 4, problem, gy, w, gx, relu)]


def launch(compiled, stored, problem, gy, w, gx, relu):
    """The launch of a kernel that stores `stored` channels at a time."""
    g = Conv2DGeometry.of(problem)
    plan = Plan(
        groups=problem.groups,
        channel_tiles=-(-g.group_C // COLUMNS),
        phases=min(g.stride_h, g.H) * min(g.stride_w, g.W),
        phases_w=min(g.stride_w, g.W),
        rows=-(-g.H // g.stride_h),
        columns=-(-g.W // g.stride_w),
        wide_k=int(g.group_K % 4 == 0 and aligned(gy, w)),
        wide_c=int(g.group_C % stored == 0 and aligned(gx)),
        relu=int(relu is not None),
    )
    blocks = -(-g.N * plan.rows * plan.columns // ROWS) * plan.groups * plan.phases * plan.channel_tiles
    gate = gx if relu is None else relu  # without a ReLU the kernel reads nothing there
    return Launch(compiled, (blocks,), (THREADS,), (gy, w, gate, gx, g, TapSteps.of(problem), plan))
