"""conv2d of images with one to four channels: all that a tile needs in shared memory, a row of pixels in registers.

A first layer has little to sum and much to write: K is many times C, and a window has few elements to cut into slices.
So a block copies its 32 filters whole, and all pixels that its tile of y sees, to shared memory at once, with one
barrier. A thread computes 8 pixels beside each other x 4 filters. C, S and the stride along a row are constants of the
kernel, which is compiled for each first layer: loops along a row are unrolled, so that what the 8 windows see of a row
is read from shared memory once and stays in registers for all S taps. Eight threads have 32 neighbouring filters; they
read w and write y in 128 bits each. Limited by bytes, those of y; by FLOPs where R*S*C is above 40 or so.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, int32, uint32
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cuda_vectors import ALIGNMENT, aligned, load4, store4
from fastconv.kernels.registry import kernel

COLUMNS = 8  # pixels of a thread, beside each other
OUTPUTS = 4  # filters of a thread
LANES = 8  # threads for the filters of a block
FILTERS = LANES * OUTPUTS
WARP = 32
THREADS = 256
STRIPS = THREADS // LANES  # of COLUMNS pixels, in a block's tile
SUMS = COLUMNS * OUTPUTS
SHARED_BYTES = 48 * 1024  # of a block, on every GPU
CHANNELS, TAPS, SPAN = 4, 16, 40  # at most: of x, of a filter's row, and pixels of a row that a thread sees


class Tiling(NamedTuple):
    """How the work is cut, and what is to be done besides."""

    across: int  # tiles beside each other
    down: int  # tiles below each other
    filter_blocks: int
    rows: int  # of a tile; a power of two of at least 4, so that a warp has 4 rows below each other
    lines: int  # rows of the copy of x in shared memory
    pitch: int  # from one row of it to the next
    pixels_at: int  # where it begins, behind those of w and the bias
    wide: int  # whether four filters at a time are stored
    has_bias: int
    relu: int

    @classmethod
    def of(cls, p, wide=False, has_bias=False, relu=False):
        """The tiling of a problem."""
        rows = 4
        while rows < STRIPS and p.Q <= STRIPS // rows // 2 * COLUMNS:
            rows *= 2
        columns = STRIPS // rows * COLUMNS
        lines = (rows - 1) * p.stride_h + (p.R - 1) * p.dilation_h + 1
        pitch = ((columns - 1) * p.stride_w + (p.S - 1) * p.dilation_w + 1) * p.C
        if p.stride_h * pitch % 16 == 0:  # of the four rows of a warp two would share a bank
            pitch += 1
        pixels_at = (p.R * p.S * p.C + 1) * FILTERS
        blocks = -(-p.Q // columns), -(-p.P // rows), -(-p.K // FILTERS)
        return cls(*blocks, rows, lines, pitch, pixels_at, int(wide), int(has_bias), int(relu))

    @property
    def shared_bytes(self):
        return 4 * (self.pixels_at + self.lines * self.pitch)


def span_of(taps, stride, dilation):
    """Pixels of a row that a thread sees."""
    return (COLUMNS - 1) * stride + (taps - 1) * dilation + 1


def unsupported(problem):
    if problem.groups > 1 or problem.C > CHANNELS:
        return f"it is for one group of up to {CHANNELS} channels"
    if problem.S > TAPS or span_of(problem.S, problem.stride_w, problem.dilation_w) > SPAN:
        return "registers do not hold what a thread sees of a row"
    shared_bytes = Tiling.of(problem).shared_bytes
    if shared_bytes > SHARED_BYTES:
        return f"a tile and its filters take {shared_bytes} bytes, which shared memory does not hold"
    return cuda_geometry.unsupported(problem)


@kernel(limited_by="bytes: writing y", unsupported=unsupported, fuses=("relu",))
def cuda_few_channels(problem, x, w, bias, y, workspace, relu=False):
    g = Conv2DGeometry.of(problem)
    t = Tiling.of(problem, g.K % 4 == 0 and aligned(y), bias is not None, relu)
    given = y if bias is None else bias  # without a bias the kernel reads nothing there
    return [
        Launch(
            conv2d_by(g.C, g.S, g.stride_w, g.dilation_w),
            grid=(g.N * t.down * t.across * t.filter_blocks,),
            block=(THREADS,),
            args=(x, w, given, y, g, t),
            shared_bytes=t.shared_bytes,
        )
    ]


@functools.cache
def conv2d_by(channels, taps, stride, dilation):
    """The kernel for so many channels and taps in a row, and for this stride and dilation along it."""
    span = span_of(taps, stride, dilation)

    @cuda_jit(FLOATS, FLOATS, FLOATS, FLOATS, Conv2DGeometry, Tiling, launch_bounds=(THREADS, 3))
    def _conv2d(x, w, bias, y, g, t):
        memory = cuda.shared.array(0, float32, ALIGNMENT)  # w (R, S, C, FILTERS), bias, x (lines, pitch)
        sums, b = cuda.local.array(SUMS, float32), cuda.local.array(OUTPUTS, float32)  # sums (COLUMNS, OUTPUTS)
        seen = cuda.local.array(span, float32)
        thread, tile = int32(cuda.threadIdx.x), uint32(cuda.blockIdx.x)
        k0 = int32(tile % uint32(t.filter_blocks) * FILTERS)  # the tile's first filter, and its first pixel
        tile = tile // uint32(t.filter_blocks)
        q0 = int32(tile % uint32(t.across) * (STRIPS // uint32(t.rows) * COLUMNS))
        tile = tile // uint32(t.across)
        p0, n = int32(tile % uint32(t.down) * t.rows), int32(tile // uint32(t.down))
        _copy_filters(memory, w, bias, g, t, k0)
        _copy_pixels(memory, x, g, t, channels, n, p0, q0)
        cuda.syncthreads()

        lane, strip = int32(thread % LANES), uint32(thread // LANES)
        row, column = int32(strip % uint32(t.rows)), int32(strip // uint32(t.rows) * COLUMNS)
        if p0 + row >= g.P:
            return
        b[0], b[1], b[2], b[3] = load4(memory, uint32(t.pixels_at - FILTERS + lane * OUTPUTS))
        for i in range(COLUMNS):
            for j in range(OUTPUTS):
                sums[i * OUTPUTS + j] = b[j]
        for r in range(g.R):
            pixel = uint32(t.pixels_at + (row * g.stride_h + r * g.dilation_h) * t.pitch + column * stride * channels)
            weight = uint32(r * taps * channels * FILTERS + lane * OUTPUTS)
            for c in range(channels):
                for i in range(span):
                    seen[i] = memory[uint32(pixel + i * channels + c)]
                for s in range(taps):
                    b[0], b[1], b[2], b[3] = load4(memory, uint32(weight + (s * channels + c) * FILTERS))
                    for i in range(COLUMNS):
                        for j in range(OUTPUTS):
                            sums[i * OUTPUTS + j] += seen[i * stride + s * dilation] * b[j]
        if t.relu:
            for i in range(SUMS):
                if sums[i] < float32(0):
                    sums[i] = float32(0)
        k = int32(k0 + lane * OUTPUTS) if t.wide else int32(k0 + lane)
        for i in range(COLUMNS):
            q = int32(q0 + column + i)
            if q < g.Q:
                at = uint32(((n * g.P + p0 + row) * g.Q + q) * g.K + k)
                if t.wide:
                    if k < g.K:
                        o = i * OUTPUTS
                        store4(y, at, sums[o], sums[o + 1], sums[o + 2], sums[o + 3])
                else:
                    for j in range(OUTPUTS):
                        if int32(k + j * LANES) < g.K:
                            y[uint32(at + j * LANES)] = sums[i * OUTPUTS + j]

    return _conv2d


@device_function
def _copy_filters(memory, w, bias, g, t, k0):
    """32 filters and below them their bias, zeros beside the last filter; a warp copies every eighth row.

    The four of a lane lie side by side: neighbours where four at a time are stored, else every eighth filter.
    """
    i = int32(cuda.threadIdx.x % WARP)
    k = int32(k0 + i) if t.wide else int32(k0 + i % OUTPUTS * LANES + i // OUTPUTS)
    elements = int32(g.R * g.S * g.C)
    row = int32(cuda.threadIdx.x // WARP)
    while row <= elements:
        value = float32(0)
        if k < g.K and row < elements:
            value = w[uint32(row * g.K + k)]
        elif k < g.K and t.has_bias:
            value = bias[uint32(k)]
        memory[uint32(row * FILTERS + i)] = value
        row = int32(row + THREADS // WARP)


@device_function
def _copy_pixels(memory, x, g, t, channels, n, p0, q0):
    """What the tile's windows see, zeros beside the image; a warp copies every eighth row."""
    line = int32(cuda.threadIdx.x // WARP)
    while line < t.lines:
        h = int32(p0 * g.stride_h - g.pad_top + line)
        i = int32(cuda.threadIdx.x % WARP)
        while i < t.pitch:
            j = int32(q0 * g.stride_w - g.pad_left + i // channels)
            value = float32(0)
            if 0 <= h < g.H and 0 <= j < g.W:
                value = x[uint32(((n * g.H + h) * g.W + j) * channels + i % channels)]
            memory[uint32(t.pixels_at + line * t.pitch + i)] = value
            i = int32(i + WARP)
        line = int32(line + THREADS // WARP)
