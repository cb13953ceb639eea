"""The definition of max_pool2d as plain loops.

The first rung. A task computes one row of one image's output; each element scans its window by itself.
Limited by instructions: neighbours in a window lie C elements apart, so there is nothing to load as a
vector.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, thread_count
from fastconv.kernels.registry import kernel


@kernel(limited_by="instructions: one element at a time")
def cpu_naive(problem, x, y, workspace):
    p = problem
    thread_count()  # starts Numba's threads
    _run(x, y, p.R, p.S, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.pad_top, p.pad_left)


@cpu_jit(inner=True)
def _row(row, x, y, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left):
    _, H, W, C = x.shape
    _, P, Q, _ = y.shape
    n, p = row // P, row % P
    for q in range(Q):
        for c in range(C):
            y[n, p, q, c] = -np.inf
            for r in range(R):
                for s in range(S):
                    h = p * stride_h - pad_top + r * dilation_h
                    j = q * stride_w - pad_left + s * dilation_w
                    if 0 <= h < H and 0 <= j < W:
                        value = x[n, h, j, c]
                        if value > y[n, p, q, c] or np.isnan(value):
                            y[n, p, q, c] = value


@cpu_jit
def _run(x, y, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left):
    rows = y.shape[0] * y.shape[1]
    parallel_for(
        _row, rows, (x, y, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left)
    )  # fmt: skip
