"""Direct convolution in register tiles: no im2col, the input is read where it lies.

Differs from cpu_im2col: nothing is copied, and bias and ReLU are applied while the sums are in registers. A thread
computes bands of output rows; a tile of pixels x filters stays in registers for all R*S*C products (see cpu_taps.py).
Limited by FLOPs where K and C are large, by the stores of y where R*S*C is small. Reaches 91 to 97% of the measured
limit (two threads of an AMD EPYC, AVX-512) on ResNet-50's strided 3x3 layers and 75 to 94% on its 1x1 layers.
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.kernels import cpu_taps
from fastconv.kernels.cpu_grid import Grid
from fastconv.kernels.problem import Conv2DProblem
from fastconv.kernels.registry import kernel


def taps_of(problem: Conv2DProblem) -> np.ndarray:
    """The filter's taps as a `Grid` has them."""
    p, channels = problem, problem.C // problem.groups
    taps = [
        (r * p.dilation_h - p.pad_top, s * p.dilation_w - p.pad_left, (r * p.S + s) * channels, channels)
        for r in range(p.R)
        for s in range(p.S)
    ]
    return np.array(taps, np.int64)


@functools.lru_cache(maxsize=1024)
def grid_of(problem: Conv2DProblem) -> Grid:
    """The pixels of y and the taps that feed them."""
    p = problem
    N, H, W, P, Q = p.N, p.H, p.W, p.P, p.Q
    if p.is_matrix_product:
        N, H, W, P, Q = 1, 1, N * H * W, 1, N * H * W  # a matrix product: all pixels are one row
    return Grid(
        N, H, W, p.C, P, Q, p.stride_h, p.stride_w, P * Q * p.K, Q * p.K, p.K, 0,
        taps_of(p), p.R * p.S * p.C // p.groups, p.groups, p.K,
    )  # fmt: skip


@kernel(
    limited_by="FLOPs: one fused multiply-add a lane and cycle",
    workspace_bytes=lambda problem: cpu_taps.workspace_bytes(grid_of(problem), problem.itemsize),
    fuses=("relu",),
)
def cpu_direct(problem, x, w, bias, y, workspace, relu=False):
    bias = np.zeros(problem.K, y.dtype) if bias is None else bias
    cpu_taps.convolve(
        grid_of(problem), x.reshape(-1), w.reshape(-1), bias, y.reshape(-1), workspace, 0.0 if relu else -np.inf
    )
