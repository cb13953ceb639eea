"""The filter's gradient of a convolution with small groups, several of them in a vector.

Differs from cpu_direct, which leaves the rest of a vector empty: here the groups that fill a vector are taken as one.
Of the products of all its channels and filters only a block diagonal is wanted, and cut out at the end. With groups of
4 channels and 16 lanes three in four are wasted, as many as cpu_direct leaves empty, but a panel serves four groups.
Limited by FLOPs.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from fastconv.kernels import cpu_grouped as grouped
from fastconv.kernels.conv2d_backward_filter import cpu_direct as direct
from fastconv.kernels.cpu_simd import VECTOR_BYTES
from fastconv.kernels.registry import kernel


def _filter_bytes(problem):
    return math.prod(grouped.merged(problem).w_shape) * problem.itemsize


def _workspace_bytes(problem):
    return _filter_bytes(problem) + direct.workspace_bytes(grouped.merged(problem))


@functools.lru_cache(maxsize=64)
def _diagonal(taps: int, size: int, channels: int, width: int) -> np.ndarray:
    """Indices into (taps, width, channels) of the elements of (taps, size, channels)."""
    k = np.arange(channels)
    row = np.arange(taps)[:, None, None] * width + k % width // size * size + np.arange(size)[:, None]
    return (row * channels + k).reshape(-1)


@kernel(
    limited_by="FLOPs: one fused multiply-add a lane and cycle",
    unsupported=grouped.unsupported,
    workspace_bytes=_workspace_bytes,
    pays=lambda problem: 4 * problem.C // problem.groups * problem.itemsize <= VECTOR_BYTES,
)
def cpu_grouped(problem, x, gy, gw, gb, workspace):
    p, merged, size = problem, grouped.merged(problem), _filter_bytes(problem)
    wide = workspace[:size].view(x.dtype)
    direct.cpu_direct(merged, x, gy, wide, gb, workspace[size:])
    order = _diagonal(p.R * p.S, p.C // p.groups, p.C, merged.C // merged.groups)
    np.take(wide, order, out=gw.reshape(-1), mode="clip")
