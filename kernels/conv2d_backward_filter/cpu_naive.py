"""The formula of conv2d's filter gradient as plain loops.

The first rung. A task owns the K elements gw[r, s, c, :] and sums them over all pixels of the batch in
order, so no two tasks write the same element. Limited by bytes: every task reads gy once, and one channel
of x with a stride of C.
"""

from __future__ import annotations

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, thread_count
from fastconv.kernels.registry import kernel


@kernel(limited_by="bytes: gy is read once for each of R*S*C/groups rows")
def cpu_naive(problem, x, gy, gw, gb, workspace):
    p = problem
    thread_count()  # starts Numba's threads
    _run(x, gy, gw, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.pad_top, p.pad_left, p.groups)
    if gb is not None:
        _sum_pixels(gy, gb)


@cpu_jit(inner=True)
def _filter_row(row, x, gy, gw, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups):
    _, H, W, _ = x.shape
    N, P, Q, K = gy.shape
    _, S, group_channels, _ = gw.shape
    r, s, c = row // group_channels // S, row // group_channels % S, row % group_channels
    gw[r, s, c] = 0
    for n in range(N):
        for p in range(P):
            for q in range(Q):
                h = p * stride_h - pad_top + r * dilation_h
                j = q * stride_w - pad_left + s * dilation_w
                if 0 <= h < H and 0 <= j < W:
                    for k in range(K):
                        first = k // (K // groups) * group_channels  # channel of the filter's group
                        gw[r, s, c, k] += x[n, h, j, first + c] * gy[n, p, q, k]


@cpu_jit
def _run(x, gy, gw, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups):
    parallel_for(
        _filter_row,
        gw.shape[0] * gw.shape[1] * gw.shape[2],
        (x, gy, gw, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups),
    )


@cpu_jit
def _sum_pixels(gy, gb):
    N, P, Q, K = gy.shape
    gb[:] = 0
    for n in range(N):
        for p in range(P):
            for q in range(Q):
                for k in range(K):
                    gb[k] += gy[n, p, q, k]
