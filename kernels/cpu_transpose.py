"""A filter with its taps in reverse and its channels and filters exchanged: what makes a gradient a convolution."""

from __future__ import annotations

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import at, lanes, tile_load, tile_square, tile_store, tile_transpose


def transposed_filter(problem, w, out, wide=0):
    """out (R*S in reverse, K/groups, C) from w (R, S, C/groups, K); `out` is flat.

    wide: with one group, columns of a block: out (blocks of columns, R*S * K, columns of a block); 0 for no blocks.
    """
    p = problem
    rows = p.R * p.S * (p.K // p.groups)
    _run(w.reshape(-1), out, p.R * p.S, p.C // p.groups, p.K, p.groups, wide or p.C, rows * wide, threads_for(w.size))


def transposed_matrix(w, out, rows, columns, wide):
    """out (blocks of `wide` rows of w, columns, wide) from w (rows, columns); `out` is flat."""
    _run(w.reshape(-1), out, 1, rows, columns, 1, wide, columns * wide, threads_for(w.size))


@cpu_jit(inner=True)
def _rows(thread, w, out, taps, channels, filters, groups, pitch, block_step, threads):
    """Every `threads`-th block of filters, a register's square at a time. pitch: of out, from row to row; block_step:
    from block to block of it."""
    per_group, size = filters // groups, lanes(w)
    blocks = (per_group + size - 1) // size
    for task in range(thread, taps * groups * blocks, threads):
        tap, group, k = task // (groups * blocks), task // blocks % groups, task % blocks * size
        source = (taps - 1 - tap) * channels * filters + group * per_group + k
        for c in range(0, channels, size):
            column = group * channels + c
            target = column // pitch * block_step + column % pitch + (tap * per_group + k) * pitch
            if k + size <= per_group and c + size <= channels:
                square = tile_load(tile_square(w), at(w, source + c * filters), filters, 0)
                tile_store(tile_transpose(square), at(out, target), pitch, 0)
            else:
                for i in range(min(size, per_group - k)):
                    for j in range(min(size, channels - c)):
                        out[target + i * pitch + j] = w[source + (c + j) * filters + i]


@cpu_jit
def _run(w, out, taps, channels, filters, groups, pitch, block_step, threads):
    parallel_for(_rows, threads, (w, out, taps, channels, filters, groups, pitch, block_step, threads))
