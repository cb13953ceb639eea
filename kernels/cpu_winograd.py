"""Winograd's F(4x4, 3x3) for 3x3 filters of stride 1: 36 multiplications for 16 outputs instead of 144.

A 4x4 tile of the output needs a 6x6 patch x of the input. With the constant matrices of cpu_winograd_transforms.py,

    y = A^T [ sum over channels of (B^T x B) * (G w G^T) ] A            * element by element

so each of the 36 elements, here called points, is a matrix product: tiles x C by C x K. The gradients are the same
products transposed:

    gx = B [ sum over filters of (A gy A^T) * (G w G^T) ] B^T           added up where patches overlap
    gw = G^T [ sum over tiles of (B^T x B) * (A gy A^T) ] G

All three work on the tiles of the forward pass, so a ragged image costs each of them the same. With a dilation d the
pixels that are equal modulo d are an image of their own, a phase, for which the filter is a dense one.

A thread takes blocks of tiles through all stages, so that what lies between the stages stays in its level-2 cache:
`collect` transforms the patches of a block, `multiply` or `accumulate` does the 36 products in register tiles, `spread`
transforms their results into patches of the output. Multiplying by the points' matrices runs at the machine's peak, and
the transforms take about a fifth of the time at 32 and at 64 channels.

In float32 the error is about four times that of a direct convolution, 1e-6 to 5e-6 of the result in the Frobenius norm.
A NaN reaches its whole tile. F(2x2, 3x3) is not here: it needs fewer multiplications only for outputs of 1x1 and 2x2
pixels, and there no more than a direct convolution that leaves the padding out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import (
    ROWS,
    VECTOR_BYTES,
    VECTORS,
    at,
    lanes,
    tile_load,
    tile_product,
    tile_shape,
    tile_store,
    tile_zero,
)
from fastconv.kernels.cpu_winograd_transforms import (
    FILTER_PATCH,
    collect_patch,
    image_rows,
    spread_patch,
    transform,
)

POINTS = 36  # products that take the place of a convolution
STEP = 4  # pixels of the output, in each direction, that a tile covers
PATCH = 6  # pixels of the input that it reads
LINE = 16  # elements, of float32 a cache line

_BLOCK_BYTES = 1 << 19  # of what lies between the stages, for one thread: half of a typical level-2 cache
_LEAST_BLOCK = 7 * ROWS  # tiles: fewer would read filters that lie in memory too often
_FILLED = 0.3  # of the tiles' products must count, at least: direct convolution leaves out what is beyond the image
_PART_BYTES = 3 << 22  # of transformed filters: more would be written to memory and read again
_GROUP = 4  # register tiles side by side, at most, whose products are kept before they are spread


def unsupported(problem):
    """Why a problem has no Winograd form here, or None."""
    p = problem
    if (p.R, p.S) != (3, 3):
        return f"the filter is {p.R}x{p.S}, not 3x3"
    if (p.stride_h, p.stride_w) != (1, 1):
        return "strides must be 1"
    return None if p.groups == 1 else "groups must be 1"


def tiling_of(problem):
    """(tiles in the columns of a phase of an image, tiles in its rows, phases in columns, phases in rows)."""
    p = problem
    return -(-p.P // (STEP * p.dilation_h)), -(-p.Q // (STEP * p.dilation_w)), p.dilation_h, p.dilation_w


def tile_count(problem):
    """Tiles of y in all."""
    return problem.N * math.prod(tiling_of(problem))


def _inside(size, out, dilation, pad):
    """The share of the products of a row of `out` windows that reads inside an image of `size` pixels."""
    firsts = [pad - tap * dilation for tap in range(3)]  # the window whose tap reads pixel 0
    return sum(max(0, min(out, first + size) - max(0, first)) for first in firsts) / (3 * max(1, out))


def pays(problem, filled=_FILLED):
    """Whether it is faster than direct convolution: with channels enough to fill register tiles, tiles enough to be
    worth transforming the filters for, and at least so many of their products inside the image."""
    p, tiles = problem, tile_count(problem)
    inside = _inside(p.H, p.P, p.dilation_h, p.pad_top) * _inside(p.W, p.Q, p.dilation_w, p.pad_left)
    products = p.N * p.P * p.Q * inside
    return min(p.C, p.K) >= 16 and tiles >= 2 * ROWS and products >= filled * STEP * STEP * tiles


def threads_of(problem):
    """Threads that a problem is worth."""
    return threads_for(problem.flops // 8)


def up(number, multiple):
    """`number`, rounded up to a multiple."""
    return -(-number // multiple) * multiple


def columns_of(itemsize):
    """Channels of the output in a register tile."""
    return VECTORS * VECTOR_BYTES // itemsize


def pitch_of(channels, itemsize):
    """Elements from tile to tile of points of so many channels: whole vectors, but no multiple of 1 KiB, because rows
    a power of two apart share few cache sets."""
    vector = VECTOR_BYTES // itemsize
    pitch = up(channels, vector)
    return pitch + vector * (pitch * itemsize % 1024 == 0)


@dataclass(frozen=True)
class Plan:
    """How products that sum over the channels are cut: conv2d and conv2d_backward_data.

    tiling: see `tiling_of`. tiles: in all. depth: channels that are summed over; pitch: elements from tile to tile of
    their points. columns: channels that are made, in whole register tiles. block: tiles that go through the stages
    together; group: columns that do. part: columns whose filters are transformed and used before others are.
    """

    tiling: tuple[int, int, int, int]
    tiles: int
    depth: int
    pitch: int
    columns: int
    block: int
    group: int
    part: int

    @classmethod
    def of(cls, problem, depth, made):
        """For products that sum over `depth` channels and make `made`."""
        tiles = tile_count(problem)
        itemsize, wide = problem.itemsize, columns_of(problem.itemsize)
        pitch, columns = pitch_of(depth, itemsize), up(made, wide)
        group = min(columns, _GROUP * wide)
        fitting = _BLOCK_BYTES // (POINTS * (pitch + group) * itemsize) // ROWS * ROWS
        filters_in_cache = POINTS * depth * columns * itemsize <= _BLOCK_BYTES
        block = max(fitting, ROWS if filters_in_cache else _LEAST_BLOCK)
        part = max(group, _PART_BYTES // (POINTS * depth * itemsize) // group * group)
        block = min(block, up(max(tiles, 1), ROWS))
        return cls(tiling_of(problem), tiles, depth, pitch, columns, block, group, min(columns, part))

    def parts(self, prepared):
        """(first column, columns) of each part; one if the filters are `prepared`."""
        part = self.columns if prepared else self.part
        return [(first, min(part, self.columns - first)) for first in range(0, self.columns, part)]

    # From one of the 36 points to the next there is a line more than needed: places a power of two apart share few
    # cache sets, and each transform touches all 36.

    def filter_step(self, columns):
        """From point to point of the transformed filters of so many columns."""
        return self.depth * columns + LINE

    @property
    def point_step(self):
        """From point to point of what a block collects."""
        return self.block * self.pitch + LINE

    @property
    def product_step(self):
        """From point to point of a block's products."""
        return self.block * self.group + LINE

    def filter_elements(self, columns):
        """Of the transformed filters of so many columns."""
        return POINTS * self.filter_step(columns)

    @property
    def block_elements(self):
        """Of one thread's block."""
        return POINTS * (self.point_step + self.product_step)

    def splits(self, threads, units, columns, itemsize):
        """What `columns` are cut into where `units` of other work are too few for the threads: a divisor of
        `threads`."""
        if units >= 4 * threads:
            return 1
        blocks = columns // columns_of(itemsize)
        return max(parts for parts in range(1, threads + 1) if threads % parts == 0 and parts <= blocks)


