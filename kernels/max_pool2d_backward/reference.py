"""The definition of max_pool2d_backward in NumPy float64: find each window's winner, send it the gradient.

What every other variant is checked against, and the last resort of the defaults.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.reference_windows import Padding, Pair, options, windows
from fastconv.kernels.registry import kernel


def max_pool2d_backward(
    x: np.ndarray,
    gy: np.ndarray,
    window: Pair,
    strides: Pair,
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
) -> np.ndarray:
    """gx (N,H,W,C) of x (N,H,W,C), gy (N,P,Q,C), window (R, S); float64."""
    where = windows(x.shape[1:3], window, strides, padding, dilation)
    padded, inside = where.pad(x), where.inside()
    best = np.full(gy.shape, -np.inf)
    winner = np.full(gy.shape, -1)  # the tap, r * S + s; -1 before the window has met the image
    for r, s, tap in where.taps():
        value = padded[tap]
        better = (value > best) | (np.isnan(value) & ~np.isnan(best)) | (winner < 0)
        wins = (inside[tap] == 1) & better
        best, winner = np.where(wins, value, best), np.where(wins, r * window[1] + s, winner)
    gx = where.empty_padded(len(x), x.shape[3])
    for r, s, tap in where.taps():
        gx[tap] += np.where(winner == r * window[1] + s, gy, 0)
    return where.crop(gx)


@kernel(limited_by="NumPy: copies of the input for each tap")
def reference(problem, x, gy, gx, workspace):
    gx[...] = max_pool2d_backward(x, gy, (problem.R, problem.S), **options(problem))
