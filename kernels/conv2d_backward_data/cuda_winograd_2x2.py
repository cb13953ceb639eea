"""Winograd's F(2x2, 3x3) for the input's gradient.

Beside cuda_winograd: tiles of 2x2 pixels, more multiplications and smaller rounding errors, as in conv2d. Limited by
bytes.
"""

from __future__ import annotations

from fastconv.kernels.conv2d_backward_data.cuda_winograd import backward_data
from fastconv.kernels.cuda_winograd import Convolution, unsupported
from fastconv.kernels.registry import kernel

TILE = 2


def workspace_bytes(problem):
    return Convolution.backward_data(TILE, problem).workspace_bytes


@kernel(
    limited_by="bytes of the points and products",
    unsupported=unsupported,
    exact=False,
    workspace_bytes=workspace_bytes,
    fuses=("relu",),
)
def cuda_winograd_2x2(problem, gy, w, gx, workspace, relu=None):
    return backward_data(TILE, problem, gy, w, gx, workspace, relu)
