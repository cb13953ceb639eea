"""The formula of conv2d as plain loops.

The first rung. A task computes one row of one image's output; each element is summed by itself, from x and
w where they lie. Limited by latency: one addition waits for the other, and w is read with a stride of K.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, thread_count
from fastconv.kernels.registry import kernel


@kernel(limited_by="latency: one addition after the other")
def cpu_naive(problem, x, w, bias, y, workspace):
    p = problem
    thread_count()  # starts Numba's threads
    bias = np.zeros(p.K, y.dtype) if bias is None else bias
    _run(x, w, bias, y, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.pad_top, p.pad_left, p.groups)


@cpu_jit(inner=True)
def _row(row, x, w, bias, y, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups):
    _, H, W, _ = x.shape
    R, S, group_channels, K = w.shape
    _, P, Q, _ = y.shape
    n, p = row // P, row % P
    for q in range(Q):
        for k in range(K):
            first = k // (K // groups) * group_channels  # channel of the filter's group
            total = bias[k]
            for r in range(R):
                for s in range(S):
                    h = p * stride_h - pad_top + r * dilation_h
                    j = q * stride_w - pad_left + s * dilation_w
                    if 0 <= h < H and 0 <= j < W:
                        for c in range(group_channels):
                            total += x[n, h, j, first + c] * w[r, s, c, k]
            y[n, p, q, k] = total


@cpu_jit
def _run(x, w, bias, y, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups):
    parallel_for(
        _row,
        y.shape[0] * y.shape[1],
        (x, w, bias, y, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups),
    )
