"""The definition of im2col in NumPy float64: one tap of all windows at a time.

What every other variant is checked against, and the last resort of the defaults.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.reference_windows import Padding, Pair, options, windows
from fastconv.kernels.registry import kernel


def im2col(
    x: np.ndarray,
    window: Pair,
    strides: Pair = (1, 1),
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
) -> np.ndarray:
    """col (N,P,Q,R,S,C) of x (N,H,W,C), window (R, S); float64."""
    where = windows(x.shape[1:3], window, strides, padding, dilation)
    padded = where.pad(x)
    pixels = np.array([padded[tap] for _, _, tap in where.taps()])  # (R*S,N,P,Q,C)
    return np.moveaxis(pixels, 0, 3).reshape(*pixels.shape[1:4], *window, x.shape[3])


@kernel(limited_by="NumPy: a copy of the input for each tap")
def reference(problem, x, col, workspace):
    col[...] = im2col(x, (problem.R, problem.S), **options(problem))
