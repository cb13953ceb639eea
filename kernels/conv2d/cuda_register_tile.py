"""conv2d with a tile of outputs in each thread's registers: 8 pixels x 4 filters.

Beside cuda_shared: a thread loads 8 elements of x and 4 of w for 32 multiply-adds, not 2 for each. A block's 64 threads
compute 32 filters of one group on 8 x 8 pixels: 8 threads beside each other for the filters, one below the other for
the rows of pixels. Both x, with its halo, and w come from shared memory, a few channels at a time. A warp reads 8
neighbours of w and, in 4 rows of the copy, 4 elements of x; these rows lie a distance apart that puts them in different
banks. Limited by loads from shared memory: 12 for 32 multiply-adds, where 8 would balance.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.registry import kernel

ROWS = 8  # of a block's tile of pixels; a thread has one row
COLUMNS = 8  # of the tile: the pixels of a thread
LANES = 8  # threads beside each other
OUTPUTS = 4  # filters of a thread, LANES apart
FILTERS = LANES * OUTPUTS
THREADS = ROWS * LANES
WARP = 32
CHANNELS = 8  # at a time, where they fit
SHARED_BYTES = 48 * 1024  # of a block, on every GPU
SUMS = COLUMNS * OUTPUTS
LOWEST = np.float32(-np.inf)


class Tiling(NamedTuple):
    """How the work is cut."""

    across: int  # tiles beside each other
    down: int  # tiles below each other
    filter_blocks: int  # of a group
    rows: int  # of the copy of x in shared memory
    columns: int
    pitch: int  # from one row of the copy to the next
    pixels_at: int  # where the copy begins, behind that of w

    @classmethod
    def of(cls, p, channels):
        """The tiling of a problem whose channels go through so many at a time."""
        rows = (ROWS - 1) * p.stride_h + (p.R - 1) * p.dilation_h + 1
        columns = (COLUMNS - 1) * p.stride_w + (p.S - 1) * p.dilation_w + 1
        pitch = columns * channels
        if p.stride_h * pitch % 16 == 0:  # of four rows of outputs two would share a bank
            pitch += 1
        blocks = -(-p.K // p.groups // FILTERS)
        pixels_at = p.R * p.S * channels * FILTERS
        return cls(-(-p.Q // COLUMNS), -(-p.P // ROWS), blocks, rows, columns, pitch, pixels_at)

    @property
    def shared_bytes(self):
        return 4 * (self.pixels_at + self.rows * self.pitch)


def channels_of(problem):
    """Channels at a time, a power of two: no more than needed, and as many as fit into shared memory; 0 if none do."""
    channels = CHANNELS
    while channels > 1 and channels // 2 >= problem.C // problem.groups:
        channels //= 2
    while channels and Tiling.of(problem, channels).shared_bytes > SHARED_BYTES:
        channels //= 2
    return channels


def unsupported(problem):
    t = Tiling.of(problem, 1)
    if t.shared_bytes > SHARED_BYTES:
        return f"a tile and its filters take {t.shared_bytes} bytes, which shared memory does not hold"
    if max(problem.N, problem.groups * t.filter_blocks) > 65535:
        return "there are more images or filters than a grid's second and third dimension hold"
    return cuda_geometry.unsupported(problem)


@kernel(limited_by="loads from shared memory: 12 for 32 multiply-adds", unsupported=unsupported, fuses=("relu",))
def cuda_register_tile(problem, x, w, bias, y, workspace, relu=False):
    channels = channels_of(problem)
    g, t = Conv2DGeometry.of(problem), Tiling.of(problem, channels)
    given = y if bias is None else bias  # without a bias the kernel reads nothing there
    return [
        Launch(
            conv2d_by(channels),
            grid=(t.across * t.down, problem.groups * t.filter_blocks, g.N),
            block=(LANES, ROWS),
            args=(x, w, given, y, g, t, int(bias is not None), int(relu)),
            shared_bytes=t.shared_bytes,
        )
    ]


@functools.cache
def conv2d_by(channels):
    """The kernel for so many channels at a time. They are a constant in it, so that loops over them are unrolled."""

    @cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, Tiling, int32, int32, launch_bounds=THREADS)
    def _conv2d(x, w, bias, y, g, t, has_bias, relu):
        memory = cuda.shared.array(0, float32)  # w (R, S, channels, FILTERS), then x (rows, columns, channels)
        sums = cuda.local.array(SUMS, float32)  # (COLUMNS, OUTPUTS)
        lane, row = int32(cuda.threadIdx.x), int32(cuda.threadIdx.y)
        n = int32(cuda.blockIdx.z)
        p0 = int32(uint32(cuda.blockIdx.x) // uint32(t.across) * ROWS)  # the tile's first pixel
        q0 = int32(uint32(cuda.blockIdx.x) % uint32(t.across) * COLUMNS)
        group = int32(uint32(cuda.blockIdx.y) // uint32(t.filter_blocks))
        k0 = int32(uint32(cuda.blockIdx.y) % uint32(t.filter_blocks) * FILTERS)  # in the group, as the channels
        for i in range(SUMS):
            sums[i] = float32(0)
        first = int32(0)
        while first < g.group_C:
            _copy_filters(memory, w, g, channels, group, k0, first)
            _copy_pixels(memory, x, g, t, channels, n, p0, q0, group, first)
            cuda.syncthreads()
            _multiply_add(sums, memory, g, t, channels, row, lane)
            cuda.syncthreads()  # before the copies are overwritten
            first = int32(first + channels)
        if p0 + row < g.P:
            _write(sums, bias, y, g, int32((n * g.P + p0 + row) * g.Q), q0, group, int32(k0 + lane), has_bias, relu)

    return _conv2d


@device_function
def _copy_filters(memory, w, g, channels, group, k0, first):
    """32 filters, zeros beside the group's; a warp copies every second channel."""
    thread = int32(cuda.threadIdx.y * LANES + cuda.threadIdx.x)
    k = int32(k0 + thread % WARP)
    for tap in range(g.R * g.S):
        i = int32(thread // WARP)
        while i < channels:
            value = float32(0)
            if k < g.group_K and first + i < g.group_C:
                value = w[uint32((tap * g.group_C + first + i) * g.K + group * g.group_K + k)]
            memory[uint32((tap * channels + i) * FILTERS + thread % WARP)] = value
            i = int32(i + THREADS // WARP)


@device_function
def _copy_pixels(memory, x, g, t, channels, n, p0, q0, group, first):
    """What the tile's windows see, zeros beside the image; a warp copies every second row."""
    thread = int32(cuda.threadIdx.y * LANES + cuda.threadIdx.x)
    row = int32(thread // WARP)
    while row < t.rows:
        h = int32(p0 * g.stride_h - g.pad_top + row)
        i = int32(thread % WARP)
        while i < t.columns * channels:
            j, c = int32(q0 * g.stride_w - g.pad_left + i // channels), int32(first + i % channels)
            value = float32(0)
            if 0 <= h < g.H and 0 <= j < g.W and c < g.group_C:
                value = x[uint32(((n * g.H + h) * g.W + j) * g.C + group * g.group_C + c)]
            memory[uint32(t.pixels_at + row * t.pitch + i)] = value
            i = int32(i + WARP)
        row = int32(row + THREADS // WARP)


@device_function
def _multiply_add(sums, memory, g, t, channels, row, lane):
    """Add the products of the copied channels to the thread's sums."""
    b = cuda.local.array(OUTPUTS, float32)
    for r in range(g.R):
        for s in range(g.S):
            pixel = int32(t.pixels_at + (row * g.stride_h + r * g.dilation_h) * t.pitch + s * g.dilation_w * channels)
            weight = int32((r * g.S + s) * channels * FILTERS + lane)
            for c in range(channels):
                for k in range(OUTPUTS):
                    b[k] = memory[uint32(weight + c * FILTERS + k * LANES)]
                for q in range(COLUMNS):
                    a = memory[uint32(pixel + q * g.stride_w * channels + c)]
                    for k in range(OUTPUTS):
                        sums[q * OUTPUTS + k] += a * b[k]


@device_function
def _write(sums, bias, y, g, row, q0, group, k0, has_bias, relu):
    """The sums become elements of y, from pixel `row` + q0 on."""
    lowest = float32(0) if relu else LOWEST
    for k in range(OUTPUTS):
        k_in_group = int32(k0 + k * LANES)
        if k_in_group < g.group_K:
            of_y = int32(group * g.group_K + k_in_group)
            start = float32(0)
            if has_bias:
                start = bias[of_y]
            for q in range(COLUMNS):
                if q0 + q < g.Q:
                    total = sums[q * OUTPUTS + k] + start
                    y[uint32((row + q0 + q) * g.K + of_y)] = lowest if total < lowest else total
