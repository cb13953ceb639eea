"""x"""

from __future__ import annotations

from fastconv.kernels import cpu_few_channels as few
from fastconv.kernels.registry import kernel


@kernel(
    limited_by="FLOPs: one fused multiply-add a lane and cycle",
    unsupported=few.unsupported,
    workspace_bytes=few.filter_bytes,
    pays=few.pays,
)
def cpu_few_channels(problem, x, gy, winners, gw, gb, workspace):
    few.sum_filters(problem, x, gy, winners, gw, gb, workspace)
