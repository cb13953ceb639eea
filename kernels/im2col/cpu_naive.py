"""The definition of im2col as plain loops.

The first rung. A task fills the rows of one row of outputs, element by element, each with its own test for
the border. Limited by those tests: they keep the compiler from copying in vectors.
"""

from __future__ import annotations

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, thread_count
from fastconv.kernels.registry import kernel


@kernel(limited_by="instructions: a border test for each element")
def cpu_naive(problem, x, col, workspace):
    p = problem
    thread_count()  # starts Numba's threads
    _run(x, col, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.pad_top, p.pad_left)


@cpu_jit(inner=True)
def _row(row, x, col, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left):
    _, H, W, C = x.shape
    _, P, Q, R, S, _ = col.shape
    n, p = row // P, row % P
    for q in range(Q):
        for r in range(R):
            for s in range(S):
                h = p * stride_h - pad_top + r * dilation_h
                j = q * stride_w - pad_left + s * dilation_w
                for c in range(C):
                    col[n, p, q, r, s, c] = x[n, h, j, c] if 0 <= h < H and 0 <= j < W else 0


@cpu_jit
def _run(x, col, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left):
    rows = col.shape[0] * col.shape[1]
    parallel_for(_row, rows, (x, col, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left))
