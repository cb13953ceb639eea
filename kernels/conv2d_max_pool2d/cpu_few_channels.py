"""Direct convolution of images with one or a few channels, pooled in registers by windows of 2x2.

Differs from cpu_naive: a tile holds the pixels of two windows by a block of filters, and only their maxima are written.
Limited by FLOPs; the convolution's output, four times y, is never in memory. See ../cpu_few_channels.py.
"""

from __future__ import annotations

from fastconv.kernels import cpu_few_channels as few
from fastconv.kernels.registry import kernel


@kernel(
    limited_by="FLOPs: one fused multiply-add a lane and cycle",
    unsupported=few.unsupported,
    workspace_bytes=few.forward_bytes,
    fuses=("relu",),
    pays=few.pays_for_memory,
)
def cpu_few_channels(problem, x, w, bias, y, winners, workspace, relu=False):
    few.convolve(problem, x, w, bias, y, winners, workspace, relu)
