"""The formula of conv2d_max_pool2d_backward_filter as plain loops.

The first rung. A task owns the K elements gw[r, s, c, :]: for each output it looks up which pixel of the window was the
largest, and adds that pixel's input times the gradient. Limited by bytes: every task reads gy and winners once.
"""

from __future__ import annotations

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, thread_count
from fastconv.kernels.registry import kernel


@kernel(limited_by="bytes: gy and winners are read once for each of R*S*C/groups rows")
def cpu_naive(problem, x, gy, winners, gw, gb, workspace):
    p = problem
    thread_count()  # starts Numba's threads
    _run(
        x, gy, winners, gw, p.pool_h, p.pool_w, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.pad_top,
        p.pad_left, p.groups,
    )  # fmt: skip
    if gb is not None:
        _sum_winners(gy, winners, gb)


@cpu_jit(inner=True)
def _filter_row(
    row, x, gy, winners, gw, pool_h, pool_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups
):  # fmt: skip
    _, H, W, _ = x.shape
    N, rows, columns, K = gy.shape
    _, S, group_channels, _ = gw.shape
    r, s, c = row // group_channels // S, row // group_channels % S, row % group_channels
    gw[r, s, c] = 0
    for n in range(N):
        for p in range(rows * pool_h):
            for q in range(columns * pool_w):
                h = p * stride_h - pad_top + r * dilation_h
                j = q * stride_w - pad_left + s * dilation_w
                if 0 <= h < H and 0 <= j < W:
                    number = p % pool_h * pool_w + q % pool_w
                    for k in range(K):
                        first = k // (K // groups) * group_channels  # channel of the filter's group
                        wins = winners[n, p // pool_h, q // pool_w, k] == number
                        gw[r, s, c, k] += x[n, h, j, first + c] * (gy[n, p // pool_h, q // pool_w, k] if wins else 0)


@cpu_jit
def _run(
    x, gy, winners, gw, pool_h, pool_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups
):  # fmt: skip
    parallel_for(
        _filter_row,
        gw.shape[0] * gw.shape[1] * gw.shape[2],
        (
            x, gy, winners, gw, pool_h, pool_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups,
        ),
    )  # fmt: skip


@cpu_jit
def _sum_winners(gy, winners, gb):
    N, rows, columns, K = gy.shape
    gb[:] = 0
    for n in range(N):
        for p in range(rows):
            for q in range(columns):
                for k in range(K):
                    if winners[n, p, q, k] >= 0:
                        gb[k] += gy[n, p, q, k]
