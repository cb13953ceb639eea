"""The filters' gradient for images with one or a few channels from that of outputs pooled by windows of 2x2.

Differs from cpu_naive: sums stay in registers, and the gradients of a few windows at a time are spread over their
pixels in the level-1 cache. Limited by FLOPs, three in four of them with zeros; see
../cpu_few_channels_filters.py.
"""

from __future__ import annotations

from fastconv.kernels import cpu_few_channels as few
from fastconv.kernels import cpu_few_channels_filters as filters
from fastconv.kernels.registry import kernel


@kernel(
    limited_by="FLOPs: one fused multiply-add a lane and cycle",
    unsupported=few.unsupported,
    workspace_bytes=filters.filter_bytes,
    pays=few.pays_for_memory,
)
def cpu_few_channels(problem, x, gy, winners, gw, gb, workspace):
    filters.sum_filters(problem, x, gy, winners, gw, gb, workspace)
