"""Depthwise convolution in vectors of channels: no sum over channels, no matrix product.

Differs from cpu_direct, whose tiles would hold one filter of a group in a vector: here a vector holds neighbouring
channels, and each tap is one product of vectors (see ../cpu_depthwise.py). Limited by bytes.
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.kernels import cpu_depthwise as depthwise
from fastconv.kernels.conv2d.cpu_direct import grid_of
from fastconv.kernels.registry import kernel


@functools.lru_cache(maxsize=1024)
def _grids(problem):
    return (grid_of(problem),)


@kernel(limited_by="bytes: loading x once for each tap", unsupported=depthwise.unsupported, fuses=("relu",))
def cpu_depthwise(problem, x, w, bias, y, workspace, relu=False):
    bias = np.zeros(problem.K, y.dtype) if bias is None else bias
    lowest = 0.0 if relu else -np.inf
    depthwise.convolve(_grids(problem), x.reshape(-1), w.reshape(-1), bias, y.reshape(-1), lowest)
