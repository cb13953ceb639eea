"""The definition of col2im in NumPy float64: the taps are added to their pixels, one tap at a time.

What every other variant is checked against, and the last resort of the defaults.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.reference_windows import Padding, Pair, options, windows
from fastconv.kernels.registry import kernel


def col2im(
    col: np.ndarray,
    size: Pair,
    strides: Pair = (1, 1),
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
) -> np.ndarray:
    """gx (N,H,W,C) of col (N,P,Q,R,S,C), size (H, W); float64."""
    where = windows(size, col.shape[3:5], strides, padding, dilation)
    gx = where.empty_padded(len(col), col.shape[5])
    for r, s, tap in where.taps():
        gx[tap] += col[:, :, :, r, s]
    return where.crop(gx)


@kernel(limited_by="NumPy: a copy of the columns for each tap")
def reference(problem, col, gx, workspace):
    gx[...] = col2im(col, (problem.H, problem.W), **options(problem))
