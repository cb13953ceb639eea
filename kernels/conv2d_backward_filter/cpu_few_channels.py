"""The filters' gradient for images with one or a few channels: elements by filters, summed over the pixels.

Differs from cpu_direct: no panel of what each element sees is copied, R*S numbers for each pixel; a table of offsets
says where it lies. The bias is one element more, whose input is 1. Limited by FLOPs; see
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
def cpu_few_channels(problem, x, gy, gw, gb, workspace):
    filters.sum_filters(problem, x, gy, None, gw, gb, workspace)
