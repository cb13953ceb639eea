"""Winograd's transform of 3x3 filters on a GPU, G w G^T: a launch of its own, which fixed filters need only once.

A block takes 32 channels x 32 filters to shared memory, where a warp, which reads neighbours along the filters, can be
given neighbours along the channels: these are what the rows of the turned filter run along.
"""

from __future__ import annotations

import functools

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_winograd_tiles import Tiles
from fastconv.kernels.cuda_winograd_transforms import FILTER, both_sides

WARP, WARPS = 32, 4
PITCH = WARP + 1
TAPS = 9 * WARP * PITCH


def filter_bytes(step, source, target):
    """Of the transformed filters ((step + 2)^2, source.padded, target.pitch)."""
    return 4 * (step + 2) ** 2 * source.padded * target.pitch


def transform_filters(step, source, target, w, memory, turned):
    """The launch that writes the transformed filters.

    source, target: the tiles whose channels are summed and made. turned: the filter is turned round, and its sums go
    over K.
    """
    grid = (target.pitch // WARP, -(-source.padded // WARP))
    filters = memory[: filter_bytes(step, source, target)].view("float32")
    return Launch(filters_by(step, turned), grid, (WARP, WARPS), (w, filters, source, target))


@functools.cache
def filters_by(step, turned):
    """The kernel for tiles of step x step. Beside a group's channels and filters it writes zeros."""
    size, points, transform = step + 2, (step + 2) ** 2, FILTER[step]

    @cuda_jit(FLOATS, FLOATS, Tiles, Tiles, launch_bounds=WARP * WARPS)
    def _filters(w, filters, source, target):
        taps = cuda.shared.array(TAPS, float32)  # (9, 32 channels, 33)
        patch = cuda.local.array(points, float32)
        lane, warp = int32(cuda.threadIdx.x), int32(cuda.threadIdx.y)
        column, depth = int32(cuda.blockIdx.x * WARP), int32(cuda.blockIdx.y * WARP)  # the block's first
        group, k0 = int32(uint32(column) // uint32(target.padded)), int32(uint32(column) % uint32(target.padded))
        c0, C, K = depth, source.channels, target.channels
        if turned:
            c0, k0, C, K = k0, depth, target.channels, source.channels
        i = warp
        while i < WARP:
            for tap in range(9):
                value = float32(0)
                if c0 + i < C and k0 + lane < K:
                    value = w[uint32(((tap * C + c0 + i) * source.groups + group) * K + k0 + lane)]
                taps[uint32((tap * WARP + i) * PITCH + lane)] = value
            i = int32(i + WARPS)
        cuda.syncthreads()
        i = warp
        while i < WARP and depth + i < source.padded:
            for tap in range(9):
                at = uint32((tap * WARP + i) * PITCH + lane)
                if turned:
                    at = uint32(((8 - tap) * WARP + lane) * PITCH + i)
                patch[tap // 3 * size + tap % 3] = taps[at]
            both_sides(transform, patch, size, 3, size)
            for e in range(points):
                row = int32(e * source.padded + depth + i)
                filters[uint32(row * (target.groups * target.padded) + column + lane)] = patch[e]
            i = int32(i + WARPS)

    return _filters
