"""Tiles of images for Winograd's algorithm on a GPU: where they lie, and how a thread reads one and writes one.

A tile of step x step pixels of the output needs a patch of (step + 2) x (step + 2) pixels of the input. With a dilation
d the pixels that are equal modulo d are an image of their own, a phase, for which the filter is a dense one; tiles are
numbered phase by phase.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda import device_function, float32, int32, uint32

LOWEST = np.float32(-np.inf)


class Tiles(NamedTuple):
    """Where the tiles lie in an image (N, H, W, groups * channels), and their channels in the rows of a matrix.

    down, across: tiles below and beside each other in a phase. top, left: the first one begins at (-top, -left).
    padded: elements that a group's channels take in a row, zeros behind them.
    """

    N: int
    H: int
    W: int
    groups: int
    channels: int
    down: int
    across: int
    dilation_h: int
    dilation_w: int
    top: int
    left: int
    padded: int

    @property
    def number(self):
        """Tiles in all."""
        return self.N * self.dilation_h * self.dilation_w * self.down * self.across

    @property
    def pitch(self):
        """Elements of a row."""
        return self.groups * self.padded


class Finish(NamedTuple):
    """What becomes of an output before it is stored."""

    has_bias: int
    relu: int
    has_mask: int


def tiles_of_conv2d(problem, step, sum_of, multiple_of):
    """The tiles that conv2d reads of x and those that it writes of y.

    sum_of, multiple_of: the channels of each are padded to a multiple of that.
    """
    p = problem
    return _tiles(p, step, (p.H, p.W, p.C), (p.P, p.Q, p.K), p.pad_top, p.pad_left, sum_of, multiple_of)


def tiles_of_backward_data(problem, step, sum_of, multiple_of):
    """The tiles that conv2d_backward_data reads of gy and those that it writes of gx: it is the convolution of gy with
    the filter turned round, and padding that makes up for the forward's."""
    p = problem
    top, left = 2 * p.dilation_h - p.pad_top, 2 * p.dilation_w - p.pad_left
    return _tiles(p, step, (p.P, p.Q, p.K), (p.H, p.W, p.C), top, left, sum_of, multiple_of)


def _tiles(p, step, source, target, top, left, sum_of, multiple_of):
    down, across = -(-target[0] // (step * p.dilation_h)), -(-target[1] // (step * p.dilation_w))

    def tiles(image, top, left, whole):
        height, width, channels = image[0], image[1], image[2] // p.groups
        padded = -(-channels // whole) * whole
        return Tiles(
            p.N, height, width, p.groups, channels, down, across, p.dilation_h, p.dilation_w, top, left, padded
        )

    return tiles(source, top, left, sum_of), tiles(target, 0, 0, multiple_of)


def unsupported(problem):
    """Why a problem has no Winograd form, or None."""
    if (problem.R, problem.S) != (3, 3):
        return f"the filter is {problem.R}x{problem.S}, not 3x3"
    if (problem.stride_h, problem.stride_w) != (1, 1):
        return "strides must be 1"
    return cuda_geometry.unsupported(problem)


@device_function
def corner(tile, t, step):
    """(image, row, column) where a tile begins; tiles beyond the last lie in images beyond the last."""
    column, tile = uint32(tile % uint32(t.across)), uint32(tile // uint32(t.across))
    row, tile = uint32(tile % uint32(t.down)), uint32(tile // uint32(t.down))
    phase_w, tile = uint32(tile % uint32(t.dilation_w)), uint32(tile // uint32(t.dilation_w))
    phase_h, n = uint32(tile % uint32(t.dilation_h)), int32(tile // uint32(t.dilation_h))
    h = int32(int32(phase_h + row * step * uint32(t.dilation_h)) - t.top)
    w = int32(int32(phase_w + column * step * uint32(t.dilation_w)) - t.left)
    return n, h, w


@device_function
def read_patch(image, patch, pitch, size, t, n, h0, w0, group, c):
    """One channel of the size x size pixels from (h0, w0) on; zeros beside the image and the group's channels."""
    inside = n < t.N and c < t.channels
    for i in range(size):
        h = int32(h0 + i * t.dilation_h)
        for j in range(size):
            w = int32(w0 + j * t.dilation_w)
            value = float32(0)
            if inside and 0 <= h < t.H and 0 <= w < t.W:
                value = image[uint32((((n * t.H + h) * t.W + w) * t.groups + group) * t.channels + c)]
            patch[i * pitch + j] = value


@device_function
def write_tile(image, patch, pitch, step, t, n, h0, w0, c, bias, mask, finish):
    """One channel of a tile, as far as it lies in the image, from the rows of a patch, `pitch` apart."""
    start, lowest = float32(0), LOWEST
    if finish.has_bias:
        start = bias[uint32(c)]
    if finish.relu:
        lowest = float32(0)
    for i in range(step):
        h = int32(h0 + i * t.dilation_h)
        for j in range(step):
            w = int32(w0 + j * t.dilation_w)
            if h < t.H and w < t.W:
                at = uint32(((n * t.H + h) * t.W + w) * (t.groups * t.channels) + c)
                value = patch[i * pitch + j] + start
                if value < lowest:
                    value = lowest
                if finish.has_mask and mask[at] <= float32(0):
                    value = float32(0)
                image[at] = value
