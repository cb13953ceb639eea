"""The definition of col2im as plain loops.

The first rung. A task takes one image, since its windows overlap, and adds their elements up in order, each
with its own test for the border. Limited by those tests: they keep the compiler from adding in vectors.
"""

from __future__ import annotations

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, thread_count
from fastconv.kernels.registry import kernel


@kernel(limited_by="instructions: a border test for each element")
def cpu_naive(problem, col, gx, workspace):
    p = problem
    thread_count()  # starts Numba's threads
    _run(col, gx, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.pad_top, p.pad_left)


@cpu_jit(inner=True)
def _image(n, col, gx, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left):
    _, P, Q, R, S, C = col.shape
    _, H, W, _ = gx.shape
    gx[n] = 0
    for p in range(P):
        for q in range(Q):
            for r in range(R):
                for s in range(S):
                    h = p * stride_h - pad_top + r * dilation_h
                    j = q * stride_w - pad_left + s * dilation_w
                    for c in range(C):
                        if 0 <= h < H and 0 <= j < W:
                            gx[n, h, j, c] += col[n, p, q, r, s, c]


@cpu_jit
def _run(col, gx, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left):
    parallel_for(_image, gx.shape[0], (col, gx, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left))
