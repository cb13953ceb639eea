"""Winograd's F(4x4, 3x3) for the input's gradient: with stride 1, a convolution of gy with the filter turned round.

Beside conv2d's cuda_winograd: the filters are transformed turned round, from K to C, the padding is what makes up for
the forward's, and a ReLU's gradient is applied where gx is written; see ../cuda_winograd.py. A tile of gx gathers all
its products, unlike in cpu_winograd, whose tiles are those of gy and add up. Limited by bytes, as there.
"""

from __future__ import annotations

from fastconv.kernels.cuda_winograd import Plan, backward_data, unsupported
from fastconv.kernels.registry import kernel


def workspace_bytes(problem):
    return Plan.backward_data(problem).workspace_bytes


@kernel(
    limited_by="bytes of the points and products, with hundreds of channels FLOPs",
    unsupported=unsupported,
    exact=False,
    workspace_bytes=workspace_bytes,
    fuses=("relu",),
)
def cuda_winograd(problem, gy, w, gx, workspace, relu=None):
    return backward_data(problem, gy, w, gx, workspace, relu)