@cpu_jit(inner=True)
def _filter_points(thread, w, tap, out, step, depth, pitch, made, columns, threads):
    wide = VECTORS * lanes(w)
    origin = 0 if tap > 0 else -8 * tap
    for c in range(thread, depth, threads):
        for k in range(0, columns, lanes(w)):
            collect_patch(
                transform(FILTER_PATCH), at(w, origin + c * pitch + k), 3 * tap, tap, 0, 3, 0, 3, made - k,
                at(out, (k // wide * depth + c) * wide + k % wide), step,
            )  # fmt: skip


@cpu_jit
def transform_filter(w, tap, out, step, depth, pitch, made, columns, threads):
    """out = G w G^T: w (9, depth, made) to out (36, blocks of columns, depth, columns of a register tile), flat.

    pitch: elements from one of w's rows to the next. tap: elements from one of the nine taps to the next; negative if
    w has them in reverse. step: from point to point.
    """
    parallel_for(_filter_points, threads, (w, tap, out, step, depth, pitch, made, columns, threads))


@cpu_jit(inner=True)
def _patch(tile, H, W, top, left, tiling, size):
    """(pixel, top, bottom, left, right) of a tile's patch: its first pixel's number, and the rows and columns of it
    that lie in the image."""
    tiles_h, tiles_w, dilation_h, dilation_w = tiling
    w = tile // (tiles_h * tiles_w) % dilation_w + tile % tiles_w * STEP * dilation_w - left
    phase = tile // (tiles_h * tiles_w * dilation_w)
    h = phase % dilation_h + tile // tiles_w % tiles_h * STEP * dilation_h - top
    pixel = (phase // dilation_h * H + h) * W + w
    if dilation_h == 1 and dilation_w == 1:
        return pixel, max(0, -h), min(size, H - h), max(0, -w), min(size, W - w)
    return (
        pixel,
        max(0, -(h // dilation_h)),
        min(size, -((h - H) // dilation_h)),
        max(0, -(w // dilation_w)),
        min(size, -((w - W) // dilation_w)),
    )


@cpu_jit(inner=True)
def collect(
    kind, first, count, source, H, W, C, channels, top, left, tiling, out, pitch, step
):  # fmt: skip
    """out[e, t, c] = point e of channel c of the patch of tile first + t, for `count` tiles.

    kind: the transform. source: a pointer to the first of `channels` channels of (N, H, W, C);
    the patch of the tile (0, 0) begins at (-top, -left). pitch, step: of out, from tile to tile and point to point.
    """
    for t in range(count):
        pixel, low_h, high_h, low_w, high_w = _patch(first + t, H, W, top, left, tiling, image_rows(kind))
        for c in range(0, channels, lanes(source)):
            collect_patch(
                kind, at(source, pixel * C + c), tiling[2] * W * C, tiling[3] * C, low_h, high_h, low_w, high_w,
                channels - c, at(out, t * pitch + c), step,
            )  # fmt: skip


@cpu_jit(inner=True)
def spread(
    kind, first, count, points, pitch, step, H, W, C, channels, top, left, tiling,
    target, other, other_is_image, lowest,
):  # fmt: skip
    """The way back from points[e, t, c] to the patches of `target`; arguments as in `collect`.

    other: what the transform takes besides: an image like target if `other_is_image` is 1, an element a channel if 0.
    """
    for t in range(count):
        pixel, low_h, high_h, low_w, high_w = _patch(first + t, H, W, top, left, tiling, image_rows(kind))
        for c in range(0, channels, lanes(target)):
            spread_patch(
                kind, at(points, t * pitch + c), step, at(target, pixel * C + c), tiling[2] * W * C, tiling[3] * C,
                low_h, high_h, low_w, high_w, channels - c, at(other, other_is_image * pixel * C + c), lowest,
            )  # fmt: skip


@cpu_jit(inner=True)
def multiply(a, a_pitch, a_step, tiles, depth, filters, filter_step, columns, out, out_pitch, out_step):
    """out[e, t, k] = sum over c of a[e, t, c] * filters[e, k, c], in whole register tiles.

    Pointers; filters as `transform_filter` writes them. *_pitch: from tile to tile, *_step: from point to point.
    """
    wide = VECTORS * lanes(a)
    shape = tile_shape(ROWS, VECTORS, False)
    for e in range(POINTS):
        for k in range(0, columns, wide):
            b = at(filters, e * filter_step + k * depth)
            for t in range(0, tiles, ROWS):
                sums = tile_zero(shape, a)
                sums = tile_product(sums, at(a, e * a_step + t * a_pitch), a_pitch, 1, b, wide, depth, 0)
                tile_store(sums, at(out, e * out_step + t * out_pitch + k), out_pitch, 0)


@cpu_jit(inner=True)
def accumulate(a, a_pitch, a_step, b, b_pitch, b_step, tiles, depth, columns, out, out_pitch, out_step, begins):
    """out[e, c, k] += sum over t of a[e, t, c] * b[e, t, k], in whole register tiles; = instead of += if it `begins`.

    Arguments as in `multiply`.
    """
    wide = VECTORS * lanes(a)
    shape = tile_shape(ROWS, VECTORS, False)
    for e in range(POINTS):
        for k in range(0, columns, wide):
            for c in range(0, depth, ROWS):
                place = at(out, e * out_step + c * out_pitch + k)
                sums = tile_zero(shape, a) if begins else tile_load(shape, place, out_pitch, 0)
                sums = tile_product(sums, at(a, e * a_step + c), 1, a_pitch, at(b, e * b_step + k), b_pitch, tiles, 0)
                tile_store(sums, place, out_pitch, 0)
