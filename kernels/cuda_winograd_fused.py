"""Winograd's F(2x2, 3x3) on a GPU in one launch: what lies between the transforms stays in shared memory.

Beside cuda_winograd.py: a tile of 2x2 pixels has 16 points, so few that a block holds the sums of all of them, for 32
tiles and 32 of the channels that are made. Neither points nor products are ever in global memory, only the transformed
filters. 36 multiplications become 16, where F(4x4, 3x3) has 9; but all factors of the transforms are 1 and 1/2, so the
rounding error stays below that of a direct convolution, whose sums are longer.

A block has 256 threads. For 8 channels at a time each of them reads a patch of 4x4 pixels, one channel of one tile,
transforms it and writes the 16 points to shared memory; then 16 threads make each point's product, 8 x 8 sums a thread,
while the next patches are on their way to registers. At the end the sums go through shared memory, half of the tiles at
a time, to threads that have all 16 points of a tile and channel. Lines there are 4 floats longer than 32, so that what
a warp writes lies in different banks.
"""

from __future__ import annotations

from fastconv.kernels import cuda_winograd_tiles
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_vectors import ALIGNMENT, load4, store4
from fastconv.kernels.cuda_winograd_filters import filter_bytes
from fastconv.kernels.cuda_winograd_tiles import (
    Finish,
    Tiles,
    corner,
    tiles_of_backward_data,
    tiles_of_conv2d,
    write_tile,
)
from fastconv.kernels.cuda_winograd_transforms import INPUT, OUTPUT, both_sides

STEP = 2
SIZE = STEP + 2
POINTS = SIZE * SIZE
TILES, COLUMNS, DEPTH = 32, 32, 8  # of a block, and of the channels that are summed at a time
THREADS = TILES * DEPTH
LINE = 32 + 4
FILTERS_AT = POINTS * DEPTH * LINE  # where the filters begin, behind the points
HALF = 16  # tiles whose sums are in shared memory at a time
MEMORY = POINTS * HALF * LINE  # floats: more than points and filters take
_INPUT, _OUTPUT = INPUT[STEP], OUTPUT[STEP]


def tiles_of(problem):
    """The tiles that conv2d reads and writes."""
    return tiles_of_conv2d(problem, STEP, DEPTH, COLUMNS)


def gradient_tiles_of(problem):
    """The tiles that conv2d_backward_data reads and writes."""
    return tiles_of_backward_data(problem, STEP, DEPTH, COLUMNS)


def unsupported(problem):
    """Why a problem cannot be run, or None."""
    if max(filter_bytes(STEP, *tiles_of(problem)), filter_bytes(STEP, *gradient_tiles_of(problem))) >= 1 << 33:
        return "the transformed filters are more than 32-bit indices reach"
    return cuda_winograd_tiles.unsupported(problem)


