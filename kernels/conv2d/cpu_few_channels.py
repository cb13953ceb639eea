"""Direct convolution of images with one or a few channels: pixels by filters, summed over the filter's elements.

Differs from cpu_direct: the R*S*C numbers that an output is a sum of are found through a table of offsets, so that a
tile sums them in one loop; runs of 3 to 15 numbers would each begin one. Limited by FLOPs; see ../cpu_few_channels.py.
"""

from __future__ import annotations

from fastconv.kernels import cpu_few_channels as few
from fastconv.kernels.registry import kernel


@kernel(
    limited_by="FLOPs: one fused multiply-add a lane and cycle",
    unsupported=few.unsupported,
    workspace_bytes=few.forward_bytes,
    fuses=("relu",),
    pays=few.pays,
)
def cpu_few_channels(problem, x, w, bias, y, workspace, relu=False):
    few.convolve(problem, x, w, bias, y, None, workspace, relu)
