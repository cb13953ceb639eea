"""Winograd's F(2x2, 3x3) and F(4x4, 3x3) on a GPU, for 3x3 filters of stride 1.

A tile of 2x2 or 4x4 pixels of the output needs a patch of 4x4 or 6x6 pixels of the input. With the matrices of
cuda_winograd_transforms.py

    y = A^T [ sum over channels of (B^T x B) * (G w G^T) ] A            * element by element

so each of the 16 or 36 elements, here called points, is a matrix product: tiles x C by C x K. For 4 outputs 16
multiplications take the place of 36, for 16 outputs 36 that of 144.

Four launches, with matrices in the workspace between them: `transform_filters` (G w G^T), `collect` (B^T x B),
`multiply` of cuda_batched_gemm.py, `spread` (A^T m A, bias, ReLU). One kernel for all, which keeps what lies between in
shared memory, would save those bytes; but its block has to hold the sums of all points at once. Where 36 points leave
a block of 48 KB and a thread of 64 sums tiles of 16 x 7, two loads for 4 multiply-adds, a product of its own has tiles
of 128 x 64, whatever the points. To keep the bytes down, tiles go through in parts that stay in a level-2 cache.

In the transforms a warp's threads are neighbours along the channels: all they load and store are full sectors. With a
dilation d the pixels that are equal modulo d are an image of their own, a phase, for which the filter is a dense one.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_batched_gemm import multiply
from fastconv.kernels.cuda_winograd_tiles import Convolution, Tiles
from fastconv.kernels.cuda_winograd_transforms import FILTER, INPUT, OUTPUT, both_sides

THREADS = 128
WARP = 32
WARPS = THREADS // WARP
TAPS = 9 * WARP * (WARP + 1)  # of 32 channels x 32 filters, in shared memory
LOWEST = np.float32(-np.inf)


class Finish(NamedTuple):
    """What becomes of an output before it is stored."""

    has_bias: int
    relu: int
    has_mask: int


def forward(step, problem, x, w, bias, y, workspace, relu, prepared):
    """The launches of conv2d, with tiles of step x step pixels."""
    c = Convolution.forward(step, problem)
    launches = [] if prepared is not None else transform_filters(c, w, workspace)
    filters = workspace if prepared is None else prepared
    return launches + convolve(c, x, filters, bias, None, y, workspace[c.filter_bytes :], relu)


def backward_data(step, problem, gy, w, gx, workspace, relu):
    """The launches of conv2d_backward_data, with tiles of step x step pixels."""
    c = Convolution.backward_data(step, problem)
    launches = transform_filters(c, w, workspace, turned=True)
    return launches + convolve(c, gy, workspace, None, relu, gx, workspace[c.filter_bytes :], relu=False)


def transform_filters(c, w, filters, turned):
    """The launch that writes G w G^T; turned: for the gradient, of the filter turned round, from K to C."""
    depth, columns = c.source.padded, c.target.groups * c.target.padded
    grid = (-(-columns // WARP), -(-depth // WARP))
    args = (w, filters, c.source, c.target)
    return Launch(filters_by(c.step, turned), grid, (WARP, WARPS), args)


def convolve(c, source, filters, bias, mask, target, memory, relu):
    """The launches from an image and transformed filters to an image.

    bias: or None. mask: an array like target, where its elements are at most 0 the target's are 0; or None.
    memory: for a part's points and products.
    """
    floats = memory[: c.part_bytes].view("float32")
    size = c.points * c.rows * c.source.groups * c.source.padded
    points, products = floats[:size], floats[size:]
    finish = Finish(int(bias is not None), int(relu), int(mask is not None))
    given = [target if array is None else array for array in (bias, mask)]  # what is None is not read
    launches = []
    for first in range(0, c.tiles, c.rows or 1):
        count = min(c.rows, c.tiles - first)
        collected, spread = c.rows * c.source.groups * c.source.padded, count * c.target.groups * c.target.channels
        launches += [
            Launch(
                collect_by(c.step), (-(-collected // THREADS),), (THREADS,), (source, points, c.source, first, c.rows)
            ),
            multiply(points, filters, products, c.product),
            Launch(
                spread_by(c.step),
                (-(-spread // THREADS),),
                (THREADS,),
                (products, *given, target, c.target, first, count, c.rows, finish),
            ),
        ]
    return launches


@device_function
def _corner(tile, t, step):
    """(image, row, column) where the patch of a tile begins."""
    across, down = uint32(t.across), uint32(t.down)
    column, tile = uint32(tile % across), uint32(tile // across)
    row, tile = uint32(tile % down), uint32(tile // down)
    phase_w, tile = uint32(tile % uint32(t.dilation_w)), uint32(tile // uint32(t.dilation_w))
    phase_h, n = uint32(tile % uint32(t.dilation_h)), int32(tile // uint32(t.dilation_h))
    h = int32(phase_h + row * step * uint32(t.dilation_h)) - t.top
    w = int32(phase_w + column * step * uint32(t.dilation_w)) - t.left
    return n, int32(h), int32(w)


@functools.cache
def filters_by(step, turned):
    """The kernel that transforms filters for tiles of step x step.

    A block takes 32 channels x 32 filters to shared memory, where a warp, which reads neighbours along the filters,
    can be given neighbours along the channels: these are what the turned filter's lie along. Beside the group's
    channels and filters there are zeros.
    """
    size, points, transform = step + 2, (step + 2) ** 2, FILTER[step]

    @cuda_jit(FLOATS, FLOATS, Tiles, Tiles, launch_bounds=THREADS)
    def _filters(w, filters, source, target):
        taps = cuda.shared.array(TAPS, float32)  # (9, 32 channels, 33)
        patch = cuda.local.array(points, float32)
        lane, warp = int32(cuda.threadIdx.x), int32(cuda.threadIdx.y)
        columns = int32(target.groups * target.padded)
        column0, depth0 = int32(cuda.blockIdx.x * WARP), int32(cuda.blockIdx.y * WARP)
        group = int32(uint32(column0) // uint32(target.padded))
        column0_in_group = int32(uint32(column0) % uint32(target.padded))
        if turned:
            c0, k0, C, K = column0_in_group, depth0, target.channels, source.channels
        else:
            c0, k0, C, K = depth0, column0_in_group, source.channels, target.channels
        i = warp
        while i < WARP:
            for tap in range(9):
                value = float32(0)
                if c0 + i < C and k0 + lane < K:
                    value = w[uint32((tap * C + c0 + i) * K * source.groups + group * K + k0 + lane)]
                taps[uint32((tap * WARP + i) * (WARP + 1) + lane)] = value
            i = int32(i + WARPS)
        cuda.syncthreads()
        i = warp
        while i < WARP:
            if depth0 + i < source.padded:
                for tap in range(9):
                    at = uint32((tap * WARP + i) * (WARP + 1) + lane)
                    if turned:
                        at = uint32(((8 - tap) * WARP + lane) * (WARP + 1) + i)
                    patch[tap // 3 * size + tap % 3] = taps[at]
                both_sides(transform, patch, size, 3, size)
                for e in range(points):
                    filters[uint32((e * source.padded + depth0 + i) * columns + column0 + lane)] = patch[e]
            i = int32(i + WARPS)

    return _filters


@functools.cache
def collect_by(step):
    """The kernel that makes patches of an image into points, for tiles of step x step.

    A thread has one channel of one tile. Beside the image, beside a group's channels and behind the last tile there
    are zeros.
    """
    size, points, transform = step + 2, (step + 2) ** 2, INPUT[step]

    @cuda_jit(FLOATS, FLOATS, Tiles, int32, int32, launch_bounds=THREADS)
    def _collect(image, out, t, first, rows):
        patch = cuda.local.array(points, float32)
        thread, pitch = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x), uint32(t.groups * t.padded)
        row, column = uint32(thread // pitch), uint32(thread % pitch)
        if row >= uint32(rows):
            return
        n, h0, w0 = _corner(uint32(first + row), t, step)
        channels, c = int32(t.groups * t.channels), int32(column % uint32(t.padded))
        inside = n < t.N and c < t.channels
        c = int32(column // uint32(t.padded) * t.channels + c)
        for i in range(size):
            h = int32(h0 + i * t.dilation_h)
            for j in range(size):
                w = int32(w0 + j * t.dilation_w)
                value = float32(0)
                if inside and 0 <= h < t.H and 0 <= w < t.W:
                    value = image[uint32(((n * t.H + h) * t.W + w) * channels + c)]
                patch[i * size + j] = value
        both_sides(transform, patch, size, size, size)
        for e in range(points):
            out[uint32((e * rows + row) * pitch + column)] = patch[e]

    return _collect


@functools.cache
def spread_by(step):
    """The kernel that makes products into tiles of an image of step x step; a thread has one channel of one tile."""
    size, points, transform = step + 2, (step + 2) ** 2, OUTPUT[step]

    @cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Tiles, int32, int32, int32, Finish, launch_bounds=THREADS)
    def _spread(products, bias, mask, image, t, first, count, rows, finish):
        patch = cuda.local.array(points, float32)
        thread, channels = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x), int32(t.groups * t.channels)
        row, c = uint32(thread // uint32(channels)), uint32(thread % uint32(channels))
        if row >= uint32(count):
            return
        column = uint32(c // uint32(t.channels) * t.padded + c % uint32(t.channels))
        for e in range(points):
            patch[e] = products[uint32((e * rows + row) * (t.groups * t.padded) + column)]
        both_sides(transform, patch, size, size, step)
        start, lowest = float32(0), LOWEST
        if finish.has_bias:
            start = bias[c]
        if finish.relu:
            lowest = float32(0)
        n, h0, w0 = _corner(uint32(first + row), t, step)
        for i in range(step):
            h = int32(h0 + i * t.dilation_h)
            for j in range(step):
                w = int32(w0 + j * t.dilation_w)
                if h < t.H and w < t.W:
                    at = uint32(((n * t.H + h) * t.W + w) * channels + c)
                    value = patch[i * size + j] + start
                    if value < lowest:
                        value = lowest
                    if finish.has_mask and mask[at] <= float32(0):
                        value = float32(0)
                    image[at] = value

    return _spread
