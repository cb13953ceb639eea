"""backward_data as direct convolutions of the gradient: the forward tiles on a transposed filter.

With stride 1 the input's gradient is the convolution of gy with the filter turned by 180 degrees and its C
and K exchanged. With a stride, input pixels that are equal modulo the stride use the same subset of the
taps, so each of the stride_h * stride_w phases is such a convolution, and no product with a zero is
computed. Threads and tiles as in forward (see cpu_taps.py). Limited by FLOPs; the transposed filter costs
one pass over w. Reaches 90 to 96% of the measured limit
(two threads of an AMD EPYC, AVX-512) on ResNet-50's strided 3x3 layers.
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.kernels import cpu_taps
from fastconv.kernels.cpu_grid import Grid
from fastconv.kernels.cpu_simd import VECTOR_BYTES, VECTORS
from fastconv.kernels.cpu_transpose import transposed_filter
from fastconv.kernels.problem import Conv2DProblem
from fastconv.kernels.registry import kernel


@functools.lru_cache(maxsize=1024)
def grids_of(problem: Conv2DProblem) -> tuple[Grid, ...]:
    """One grid a phase: the pixels (row + i * stride_h, column + j * stride_w) of gx."""
    p = problem
    filters = p.K // p.groups  # channels of gy that one channel of gx sees
    if p.is_matrix_product:
        pixels = p.N * p.P * p.Q  # a matrix product: all pixels are one row
        tap = np.array([(0, 0, 0, filters)], np.int64)
        return (Grid(1, 1, pixels, p.K, 1, pixels, 1, 1, 0, 0, p.C, 0, tap, filters, 1, p.C),)
    grids = []
    for row in range(min(p.stride_h, p.H)):
        for column in range(min(p.stride_w, p.W)):
            taps = []
            for r in reversed(
                range(p.R)
            ):  # gx[h] takes gy[(h + pad_top - r * dilation_h) / stride_h] where that is whole
                for s in reversed(range(p.S)):
                    above, rest_h = divmod(row + p.pad_top - r * p.dilation_h, p.stride_h)
                    before, rest_w = divmod(column + p.pad_left - s * p.dilation_w, p.stride_w)
                    if rest_h == rest_w == 0:
                        # transposed_filter reverses the taps, so that neighbours in gy are neighbours in it
                        w_row = ((p.R - 1 - r) * p.S + p.S - 1 - s) * filters
                        taps.append((above, before, w_row, filters))
            grids.append(
                Grid(
                    p.N, p.P, p.Q, p.K, -(-(p.H - row) // p.stride_h), -(-(p.W - column) // p.stride_w), 1, 1,
                    p.H * p.W * p.C, p.stride_h * p.W * p.C, p.stride_w * p.C, (row * p.W + column) * p.C,
                    np.array(taps, np.int64).reshape(-1, 4), p.R * p.S * filters, p.groups, p.C,
                )
            )  # fmt: skip
    return tuple(grids)


def _workspace_bytes(problem: Conv2DProblem) -> int:
    bands = max(cpu_taps.workspace_bytes(grid, problem.itemsize) for grid in grids_of(problem))
    return _filter_bytes(problem) + bands


def _filter_bytes(problem: Conv2DProblem) -> int:
    """Of the transposed filter, in blocks of a register tile's columns if it has one group."""
    p = problem
    columns = p.C if p.groups > 1 else -(-p.C // _wide(p)) * _wide(p)
    return -(-p.R * p.S * (p.K // p.groups) * columns * p.itemsize // 64) * 64


def _wide(problem: Conv2DProblem) -> int:
    return VECTORS * VECTOR_BYTES // problem.itemsize


@kernel(limited_by="FLOPs: one fused multiply-add a lane and cycle", workspace_bytes=_workspace_bytes, fuses=("relu",))
def cpu_direct(problem, gy, w, gx, workspace, relu=None):
    p = problem
    turned = workspace[: _filter_bytes(p)].view(w.dtype)
    packed = p.groups == 1
    transposed_filter(p, w, turned, _wide(p) if packed else 0)
    no_bias = np.zeros(p.C, gx.dtype)
    rest = workspace[_filter_bytes(p) :]
    lowest, gate = (-np.inf, None) if relu is None else (0, relu.reshape(-1))
    for grid in grids_of(p):
        cpu_taps.convolve(grid, gy.reshape(-1), turned, no_bias, gx.reshape(-1), rest, lowest, gate, packed)
