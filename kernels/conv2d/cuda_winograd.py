"""Winograd's minimal filtering, F(4x4, 3x3): a 3x3 convolution of stride 1 with a quarter of the multiplications.

Beside cuda_implicit_gemm: the arithmetic itself is cut, at the price of transforms of x, w and y, of matrices in the
workspace and of a larger rounding error; see ../cuda_winograd.py. First w is transformed, then, a part of the tiles at
a time, x is, 36 products are made, and their transform is y, with bias and ReLU. Limited by bytes: for each tile 36
points of x and 36 products are written and read; by FLOPs where there are hundreds of channels.
"""

from __future__ import annotations

from fastconv.kernels.cuda_winograd import Convolution, convolve, transform_filters, unsupported
from fastconv.kernels.registry import kernel

TILE = 4


def workspace_bytes(problem):
    return Convolution.forward(TILE, problem).workspace_bytes


def filter_bytes(problem):
    """Bytes of the transformed filters."""
    return Convolution.forward(TILE, problem).filter_bytes


def prepare(problem, w, memory, tile=TILE):
    """The launch that transforms the filters."""
    c = Convolution.forward(tile, problem)
    return [transform_filters(c, w, memory[: c.filter_bytes].view("float32"), turned=False)]


@kernel(
    limited_by="bytes of the points and products, with hundreds of channels FLOPs",
    unsupported=unsupported,
    exact=False,
    workspace_bytes=workspace_bytes,
    fuses=("relu",),
    prepare=(filter_bytes, prepare),
)
def cuda_winograd(problem, x, w, bias, y, workspace, relu=False, prepared=None):
    return conv2d(TILE, problem, x, w, bias, y, workspace, relu, prepared)


def conv2d(tile, problem, x, w, bias, y, workspace, relu, prepared):
    """The launches, with tiles of tile x tile pixels."""
    c = Convolution.forward(tile, problem)
    launches = prepare(problem, w, workspace, tile) if prepared is None else []
    filters = (workspace if prepared is None else prepared)[: c.filter_bytes].view("float32")
    return launches + convolve(c, x, filters, bias, None, y, workspace[c.filter_bytes :], relu)
