"""Convolution with small groups, several of them in a vector.

Differs from cpu_direct, whose tiles hold filters of one group and leave the rest of a vector empty (see
../cpu_grouped.py). Limited by FLOPs: one multiply-add and one exchange of lanes for each product.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels import cpu_grouped as grouped
from fastconv.kernels import cpu_taps
from fastconv.kernels.conv2d.cpu_direct import grid_of
from fastconv.kernels.registry import kernel


def _workspace_bytes(problem):
    return grouped.filter_bytes(problem) + cpu_taps.workspace_bytes(grid_of(grouped.merged(problem)), problem.itemsize)


@kernel(
    limited_by="FLOPs: one fused multiply-add a lane and cycle",
    unsupported=grouped.unsupported,
    workspace_bytes=_workspace_bytes,
    fuses=("relu",),
    pays=grouped.pays,
)
def cpu_grouped(problem, x, w, bias, y, workspace, relu=False):
    bias = np.zeros(problem.K, y.dtype) if bias is None else bias
    grid, lowest = grid_of(grouped.merged(problem)), 0.0 if relu else -np.inf
    grouped.convolve(problem, grid, x.reshape(-1), w.reshape(-1), bias, y.reshape(-1), workspace, lowest)
