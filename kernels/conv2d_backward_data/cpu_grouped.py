"""The input's gradient of a convolution with small groups: such convolutions of gy, one a phase of the stride.

Differs from cpu_direct as conv2d/cpu_grouped.py does. Limited by FLOPs.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels import cpu_grouped as grouped
from fastconv.kernels import cpu_taps
from fastconv.kernels.conv2d_backward_data.cpu_direct import grids_of
from fastconv.kernels.cpu_transpose import transposed_filter
from fastconv.kernels.registry import kernel


def _workspace_bytes(problem):
    grids = grids_of(grouped.merged(problem))
    bands = max(cpu_taps.workspace_bytes(grid, problem.itemsize) for grid in grids)
    return 2 * grouped.filter_bytes(problem) + bands


@kernel(
    limited_by="FLOPs: one fused multiply-add a lane and cycle",
    unsupported=grouped.unsupported,
    workspace_bytes=_workspace_bytes,
    fuses=("relu",),
    pays=grouped.pays,
)
def cpu_grouped(problem, gy, w, gx, workspace, relu=None):
    p, size = problem, grouped.filter_bytes(problem)
    turned, rest = workspace[:size].view(w.dtype), workspace[size:]
    transposed_filter(p, w, turned)
    no_bias = np.zeros(p.C, gx.dtype)
    lowest, gate = (-np.inf, None) if relu is None else (0, relu.reshape(-1))
    for grid in grids_of(grouped.merged(p)):
        grouped.convolve(p, grid, gy.reshape(-1), turned, no_bias, gx.reshape(-1), rest, lowest, gate)
