"""Winograd's F(2x2, 3x3) for the input's gradient in one launch: a convolution of gy with the filter turned round.

Beside cuda_winograd: smaller tiles, of which a block keeps all points and sums to itself; see
../cuda_winograd_fused.py. Limited by FLOPs, as conv2d's.
"""

from __future__ import annotations

from fastconv.kernels.cuda_winograd_filters import filter_bytes, transform_filters
from fastconv.kernels.cuda_winograd_fused import STEP, convolve, gradient_tiles_of, unsupported
from fastconv.kernels.registry import kernel


def workspace_bytes(problem):
    return filter_bytes(STEP, *gradient_tiles_of(problem))


@kernel(
    limited_by="FLOPs, loads from shared memory and transforms in turns",
    unsupported=unsupported,
    exact=False,
    workspace_bytes=workspace_bytes,
    fuses=("relu",),
)
def cuda_winograd_fused(problem, gy, w, gx, workspace, relu=None):
    tiles = gradient_tiles_of(problem)
    launch = transform_filters(STEP, *tiles, w, workspace, turned=True)
    return [launch, convolve(*tiles, gy, workspace, None, relu, gx, relu=False)]
