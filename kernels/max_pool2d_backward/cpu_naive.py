"""The definition of max_pool2d_backward as plain loops.

The first rung. A task takes one image, since its windows may overlap; each window is scanned for its first
maximum, which receives the gradient. Limited by instructions: one element at a time, and a branch for each.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, thread_count
from fastconv.kernels.registry import kernel


@kernel(limited_by="instructions: one element at a time")
def cpu_naive(problem, x, gy, gx, workspace):
    p = problem
    thread_count()  # starts Numba's threads
    _run(x, gy, gx, p.R, p.S, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.pad_top, p.pad_left)


@cpu_jit(inner=True)
def _image(n, x, gy, gx, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left):
    _, H, W, _ = x.shape
    _, P, Q, C = gy.shape
    gx[n] = 0
    for p in range(P):
        for q in range(Q):
            for c in range(C):
                best_h = best_j = -1
                for r in range(R):
                    for s in range(S):
                        h = p * stride_h - pad_top + r * dilation_h
                        j = q * stride_w - pad_left + s * dilation_w
                        if 0 <= h < H and 0 <= j < W:
                            value = x[n, h, j, c]
                            best = x[n, max(best_h, 0), max(best_j, 0), c]
                            if best_h < 0 or value > best or (np.isnan(value) and not np.isnan(best)):
                                best_h, best_j = h, j
                gx[n, best_h, best_j, c] += gy[n, p, q, c]


@cpu_jit
def _run(x, gy, gx, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left):
    parallel_for(
        _image,
        x.shape[0],
        (x, gy, gx, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left),
    )