def convolve(source, target, image, filters, bias, mask, out, relu):
    """The launch from an image and transformed filters to an image.

    bias: or None. mask: an array like out, which is 0 where this is at most 0; or None.
    """
    blocks = -(-source.number // TILES) * (target.pitch // COLUMNS)
    filters = filters[: filter_bytes(STEP, source, target)].view("float32")
    finish = Finish(int(bias is not None), int(relu), int(mask is not None))
    given = [out if array is None else array for array in (bias, mask)]  # what is None is not read
    return Launch(_convolve, (blocks,), (THREADS,), (image, filters, *given, out, source, target, finish))


@device_function
def _inside(t, n, h0, w0):
    """A bit for each pixel of a patch: whether it lies in the image."""
    bits = uint32(0)
    for i in range(SIZE):
        for j in range(SIZE):
            h, w = int32(h0 + i * t.dilation_h), int32(w0 + j * t.dilation_w)
            if n < t.N and 0 <= h < t.H and 0 <= w < t.W:
                bits = uint32(bits | (1 << (i * SIZE + j)))
    return bits


@device_function
def _read(image, at, below, beside, bits, patch):
    """A patch from image[at] on, its rows `below` apart and its pixels `beside`; zeros where their bits are 0."""
    for i in range(SIZE):
        place = int32(at + i * below)
        for j in range(SIZE):
            patch[i * SIZE + j] = float32(0)
            if bits >> (i * SIZE + j) & 1:
                patch[i * SIZE + j] = image[uint32(place)]
            place = int32(place + beside)


@cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, Tiles, Tiles, Finish, launch_bounds=(THREADS, 2))
def _convolve(image, filters, bias, mask, out, source, target, finish):
    memory = cuda.shared.array(MEMORY, float32, ALIGNMENT)  # points, then filters (POINTS, DEPTH, 32); at last sums
    sums = cuda.local.array(64, float32)  # 8 tiles x 8 channels, of one point
    patch, part = cuda.local.array(POINTS, float32), cuda.local.array(POINTS, float32)
    a, b = cuda.local.array(8, float32), cuda.local.array(8, float32)
    thread, block = uint32(cuda.threadIdx.x), uint32(cuda.blockIdx.x)
    across = uint32(target.groups * target.padded)  # neighbours have the same tiles
    column0 = uint32(block % uint32(across // COLUMNS) * COLUMNS)
    tile0 = uint32(block // uint32(across // COLUMNS) * TILES)
    group = int32(column0 // uint32(target.padded))

    # What the thread copies: a channel of a patch, and four filters of a row, of every fourth point.
    c, tile = int32(thread % DEPTH), uint32(thread // DEPTH)
    n, h, w = corner(uint32(tile0 + tile), source, STEP)
    bits, channels = _inside(source, n, h, w), int32(source.groups * source.channels)
    pixel = int32(((n * source.H + h) * source.W + w) * channels + group * source.channels + c)
    below, beside = int32(source.dilation_h * source.W * channels), int32(source.dilation_w * channels)
    if c >= source.channels:
        bits = uint32(0)
    row, column = uint32(thread // 8), uint32(thread % 8 * 4)  # of 4 points x DEPTH rows
    at = uint32((row // DEPTH * source.padded + row % DEPTH) * across + column0 + column)
    # What it computes: tiles from `down` on, 4 and 16 further 4, and so channels from `right` on, of a point.
    e, down, right = uint32(thread // 16), uint32(thread // 4 % 4 * 4), uint32(thread % 4 * 4)
    for i in range(64):
        sums[i] = float32(0)

    _read(image, pixel, below, beside, bits, patch)
    depth = int32(0)
    while depth < source.padded:
        for i in range(0, POINTS, 4):
            place = uint32(at + i * source.padded * across)
            part[i], part[i + 1], part[i + 2], part[i + 3] = load4(filters, place)
        both_sides(_INPUT, patch, SIZE, SIZE, SIZE)
        cuda.syncthreads()  # what is overwritten now has been multiplied
        for i in range(POINTS):
            memory[uint32((i * DEPTH + thread % DEPTH) * LINE + tile)] = patch[i]
        for i in range(0, POINTS, 4):
            place = uint32(FILTERS_AT + (i * DEPTH + row) * COLUMNS + column)
            store4(memory, place, part[i], part[i + 1], part[i + 2], part[i + 3])
        cuda.syncthreads()
        depth, c = int32(depth + DEPTH), int32(c + DEPTH)
        pixel, at = int32(pixel + DEPTH), uint32(at + DEPTH * across)
        if c >= source.channels:
            bits = uint32(0)
        _read(image, pixel, below, beside, bits, patch)
        i, j = uint32(e * DEPTH * LINE + down), uint32(FILTERS_AT + e * DEPTH * COLUMNS + right)
        for _ in range(DEPTH):
            a[0], a[1], a[2], a[3] = load4(memory, i)
            a[4], a[5], a[6], a[7] = load4(memory, i + 16)
            b[0], b[1], b[2], b[3] = load4(memory, j)
            b[4], b[5], b[6], b[7] = load4(memory, j + 16)
            for y in range(8):
                for x in range(8):
                    sums[y * 8 + x] += a[y] * b[x]
            i, j = uint32(i + LINE), uint32(j + COLUMNS)

    for half in range(2):
        cuda.syncthreads()
        for y in range(4):
            i, place = half * 32 + y * 8, uint32((e * HALF + down + y) * LINE + right)
            store4(memory, place, sums[i], sums[i + 1], sums[i + 2], sums[i + 3])
            store4(memory, place + 16, sums[i + 4], sums[i + 5], sums[i + 6], sums[i + 7])
        cuda.syncthreads()
        tile, lane = uint32(thread // 32), uint32(thread % 32)
        c = int32(column0 + lane - group * target.padded)
        while tile < HALF:
            n, h, w = corner(uint32(tile0 + half * HALF + tile), target, STEP)
            for p in range(POINTS):
                patch[p] = memory[uint32((p * HALF + tile) * LINE + lane)]
            both_sides(_OUTPUT, patch, SIZE, SIZE, STEP)
            if n < target.N and c < target.channels:
                k = int32(group * target.channels + c)
                write_tile(out, patch, SIZE, STEP, target, n, h, w, k, bias, mask, finish)
            tile = uint32(tile + THREADS // 32)
