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
    R, S, group_channels, K = w.shape
    where = windows(size, (R, S), strides, padding, dilation)
    gy, w = np.asarray(gy, np.float64), np.asarray(w, np.float64)
    gx = where.empty_padded(len(gy), group_channels * groups)
    for r, s, tap in where.taps():
        pixels = np.zeros((*gy.shape[:3], group_channels * groups))
        for group in range(groups):
            channels = slice(group * group_channels, (group + 1) * group_channels)
            filters = slice(group * (K // groups), (group + 1) * (K // groups))
            pixels[..., channels] = gy[..., filters] @ w[r, s, :, filters].T
        gx[tap] += pixels
    return where.crop(gx)


@kernel(limited_by="NumPy: a copy of the output for each tap")
def reference(problem, gy, w, gx, workspace):
    gx[...] = conv2d_backward_data(gy, w, (problem.H, problem.W), groups=problem.groups, **options(problem))
