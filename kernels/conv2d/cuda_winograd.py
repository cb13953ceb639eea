"""Winograd's minimal filtering, F(4x4, 3x3): a 3x3 convolution of stride 1 with a quarter of the multiplications.

Beside cuda_implicit_gemm: the arithmetic itself is cut, at the price of transforms of x, w and y, of matrices in the
workspace and of about four times the rounding error; see ../cuda_winograd.py. First w is transformed; then, for a part
of the tiles at a time, x is, 36 products are made, and their transform is y, with bias and ReLU. Limited by bytes: for
each tile 36 points of x and 36 products are written and read; with hundreds of channels by FLOPs.
"""

from __future__ import annotations

from fastconv.kernels.cuda_winograd import Plan, conv2d, transform, unsupported
from fastconv.kernels.registry import kernel


def workspace_bytes(problem):
    return Plan.conv2d(problem).workspace_bytes


def prepared_bytes(problem):
    return Plan.conv2d(problem).filter_bytes


@kernel(
    limited_by="bytes of the points and products, with hundreds of channels FLOPs",
    unsupported=unsupported,
    exact=False,
    workspace_bytes=workspace_bytes,
    fuses=("relu",),
    prepare=(prepared_bytes, transform),
)
def cuda_winograd(problem, x, w, bias, y, workspace, relu=False, prepared=None):
    return conv2d(problem, x, w, bias, y, workspace, relu, prepared)
