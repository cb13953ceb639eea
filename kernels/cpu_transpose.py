"""A filter with its taps in reverse and its channels and filters exchanged: what makes a gradient a convolution."""

from __future__ import annotations

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for

_BLOCK = 16  # rows and columns that are turned at a time: the lines they touch stay in the level-1 cache


def transposed_filter(problem, w, out, wide=0):
    """out (R*S in reverse, K/groups, C) from w (R, S, C/groups, K); `out` is flat.

    wide: with one group, columns of a block: out (blocks of columns, R*S * K, columns of a block); 0 for no blocks.
    """
    p = problem
    rows = p.R * p.S * (p.K // p.groups)
    _run(w.reshape(-1), out, p.R * p.S, p.C // p.groups, p.K, p.groups, wide or p.C, rows * wide, threads_for(w.size))


@cpu_jit(inner=True)
def _rows(thread, w, out, taps, channels, filters, groups, pitch, block_step, threads):
    """Every `threads`-th block of filters. pitch: of out, from row to row; block_step: from block to block of it."""
    per_group, width = filters // groups, min(_BLOCK, pitch)
    blocks = (per_group + _BLOCK - 1) // _BLOCK
    for task in range(thread, taps * groups * blocks, threads):
        tap, group, first = task // (groups * blocks), task // blocks % groups, task % blocks * _BLOCK
        source = (taps - 1 - tap) * channels * filters + group * per_group
        for block in range(0, channels, width):
            column = group * channels + block
            target = column // pitch * block_step + column % pitch + tap * per_group * pitch
            for k in range(first, min(per_group, first + _BLOCK)):
                for c in range(block, min(channels, block + width)):
                    out[target + k * pitch + c - block] = w[source + c * filters + k]


@cpu_jit
def _run(w, out, taps, channels, filters, groups, pitch, block_step, threads):
    parallel_for(_rows, threads, (w, out, taps, channels, filters, groups, pitch, block_step, threads))
