"""The definition of conv2d_max_pool2d in NumPy float64: the convolution, then each window's first maximum.

What every other variant is checked against, and the last resort of the defaults.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.conv2d.reference import conv2d
from fastconv.kernels.reference_windows import options
from fastconv.kernels.registry import kernel


@kernel(limited_by="NumPy: a copy of the input for each tap", fuses=("relu",))
def reference(problem, x, w, bias, y, winners, workspace, relu=False):
    p = problem
    whole = conv2d(x, w, bias, groups=p.groups, **options(p))
    if relu:
        whole = np.maximum(whole, 0)
    N, rows, columns, K = p.y_shape
    pixels = whole[:, : rows * p.pool_h, : columns * p.pool_w].reshape(N, rows, p.pool_h, columns, p.pool_w, K)
    windows = pixels.transpose(0, 1, 3, 5, 2, 4).reshape(N, rows, columns, K, p.pool_h * p.pool_w)
    y[...] = windows.max(axis=-1)  # a NaN makes the maximum NaN
    if winners is not None:
        first = np.where(np.isnan(y), 0, windows.argmax(axis=-1))
        winners[...] = np.where(y <= 0, -1, first) if relu else first
