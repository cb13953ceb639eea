"""The input's gradient of a matrix product with few pixels: products along the rows of w, which stream through once.

Differs from cpu_direct, which turns the filter round first: with few pixels that takes longer than all the rest. Here
lanes hold neighbouring filters of both gy and w, four channels by four pixels at a time, and are added up at the end.
Limited by bytes: reading w.
"""

from __future__ import annotations

from fastconv.kernels.conv2d.cpu_stream import pays, unsupported
from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import (
    VECTOR_BYTES,
    at,
    lanes,
    tile_fma,
    tile_load,
    tile_row,
    tile_rows,
    tile_shape,
    tile_store,
    tile_zero,
)
from fastconv.kernels.registry import kernel

_SIDE = 4  # channels, and pixels, that are taken together


def _workspace_bytes(problem):
    return threads_for(problem.flops // 2) * _SIDE * _SIDE * VECTOR_BYTES


@kernel(limited_by="bytes: reading w", unsupported=unsupported, pays=pays, workspace_bytes=_workspace_bytes)
def cpu_stream(problem, gy, w, gx, workspace):
    p = problem
    sums = workspace[: _workspace_bytes(p)].view(w.dtype)
    threads = threads_for(p.flops // 2)
    _run(gy.reshape(-1), w.reshape(-1), gx.reshape(-1), sums, threads, p.N * p.P * p.Q, p.C, p.K)


@cpu_jit(inner=True)
def _products(shape, w, gy, K, pixels, sums):
    """sums (pixel, channel, lane) of a few channels and as many pixels; the last one again where there are fewer."""
    second, third, last = min(1, pixels - 1) * K, min(2, pixels - 1) * K, (pixels - 1) * K
    a = b = c = d = tile_zero(shape, w)
    for k in range(0, K, lanes(w)):
        rows = tile_load(shape, at(w, k), K, K - k)
        a = tile_fma(a, rows, tile_row(shape, at(gy, k), K - k))
        b = tile_fma(b, rows, tile_row(shape, at(gy, second + k), K - k))
        c = tile_fma(c, rows, tile_row(shape, at(gy, third + k), K - k))
        d = tile_fma(d, rows, tile_row(shape, at(gy, last + k), K - k))
    width, step = lanes(w), tile_rows(shape) * lanes(w)
    tile_store(a, at(sums, 0), width, width)
    tile_store(b, at(sums, step), width, width)
    tile_store(c, at(sums, 2 * step), width, width)
    tile_store(d, at(sums, 3 * step), width, width)


@cpu_jit(inner=True)
def _block(shape, w, gy, gx, K, C, pixels, sums):
    """gx of a few channels of all pixels."""
    channels, width = tile_rows(shape), lanes(w)
    for first in range(0, pixels, _SIDE):
        count = min(_SIDE, pixels - first)
        _products(shape, w, at(gy, first * K), K, count, sums)
        for m in range(count):
            for c in range(channels):
                total = sums[(m * channels + c) * width]
                for lane in range(1, width):
                    total += sums[(m * channels + c) * width + lane]
                gx[(first + m) * C + c] = total


@cpu_jit(inner=True)
def _thread(thread, gy, w, gx, scratch, threads, pixels, C, K):
    """A share of the channels."""
    full, single = tile_shape(_SIDE, 1, True), tile_shape(1, 1, True)
    sums = at(scratch, thread * _SIDE * _SIDE * lanes(w))
    blocks = (C + _SIDE - 1) // _SIDE
    for block in range(blocks * thread // threads, blocks * (thread + 1) // threads):
        c = block * _SIDE
        if C - c >= _SIDE:
            _block(full, at(w, c * K), at(gy, 0), at(gx, c), K, C, pixels, sums)
        else:
            for i in range(c, C):
                _block(single, at(w, i * K), at(gy, 0), at(gx, i), K, C, pixels, sums)


@cpu_jit
def _run(gy, w, gx, scratch, threads, pixels, C, K):
    parallel_for(_thread, threads, (gy, w, gx, scratch, threads, pixels, C, K))
