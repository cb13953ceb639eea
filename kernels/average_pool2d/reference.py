"""The definition of average_pool2d in NumPy float64: the sum over the taps by how many lie in the image.

What every other variant is checked against, and the last resort of the defaults.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.reference_windows import Padding, Pair, options, windows
from fastconv.kernels.registry import kernel


def average_pool2d(
    x: np.ndarray,
    window: Pair,
    strides: Pair,
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
) -> np.ndarray:
    """y (N,P,Q,C) of x (N,H,W,C), window (R, S); float64."""
    where = windows(x.shape[1:3], window, strides, padding, dilation)
    padded, inside = where.pad(x), where.inside()
    total = np.sum([padded[tap] for _, _, tap in where.taps()], axis=0)
    return total / np.sum([inside[tap] for _, _, tap in where.taps()], axis=0)


@kernel(limited_by="NumPy: a copy of the input for each tap")
def reference(problem, x, y, workspace):
    y[...] = average_pool2d(x, (problem.R, problem.S), **options(problem))
