"""The definition of conv2d in NumPy float64: a matrix product for each tap of the filter and each group.

What every other variant is checked against, and the last resort of the defaults.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.reference_windows import Padding, Pair, options, windows
from fastconv.kernels.registry import kernel


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None = None,
    strides: Pair = (1, 1),
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """y (N,P,Q,K) of x (N,H,W,C), w (R,S,C/groups,K), bias (K,); float64."""
    R, S, channels, K = w.shape
    where = windows(x.shape[1:3], (R, S), strides, padding, dilation)
    padded, w = where.pad(x), np.asarray(w, np.float64)
    y = np.zeros((len(x), where.rows.shape[1], where.columns.shape[1], K))
    if bias is not None:
        y += bias
    for r, s, tap in where.taps():
        pixels = padded[tap].reshape(-1, groups, channels).swapaxes(0, 1)  # (groups, N*P*Q, C/groups)
        filters = w[r, s].reshape(channels, groups, -1).swapaxes(0, 1)  # (groups, C/groups, K/groups)
        y += (pixels @ filters).swapaxes(0, 1).reshape(y.shape)
    return y


@kernel(limited_by="NumPy: a copy of the input for each tap", fuses=("relu",))
def reference(problem, x, w, bias, y, workspace, relu=False):
    result = conv2d(x, w, bias, groups=problem.groups, **options(problem))
    y[...] = np.maximum(result, 0) if relu else result
