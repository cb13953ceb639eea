"""The definition of average_pool2d_backward as plain loops.

The first rung. A task takes one image, since its windows may overlap; each window is counted, then gives
every element its share. Limited by instructions: one element at a time, each with its own test for the
border.
"""

from __future__ import annotations

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, thread_count
from fastconv.kernels.registry import kernel


@kernel(limited_by="instructions: one element at a time")
def cpu_naive(problem, gy, gx, workspace):
    p = problem
    thread_count()  # starts Numba's threads
    _run(gy, gx, p.R, p.S, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.pad_top, p.pad_left)


@cpu_jit(inner=True)
def _image(n, gy, gx, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left):
    _, P, Q, C = gy.shape
    _, H, W, _ = gx.shape
    gx[n] = 0
    for p in range(P):
        for q in range(Q):
            count = 0
            for r in range(R):
                for s in range(S):
                    h = p * stride_h - pad_top + r * dilation_h
                    j = q * stride_w - pad_left + s * dilation_w
                    if 0 <= h < H and 0 <= j < W:
                        count += 1
            for r in range(R):
                for s in range(S):
                    h = p * stride_h - pad_top + r * dilation_h
                    j = q * stride_w - pad_left + s * dilation_w
                    if 0 <= h < H and 0 <= j < W:
                        for c in range(C):
                            gx[n, h, j, c] += gy[n, p, q, c] / count


@cpu_jit
def _run(gy, gx, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left):
    parallel_for(_image, gx.shape[0], (gy, gx, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left))
