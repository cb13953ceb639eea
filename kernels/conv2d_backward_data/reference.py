"""The definition of conv2d_backward_data in NumPy float64: each tap sends gy back to the pixels it read.

What every other variant is checked against, and the last resort of the defaults.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.reference_windows import Padding, Pair, options, windows
from fastconv.kernels.registry import kernel


def conv2d_backward_data(
    gy: np.ndarray,
    w: np.ndarray,
    size: Pair,
    strides: Pair = (1, 1),
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """gx (N,H,W,C) of gy (N,P,Q,K), w (R,S,C/groups,K), size (H, W); float64."""
    R, S, channels, _ = w.shape
    where = windows(size, (R, S), strides, padding, dilation)
    gy, w = np.asarray(gy, np.float64), np.asarray(w, np.float64)
    gx = where.empty_padded(len(gy), channels * groups)
    gradients = gy.reshape(-1, groups, gy.shape[3] // groups).swapaxes(0, 1)  # (groups, N*P*Q, K/groups)
    for r, s, tap in where.taps():
        filters = w[r, s].reshape(channels, groups, -1).transpose(1, 2, 0)  # (groups, K/groups, C/groups)
        gx[tap] += (gradients @ filters).swapaxes(0, 1).reshape(*gy.shape[:3], channels * groups)
    return where.crop(gx)


@kernel(limited_by="NumPy: a copy of the output for each tap")
def reference(problem, gy, w, gx, workspace):
    gx[...] = conv2d_backward_data(gy, w, (problem.H, problem.W), groups=problem.groups, **options(problem))
