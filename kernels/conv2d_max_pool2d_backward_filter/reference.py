"""The definition of conv2d_max_pool2d_backward_filter in NumPy float64: gradients go to the winners, then to w.

What every other variant is checked against, and the last resort of the defaults.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.reference_windows import options, windows
from fastconv.kernels.registry import kernel


@kernel(limited_by="NumPy: a copy of the input for each tap")
def reference(problem, x, gy, winners, gw, gb, workspace):
    p = problem
    numbers = np.arange(p.pool_h * p.pool_w).reshape(p.pool_h, 1, p.pool_w, 1)
    pixels = np.where(winners[:, :, None, :, None] == numbers, np.asarray(gy, np.float64)[:, :, None, :, None], 0)
    N, rows, columns, K = p.y_shape
    pixels = pixels.reshape(N, rows * p.pool_h, columns * p.pool_w, K)
    where = windows((p.H, p.W), (p.R, p.S), **options(p))
    padded = where.pad(x)
    gradients = pixels.reshape(-1, p.groups, K // p.groups).swapaxes(0, 1)
    for r, s, tap in where.taps():
        seen = padded[tap][:, : rows * p.pool_h, : columns * p.pool_w].reshape(-1, p.groups, p.C // p.groups)
        gw[r, s] = (seen.transpose(1, 2, 0) @ gradients).swapaxes(0, 1).reshape(gw[r, s].shape)
    if gb is not None:
        gb[...] = gradients.sum(axis=1).reshape(-1)
