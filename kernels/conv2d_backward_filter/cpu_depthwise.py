"""The filter's gradient of a depthwise convolution: each tap's products of x and gy, a vector of channels at a time.

Differs from cpu_direct as conv2d/cpu_depthwise.py does. For a row of gy and a vector of channels, each tap in turn adds
the products of a few pixels to as many sums, kept apart so that no addition waits for another. The rows of all images
are cut into chunks by the problem alone, which are added in order. Limited by bytes: x and gy are loaded once for each
tap, from the level-1 cache.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels import cpu_depthwise as depthwise
from fastconv.kernels.cpu_chunks import add_chunks
from fastconv.kernels.cpu_depthwise import PIXELS
from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import VECTORS, at, lanes, tile_fma, tile_load, tile_product, tile_shape, tile_store
from fastconv.kernels.registry import kernel

_CHUNKS = 16  # at most: work for as many threads
_CHUNK_WORK = 1 << 20  # multiply-adds that are worth a chunk: each has sums to clear and to add


def _chunks(problem):
    return max(1, min(problem.N * problem.P, _CHUNKS, max(2, problem.flops // 2 // _CHUNK_WORK)))


def _workspace_bytes(problem):
    return _chunks(problem) * (PIXELS + 1) * (problem.R * problem.S + 1) * problem.C * problem.itemsize


@kernel(
    limited_by="bytes: loading x and gy once for each tap",
    unsupported=depthwise.unsupported,
    workspace_bytes=_workspace_bytes,
)
def cpu_depthwise(problem, x, gy, gw, gb, workspace):
    p, chunks = problem, _chunks(problem)
    memory = workspace[: _workspace_bytes(p)].view(x.dtype)
    partial = memory[: chunks * (gw.size + p.C)]  # (chunks, R*S + 1, C): filters, then bias
    _run(
        x.reshape(-1), gy.reshape(-1), np.ones(p.C, x.dtype), partial, memory[partial.size :], chunks,
        threads_for(2 * p.flops), p.N, p.H, p.W, p.C, p.P, p.Q, p.R, p.S,
        p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.pad_top, p.pad_left,
    )  # fmt: skip
    flat_gw = gw.reshape(-1)
    add_chunks(partial, flat_gw, flat_gw[:0] if gb is None else gb, chunks, gw.size, p.C, threads_for(partial.size))


@cpu_jit(inner=True)
def _tap(x, step, gy, C, pixels, sums, channels):
    """sums (PIXELS, C) += x * gy for a vector of channels of `pixels` pixels."""
    shape, single = tile_shape(PIXELS, VECTORS, True), tile_shape(1, VECTORS, True)
    total = tile_load(shape, sums, C, channels)
    q = 0
    while pixels - q >= PIXELS:
        a = tile_load(shape, at(x, q * step), step, channels)
        total = tile_fma(total, a, tile_load(shape, at(gy, q * C), C, channels))
        q += PIXELS
    tile_store(total, sums, C, channels)
    rest = tile_load(single, sums, 0, channels)
    while q < pixels:
        a = tile_load(single, at(x, q * step), 0, channels)
        rest = tile_fma(rest, a, tile_load(single, at(gy, q * C), 0, channels))
        q += 1
    tile_store(rest, sums, 0, channels)


@cpu_jit(inner=True)
def _thread(
    thread, x, gy, one, partial, scratch, chunks, threads, N, H, W, C, P, Q, R, S,
    stride_h, stride_w, dilation_h, dilation_w, top, left,
):  # fmt: skip
    """A share of the chunks."""
    taps = R * S + 1  # the last is the bias's, whose x is 1 everywhere
    for chunk in range(chunks * thread // threads, chunks * (thread + 1) // threads):
        sums = chunk * taps * PIXELS * C
        for i in range(taps * PIXELS * C):
            scratch[sums + i] = 0
        for task in range(N * P * chunk // chunks, N * P * (chunk + 1) // chunks):
            image, p = task // P, task % P
            for c in range(0, C, VECTORS * lanes(x)):
                gradient = task * Q * C + c
                for r in range(R):
                    h = p * stride_h - top + r * dilation_h
                    if 0 <= h < H:
                        for s in range(S):
                            first = s * dilation_w - left
                            low = max(0, -(first // stride_w))
                            high = min(Q, (W - 1 - first) // stride_w + 1)
                            source = ((image * H + h) * W + low * stride_w + first) * C + c
                            _tap(
                                at(x, source), stride_w * C, at(gy, gradient + low * C), C, high - low,
                                at(scratch, sums + (r * S + s) * PIXELS * C + c), C - c,
                            )  # fmt: skip
                _tap(at(one, c), 0, at(gy, gradient), C, Q, at(scratch, sums + R * S * PIXELS * C + c), C - c)
        for tap in range(taps):
            for c in range(0, C, VECTORS * lanes(x)):
                # The sum of the pixels' sums, as products by 1.
                total = tile_load(tile_shape(1, VECTORS, True), at(scratch, sums + tap * PIXELS * C + c), 0, C - c)
                rest = at(scratch, sums + (tap * PIXELS + 1) * C + c)
                total = tile_product(total, at(one, 0), 0, 0, rest, C, PIXELS - 1, C - c)
                tile_store(total, at(partial, (chunk * taps + tap) * C + c), 0, C - c)


@cpu_jit
def _run(
    x, gy, one, partial, scratch, chunks, threads, N, H, W, C, P, Q, R, S,
    stride_h, stride_w, dilation_h, dilation_w, top, left,
):  # fmt: skip
    parallel_for(
        _thread,
        threads,
        (
            x, gy, one, partial, scratch, chunks, threads, N, H, W, C, P, Q, R, S,
            stride_h, stride_w, dilation_h, dilation_w, top, left,
        ),
    )  # fmt: skip
