"""col2im by runs: the S neighbours of a window's row are added in one run.

The mirror image of im2col's cpu_rows. Windows overlap, so a thread takes whole images and adds their windows in
order: the bits do not depend on the thread count. Limited by bytes: col is read once, gx is read and written
R*S/(stride_h*stride_w) times, from the cache.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.registry import kernel


@kernel(limited_by="bytes: reading col")
def cpu_rows(problem, col, gx, workspace):
    p = problem
    _run(
        col.reshape(-1), gx.reshape(-1), threads_for(col.size), p.N, p.H, p.W, p.C, p.P, p.Q, p.R, p.S,
        p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.pad_top, p.pad_left,
    )  # fmt: skip


@cpu_jit(inner=True)
def _thread(
    thread, col, gx, threads, N, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left
):  # fmt: skip
    for n in range(thread, N, threads):
        for i in range(n * H * W * C, (n + 1) * H * W * C):
            gx[i] = 0
        for p in range(P):
            for q in range(Q):
                first_w = q * stride_w - pad_left
                low = min(S, max(0, (-first_w + dilation_w - 1) // dilation_w))
                high = max(low, min(S, (W - first_w + dilation_w - 1) // dilation_w))
                for r in range(R):
                    h = p * stride_h - pad_top + r * dilation_h
                    if 0 <= h < H:
                        source = (((n * P + p) * Q + q) * R + r) * S * C
                        target = ((n * H + h) * W + first_w) * C
                        if dilation_w == 1:
                            _add(gx, target + low * C, col, source + low * C, (high - low) * C)
                        else:
                            for s in range(low, high):
                                _add(gx, target + s * dilation_w * C, col, source + s * C, C)


@cpu_jit(inner=True)
def _add(sums, at, terms, begin, count):
    """Add `count` elements. The indices are unsigned: Numba would test each signed one for being negative, and no
    vectors would be used."""
    first, second = np.uint64(at), np.uint64(begin)
    for j in range(np.uint64(count)):
        sums[first + j] += terms[second + j]


@cpu_jit
def _run(
    col, gx, threads, N, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left
):  # fmt: skip
    parallel_for(
        _thread,
        threads,
        (
            col,
            gx,
            threads,
            N,
            H,
            W,
            C,
            P,
            Q,
            R,
            S,
            stride_h,
            stride_w,
            dilation_h,
            dilation_w,
            pad_top,
            pad_left,
        ),
    )
