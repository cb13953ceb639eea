"""The formula of conv2d's input gradient as plain loops.

The first rung. A task takes one image and walks the forward's loops; each product's factor w sends its
share of gy back to the pixel that it met. Limited by latency: sums of K products, one addition after the
other.
"""

from __future__ import annotations

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, thread_count
from fastconv.kernels.registry import kernel


@kernel(limited_by="latency: one addition after the other")
def cpu_naive(problem, gy, w, gx, workspace):
    p = problem
    thread_count()  # starts Numba's threads
    _run(gy, w, gx, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.pad_top, p.pad_left, p.groups)


@cpu_jit(inner=True)
def _image(n, gy, w, gx, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups):
    _, P, Q, _ = gy.shape
    R, S, group_channels, K = w.shape
    _, H, W, C = gx.shape
    gx[n] = 0
    for p in range(P):
        for q in range(Q):
            for r in range(R):
                for s in range(S):
                    h = p * stride_h - pad_top + r * dilation_h
                    j = q * stride_w - pad_left + s * dilation_w
                    if 0 <= h < H and 0 <= j < W:
                        for c in range(C):
                            first = c // group_channels * (K // groups)  # filter of the channel's group
                            for k in range(first, first + K // groups):
                                gx[n, h, j, c] += gy[n, p, q, k] * w[r, s, c % group_channels, k]


@cpu_jit
def _run(gy, w, gx, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups):
    parallel_for(
        _image,
        gx.shape[0],
        (gy, w, gx, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups),
    )
