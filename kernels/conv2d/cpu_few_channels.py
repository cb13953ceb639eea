"""x"""

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
