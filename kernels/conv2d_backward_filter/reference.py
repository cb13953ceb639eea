"""The definition of conv2d_backward_filter in NumPy float64: for each tap, the pixels it read times gy.

What every other variant is checked against, and the last resort of the defaults.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.reference_windows import Padding, Pair, options, windows
from fastconv.kernels.registry import kernel


def conv2d_backward_filter(
    x: np.ndarray,
    gy: np.ndarray,
    window: Pair,
    strides: Pair = (1, 1),
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """gw (R,S,C/groups,K) and gb (K,) of x (N,H,W,C), gy (N,P,Q,K), window (R, S); float64."""
    where = windows(x.shape[1:3], window, strides, padding, dilation)
    padded, gy = where.pad(x), np.asarray(gy, np.float64)
    C, K = x.shape[3], gy.shape[3]
    gw = np.zeros((*window, C // groups, K))
    gradients = gy.reshape(-1, groups, K // groups).swapaxes(0, 1)  # (groups, N*P*Q, K/groups)
    for r, s, tap in where.taps():
        pixels = padded[tap].reshape(-1, groups, C // groups).transpose(1, 2, 0)  # (groups, C/groups, N*P*Q)
        gw[r, s] = (pixels @ gradients).swapaxes(0, 1).reshape(gw[r, s].shape)  # (C/groups, K)
    return gw, gy.sum(axis=(0, 1, 2))


@kernel(limited_by="NumPy: a copy of the input for each tap")
def reference(problem, x, gy, gw, gb, workspace):
    gw[...], bias = conv2d_backward_filter(x, gy, (problem.R, problem.S), groups=problem.groups, **options(problem))
    if gb is not None:
        gb[...] = bias
