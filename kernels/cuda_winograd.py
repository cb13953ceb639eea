"""Winograd's F(4x4, 3x3) on a GPU, for 3x3 filters of stride 1: a matrix product for each of 36 points.

A tile of 4x4 pixels of the output needs a patch of 6x6 pixels of the input. With the matrices of
cuda_winograd_transforms.py

    y = A^T [ sum over channels of (B^T x B) * (G w G^T) ] A            * element by element

so each of the 36 elements, here called points, is a matrix product, tiles x C by C x K: 36 multiplications for 16
outputs in place of 144. The gradient of x is the same with the filter turned round.

Four launches with matrices in the workspace between them: `transform_filters` (G w G^T), `_collect` (B^T x B),
`multiply` of cuda_batched_gemm.py and `_spread` (A^T m A, bias, ReLU). One launch, as in cuda_winograd_fused.py, would
save the bytes between. But a block would need the sums of all 36 points at once: 256 threads with 64 sums each hold
tiles of 21 x 21, whose operands are loaded four times as often as those of a matrix product alone, 128 x 64. To keep
the bytes near, tiles go through in parts of 32 MiB, which a level-2 cache can hold.

In `_collect` and `_spread` a thread has one channel of one tile, all 36 points in registers, and its neighbours have
the next channels: what a warp loads and stores are full sectors, where the channels are multiples of 8.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from fastconv.kernels import cuda_winograd_tiles
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_batched_gemm import COLUMNS, DEPTH, ROWS, Product, multiply
from fastconv.kernels.cuda_winograd_filters import filter_bytes, transform_filters
from fastconv.kernels.cuda_winograd_tiles import (
    Finish,
    Tiles,
    corner,
    read_patch,
    tiles_of_backward_data,
    tiles_of_conv2d,
    write_tile,
)
from fastconv.kernels.cuda_winograd_transforms import INPUT, OUTPUT, OUTPUT_GRADIENT, both_sides

STEP = 4
SIZE = STEP + 2
POINTS = SIZE * SIZE
THREADS = 128
PART_BYTES = 1 << 25  # of the matrices of points and of products that are in memory at a time
_OUTPUT = OUTPUT[STEP]


class Plan(NamedTuple):
    """Tiles that are read and written, and how many go through at a time: a multiple of the product's rows."""

    source: Tiles
    target: Tiles
    rows: int

    @classmethod
    def conv2d(cls, problem):
        """The plan for conv2d."""
        return cls._of(*tiles_of_conv2d(problem, STEP, DEPTH, COLUMNS))

    @classmethod
    def backward_data(cls, problem):
        """The plan for conv2d_backward_data."""
        return cls._of(*tiles_of_backward_data(problem, STEP, DEPTH, COLUMNS))

    @classmethod
    def _of(cls, source, target):
        fitting = PART_BYTES // (4 * POINTS * (source.pitch + target.pitch)) // ROWS * ROWS
        return cls(source, target, min(-(-source.number // ROWS) * ROWS, max(fitting, ROWS)))

    @property
    def filter_bytes(self):
        """Of the transformed filters."""
        return filter_bytes(STEP, self.source, self.target)

    @property
    def part_bytes(self):
        """Of the points and products that are in memory at a time."""
        return 4 * POINTS * self.rows * (self.source.pitch + self.target.pitch)

    @property
    def workspace_bytes(self):
        """Of both."""
        return self.filter_bytes + self.part_bytes


def unsupported(problem):
    """Why a problem cannot be run, or None."""
    for plan in (Plan.conv2d(problem), Plan.backward_data(problem)):
        if max(plan.filter_bytes, plan.part_bytes) >= 1 << 33:
            return "the transformed filters, or 128 tiles of so many channels, are more than 32-bit indices reach"
    return cuda_winograd_tiles.unsupported(problem)


def conv2d(problem, x, w, bias, y, workspace, relu, prepared):
    """The launches of conv2d. prepared: transformed filters, or None."""
    plan = Plan.conv2d(problem)
    launches = transform(problem, w, workspace) if prepared is None else []
    filters = workspace if prepared is None else prepared
    return launches + _convolve(plan, x, filters, bias, None, y, workspace[plan.filter_bytes :], relu)


def transform(problem, w, memory):
    """The launch that transforms the filters of conv2d."""
    return [transform_filters(STEP, *Plan.conv2d(problem)[:2], w, memory, turned=False)]


def backward_data(problem, gy, w, gx, workspace, relu):
    """The launches of conv2d_backward_data. relu: an array like gx, which is 0 where this is at most 0; or None."""
    plan = Plan.backward_data(problem)
    launch = transform_filters(STEP, plan.source, plan.target, w, workspace, turned=True)
    return [launch, *_convolve(plan, gy, workspace, None, relu, gx, workspace[plan.filter_bytes :], relu=False)]


def _convolve(plan, image, filters, bias, mask, out, memory, relu):
    """The launches from an image and transformed filters to an image, a part of the tiles at a time."""
    source, target, rows = plan
    floats = memory[: plan.part_bytes].view("float32")
    points, products = floats[: POINTS * rows * source.pitch], floats[POINTS * rows * source.pitch :]
    filters = filters[: plan.filter_bytes].view("float32")
    shapes = Product(POINTS, rows, source.groups, target.padded, source.padded)
    finish = Finish(int(bias is not None), int(relu), int(mask is not None))
    given = [out if array is None else array for array in (bias, mask)]  # what is None is not read
    launches = []
    for first in range(0, source.number, rows or 1):
        count = min(rows, source.number - first)
        spread = count * target.groups * target.channels
        launches += [
            collect(image, points, source, first, rows),
            multiply(points, filters, products, shapes),
            Launch(
                _spread,
                (-(-spread // THREADS),),
                (THREADS,),
                (products, *given, out, target, first, count, rows, finish),
            ),
        ]
    return launches


def collect(image, points, tiles, first, rows, gradient=False):
    """The launch that makes patches of an image into points: those of tiles `first` to `first` + rows.

    gradient: of gy, whose tiles themselves are transformed, for the filter's gradient.
    """
    return Launch(
        collect_by(gradient), (-(-rows * tiles.pitch // THREADS),), (THREADS,), (image, points, tiles, first, rows)
    )


@functools.cache
def collect_by(gradient):
    """The kernel for that."""
    size, transform_of = (STEP, OUTPUT_GRADIENT[STEP]) if gradient else (SIZE, INPUT[STEP])

    @cuda_jit(FLOATS, FLOATS, Tiles, int32, int32, launch_bounds=THREADS)
    def _collect(image, points, t, first, rows):
        patch = cuda.local.array(POINTS, float32)
        thread, pitch = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x), uint32(t.groups * t.padded)
        row, column = uint32(thread // pitch), uint32(thread % pitch)
        if row >= uint32(rows):
            return
        n, h, w = corner(uint32(first + row), t, STEP)
        group, c = int32(column // uint32(t.padded)), int32(column % uint32(t.padded))
        read_patch(image, patch, SIZE, size, t, n, h, w, group, c)
        both_sides(transform_of, patch, SIZE, size, SIZE)
        for e in range(POINTS):
            points[uint32((e * rows + row) * pitch + column)] = patch[e]

    return _collect


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Tiles, int32, int32, int32, Finish, launch_bounds=THREADS)
def _spread(products, bias, mask, image, t, first, count, rows, finish):
    patch = cuda.local.array(POINTS, float32)
    thread, channels = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x), uint32(t.groups * t.channels)
    row, c = uint32(thread // channels), uint32(thread % channels)
    if row >= uint32(count):
        return
    column = uint32(c // uint32(t.channels) * uint32(t.padded) + c % uint32(t.channels))
    for e in range(POINTS):
        patch[e] = products[uint32((e * rows + row) * (t.groups * t.padded) + column)]
    both_sides(_OUTPUT, patch, SIZE, SIZE, STEP)
    n, h, w = corner(uint32(first + row), t, STEP)
    write_tile(image, patch, SIZE, STEP, t, n, h, w, c, bias, mask, finish)
