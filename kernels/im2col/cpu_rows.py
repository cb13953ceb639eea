"""im2col by runs: the S neighbours of a window's row are one copy.

Differs from cpu_naive: no test for the border inside the innermost loop; each row of a window is zeros, then one run of
pixels (one copy of S*C elements where the dilation is 1), then zeros. A thread fills every threads-th row of outputs.
Limited by bytes: col is R*S/(stride_h*stride_w) times x and is written once.
"""

from __future__ import annotations

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import at, lanes, tile_load, tile_shape, tile_store
from fastconv.kernels.registry import kernel


@kernel(limited_by="bytes: writing col")
def cpu_rows(problem, x, col, workspace):
    p = problem
    _run(
        x.reshape(-1), col.reshape(-1), threads_for(col.size), p.N, p.H, p.W, p.C, p.P, p.Q, p.R, p.S,
        p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.pad_top, p.pad_left,
    )  # fmt: skip


@cpu_jit(inner=True)
def _thread(
    thread, x, col, threads, N, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left
):  # fmt: skip
    for task in range(thread, N * P, threads):
        n, p = task // P, task % P
        for q in range(Q):
            first_w = q * stride_w - pad_left
            for r in range(R):
                h = p * stride_h - pad_top + r * dilation_h
                target = ((task * Q + q) * R + r) * S * C
                # Taps before `low` lie left of the image, those from `high` on right of it.
                low = min(S, max(0, (-first_w + dilation_w - 1) // dilation_w)) if 0 <= h < H else S
                high = max(low, min(S, (W - first_w + dilation_w - 1) // dilation_w))
                if low > 0:
                    col[target : target + low * C] = 0
                source = ((n * H + h) * W + first_w) * C
                if dilation_w == 1:
                    _copy(at(x, source + low * C), at(col, target + low * C), lanes(x), (high - low) * C)
                else:
                    for s in range(low, high):
                        _copy(at(x, source + s * dilation_w * C), at(col, target + s * C), lanes(x), C)
                if high < S:
                    col[target + high * C : target + S * C] = 0


@cpu_jit(inner=True)
def _copy(source, target, lanes, count):
    """`count` elements by vectors. A loop over elements would stay scalar: for each Numba tests whether its index is
    negative, and for each run LLVM whether it overlaps itself."""
    whole = count // lanes * lanes
    for i in range(0, whole, lanes):
        tile_store(tile_load(tile_shape(1, 1, False), at(source, i), 0, 0), at(target, i), 0, 0)
    if whole < count:
        rest = count - whole
        tile_store(tile_load(tile_shape(1, 1, True), at(source, whole), 0, rest), at(target, whole), 0, rest)


@cpu_jit
def _run(
    x, col, threads, N, H, W, C, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left
):  # fmt: skip
    parallel_for(
        _thread,
        threads,
        (
            x,
            col,
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
