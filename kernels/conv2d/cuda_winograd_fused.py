"""Winograd's minimal filtering, F(2x2, 3x3), in one launch: 16 multiplications in place of 36, and no bytes between.

Beside cuda_winograd: smaller tiles, of which a block keeps all points and sums to itself; see
../cuda_winograd_fused.py. The workspace holds the transformed filters alone. Limited by FLOPs, of which those of the
transforms and the loads from shared memory take turns with the products'.
"""

from __future__ import annotations

from fastconv.kernels.cuda_winograd_filters import filter_bytes, transform_filters
from fastconv.kernels.cuda_winograd_fused import STEP, convolve, tiles_of, unsupported
from fastconv.kernels.registry import kernel


def workspace_bytes(problem):
    return filter_bytes(STEP, *tiles_of(problem))


def transform(problem, w, memory):
    """The launch that transforms the filters."""
    return [transform_filters(STEP, *tiles_of(problem), w, memory, turned=False)]


@kernel(
    limited_by="FLOPs, loads from shared memory and transforms in turns",
    unsupported=unsupported,
    exact=False,
    workspace_bytes=workspace_bytes,
    fuses=("relu",),
    prepare=(workspace_bytes, transform),
)
def cuda_winograd_fused(problem, x, w, bias, y, workspace, relu=False, prepared=None):
    launches = transform(problem, w, workspace) if prepared is None else []
    filters = workspace if prepared is None else prepared
    return [*launches, convolve(*tiles_of(problem), x, filters, bias, None, y, relu)]
