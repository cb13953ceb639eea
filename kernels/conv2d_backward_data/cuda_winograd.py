"""Winograd's F(4x4, 3x3) for the input's gradient: with stride 1, a convolution of gy with the filter turned round.

Beside conv2d's cuda_winograd: the filters are transformed turned round, from K to C, the padding is what a 3x3 filter
has too many of, and a ReLU's gradient is applied where gx is written; see ../cuda_winograd.py. A tile of gx gathers
all its products, unlike in cpu_winograd, whose tiles are those of gy and add up. Limited by bytes, as there.
"""

from __future__ import annotations

from fastconv.kernels.cuda_winograd import Convolution, convolve, transform_filters, unsupported
from fastconv.kernels.registry import kernel

TILE = 4


def workspace_bytes(problem):
    return Convolution.backward_data(TILE, problem).workspace_bytes


@kernel(
    limited_by="bytes of the points and products, with hundreds of channels FLOPs",
    unsupported=unsupported,
    exact=False,
    workspace_bytes=workspace_bytes,
    fuses=("relu",),
)
def cuda_winograd(problem, gy, w, gx, workspace, relu=None):
    return backward_data(TILE, problem, gy, w, gx, workspace, relu)


def backward_data(tile, problem, gy, w, gx, workspace, relu):
    """The launches, with tiles of tile x tile pixels."""
    c = Convolution.backward_data(tile, problem)
    filters, memory = workspace[: c.filter_bytes].view("float32"), workspace[c.filter_bytes :]
    launch = transform_filters(c, w, filters, turned=True)
    return [launch, *convolve(c, gy, filters, None, relu, gx, memory, relu=False)]
