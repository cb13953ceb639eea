"""The input's gradient of a depthwise convolution: depthwise convolutions of gy, one a phase of the stride.

Differs from cpu_direct as conv2d/cpu_depthwise.py does. Limited by bytes.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels import cpu_depthwise as depthwise
from fastconv.kernels.conv2d_backward_data.cpu_direct import grids_of
from fastconv.kernels.registry import kernel


@kernel(
    limited_by="bytes: loading gy once for each tap",
    unsupported=depthwise.unsupported,
    workspace_bytes=lambda problem: problem.R * problem.S * problem.C * problem.itemsize,
    fuses=("relu",),
)
def cpu_depthwise(problem, gy, w, gx, workspace, relu=None):
    p = problem
    reversed_taps = workspace[: p.R * p.S * p.C * p.itemsize].view(w.dtype)
    reversed_taps.reshape(p.R * p.S, p.C)[...] = w.reshape(p.R * p.S, p.C)[::-1]
    no_bias = np.zeros(p.C, gx.dtype)
    lowest, gate = (-np.inf, None) if relu is None else (0, relu.reshape(-1))
    depthwise.convolve(grids_of(p), gy.reshape(-1), reversed_taps, no_bias, gx.reshape(-1), lowest, gate)
