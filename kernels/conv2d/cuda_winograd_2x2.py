"""Winograd's minimal filtering, F(2x2, 3x3): a 3x3 convolution of stride 1 with 16 multiplications in place of 36.

Beside cuda_winograd: tiles of 2x2 pixels. Nine multiplications become four, not two and a quarter, and there are more
bytes between the launches; but all of the transforms' factors are 1 or 1/2, so the rounding error is about that of a
direct convolution, and outputs of 1x1 and 2x2 pixels need one small tile. Limited by bytes, as cuda_winograd.
"""

from __future__ import annotations

import functools

from fastconv.kernels.conv2d import cuda_winograd as larger
from fastconv.kernels.cuda_winograd import Convolution, unsupported
from fastconv.kernels.registry import kernel

TILE = 2


def workspace_bytes(problem):
    return Convolution.forward(TILE, problem).workspace_bytes


def filter_bytes(problem):
    """Bytes of the transformed filters."""
    return Convolution.forward(TILE, problem).filter_bytes


@kernel(
    limited_by="bytes of the points and products",
    unsupported=unsupported,
    exact=False,
    workspace_bytes=workspace_bytes,
    fuses=("relu",),
    prepare=(filter_bytes, functools.partial(larger.prepare, tile=TILE)),
)
def cuda_winograd_2x2(problem, x, w, bias, y, workspace, relu=False, prepared=None):
    return larger.conv2d(TILE, problem, x, w, bias, y, workspace, relu, prepared)
