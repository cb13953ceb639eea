"""How Winograd's tiles lie in images and in the workspace, as numbers that the kernels of cuda_winograd.py take.

The matrices in the workspace are padded to whole tiles of the product's: their rows, one for each tile of pixels, to
128, the channels that are summed to 8 and those that are made to 64.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.kernels import cuda_geometry
from fastconv.kernels.cuda_batched_gemm import COLUMNS, DEPTH, ROWS, Product

PART_BYTES = 1 << 25  # of the matrices of points and of products that are in memory at a time


class Tiles(NamedTuple):
    """Where the tiles' patches lie in an image (N, H, W, groups * channels), and their points in the workspace.

    down, across: tiles below and beside each other in a phase. top, left: the first patch begins at (-top, -left).
    padded: elements that a group's channels take in a row of the points' matrix.
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


class Convolution(NamedTuple):
    """A convolution's forward pass, or that of its gradient: where the tiles are read, where they are written.

    step: pixels of a tile in each direction, 2 or 4. points: (step + 2)^2. tiles: in all. rows: that are in memory at a
    time.
    """

    step: int
    points: int
    tiles: int
    rows: int
    source: Tiles
    target: Tiles

    @property
    def product(self):
        """The products of a part."""
        return Product(self.points, self.rows, self.source.groups, self.target.padded, self.source.padded)

    @property
    def filter_bytes(self):
        """Of the transformed filters (points, depth, groups * columns)."""
        return 4 * self.points * self.source.padded * self.target.groups * self.target.padded

    @property
    def part_bytes(self):
        """Of the points and products of a part."""
        return self.rows * _row_bytes(self.points, self.source, self.target)

    @property
    def workspace_bytes(self):
        return self.filter_bytes + self.part_bytes

    @classmethod
    def forward(cls, step, p):
        """conv2d of a problem, with tiles of step x step."""
        return cls._of(step, p, (p.H, p.W, p.C), (p.P, p.Q, p.K), p.pad_top, p.pad_left)

    @classmethod
    def backward_data(cls, step, p):
        """conv2d_backward_data: a convolution of gy with the filter turned round."""
        top, left = 2 * p.dilation_h - p.pad_top, 2 * p.dilation_w - p.pad_left
        return cls._of(step, p, (p.P, p.Q, p.K), (p.H, p.W, p.C), top, left)

    @classmethod
    def _of(cls, step, p, source, target, top, left):
        down, across = -(-target[0] // (step * p.dilation_h)), -(-target[1] // (step * p.dilation_w))

        def tiles(image, top, left, whole):
            height, width, channels = image
            of_group = channels // p.groups
            padded = -(-of_group // whole) * whole
            phases = p.dilation_h, p.dilation_w
            return Tiles(p.N, height, width, p.groups, of_group, down, across, *phases, top, left, padded)

        source, target = tiles(source, top, left, DEPTH), tiles(target, 0, 0, COLUMNS)
        points, number = (step + 2) ** 2, p.N * p.dilation_h * p.dilation_w * down * across
        fitting = PART_BYTES // _row_bytes(points, source, target) // ROWS * ROWS
        return cls(step, points, number, min(-(-number // ROWS) * ROWS, max(fitting, ROWS)), source, target)


def _row_bytes(points, source, target):
    """Of a tile's points and products."""
    return 4 * points * source.groups * (source.padded + target.padded)


def unsupported(problem):
    """Why a problem has no Winograd form here, or None."""
    p = problem
    if (p.R, p.S) != (3, 3):
        return f"the filter is {p.R}x{p.S}, not 3x3"
    if (p.stride_h, p.stride_w) != (1, 1):
        return "strides must be 1"
    for c in (Convolution.forward(4, p), Convolution.backward_data(4, p)):
        if max(c.filter_bytes, c.part_bytes) >= 1 << 33:
            return "the transformed filters, or the points of 128 tiles, are more than 32-bit indices reach"
    return cuda_geometry.unsupported(problem)
