"""The formula of conv2d_max_pool2d as plain loops.

The first rung. A task computes one row of one image's output; the pixels of a window are convolved one after the other,
and the largest so far is kept. Limited by latency: one addition waits for the other.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, thread_count
from fastconv.kernels.registry import kernel


@kernel(limited_by="latency: one addition after the other")
def cpu_naive(problem, x, w, bias, y, winners, workspace):
    p = problem
    thread_count()  # starts Numba's threads
    bias = np.zeros(p.K, y.dtype) if bias is None else bias
    found = np.empty(p.y_shape, y.dtype) if winners is None else winners
    _run(
        x, w, bias, y, found, p.pool_h, p.pool_w, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.pad_top,
        p.pad_left, p.groups,
    )  # fmt: skip


@cpu_jit(inner=True)
def _pixel(x, w, total, n, k, first_h, first_w, dilation_h, dilation_w, first):
    """One pixel of the convolution: `total` plus the products."""
    _, H, W, _ = x.shape
    R, S, group_channels, _ = w.shape
    for r in range(R):
        for s in range(S):
            h, j = first_h + r * dilation_h, first_w + s * dilation_w
            if 0 <= h < H and 0 <= j < W:
                for c in range(group_channels):
                    total += x[n, h, j, first + c] * w[r, s, c, k]
    return total


@cpu_jit(inner=True)
def _row(
    row, x, w, bias, y, winners, pool_h, pool_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups
):  # fmt: skip
    _, rows, columns, K = y.shape
    n, p = row // rows, row % rows
    for q in range(columns):
        for k in range(K):
            first = k // (K // groups) * w.shape[2]  # channel of the filter's group
            best, winner = bias[k], -1
            for v in range(pool_h):
                for u in range(pool_w):
                    h, j = (p * pool_h + v) * stride_h - pad_top, (q * pool_w + u) * stride_w - pad_left
                    value = _pixel(x, w, bias[k], n, k, h, j, dilation_h, dilation_w, first)
                    if winner < 0 or value > best or (np.isnan(value) and not np.isnan(best)):
                        best, winner = value, v * pool_w + u
            y[n, p, q, k] = best
            winners[n, p, q, k] = 0 if np.isnan(best) else winner


@cpu_jit
def _run(
    x, w, bias, y, winners, pool_h, pool_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups
):  # fmt: skip
    parallel_for(
        _row,
        y.shape[0] * y.shape[1],
        (
            x, w, bias, y, winners, pool_h, pool_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left,
            groups,
        ),
    )  # fmt: skip
