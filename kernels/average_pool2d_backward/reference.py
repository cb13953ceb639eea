"""The definition of average_pool2d_backward in NumPy float64: each tap in the image receives its share of gy.

What every other variant is checked against, and the last resort of the defaults.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.reference_windows import Padding, Pair, options, windows
from fastconv.kernels.registry import kernel


def average_pool2d_backward(
    gy: np.ndarray,
    size: Pair,
    window: Pair,
    strides: Pair,
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
) -> np.ndarray:
    """gx (N,H,W,C) of gy (N,P,Q,C), size (H, W), window (R, S); float64."""
    where = windows(size, window, strides, padding, dilation)
    inside = where.inside()
    share = gy / np.sum([inside[tap] for _, _, tap in where.taps()], axis=0)
    gx = where.empty_padded(len(gy), gy.shape[3])
    for _, _, tap in where.taps():
        gx[tap] += share
    return where.crop(gx)


@kernel(limited_by="NumPy: a copy of the output for each tap")
def reference(problem, gy, gx, workspace):
    gx[...] = average_pool2d_backward(gy, (problem.H, problem.W), (problem.R, problem.S), **options(problem))
