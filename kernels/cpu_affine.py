"""Images turned, moved and zoomed in a model: each pixel is looked up where an affine map of its place says.

Beside cpu_warp, which prepares data as scipy.ndimage has it: what lies outside is as in Keras's layers, there is a
gradient, and the images of a batch go to threads.

A thread does rows of outputs. The gradient's pixels go back to where they were taken from, a thread to an image, so
that no two add to one place. Limited by the lookups: four for a pixel, all its channels at a time.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for

# What stands for pixels beyond the edges: a given value; the nearest pixel; the image again; the image mirrored.
FILL_MODES = ("constant", "nearest", "wrap", "reflect")
_WORK = 32  # multiply-adds that a pixel is worth


def affine(x: np.ndarray, maps: np.ndarray, smooth: bool, fill_mode: str, fill_value: float, y: np.ndarray) -> None:
    """Write y (N,H,W,C) from x (N,H,W,C), both C-contiguous.

    maps: (N, 6), float64: output row i and column j is x at row d * j + e * i + f and column a * j + b * i + c, for a
        row (a, b, c, d, e, f). smooth: whether four pixels are weighted, or the nearest one is taken.
    """
    mode, value = FILL_MODES.index(fill_mode), x.dtype.type(fill_value)
    _affine(x, maps, smooth, mode, value, y, threads_for(_WORK * x.size))


def affine_backward(gy: np.ndarray, maps: np.ndarray, smooth: bool, fill_mode: str, gx: np.ndarray) -> None:
    """The gradient of `affine`'s x, into gx, from that of its y."""
    mode, threads = FILL_MODES.index(fill_mode), min(len(gy), threads_for(_WORK * gy.size))
    _affine_backward(gy, maps, smooth, mode, gx, max(1, threads))


@cpu_jit(inner=True)
def _place(maps, image, row, column):
    """Column and row of the input that an output's are mapped to."""
    across = maps[image, 0] * column + maps[image, 1] * row + maps[image, 2]
    return across, maps[image, 3] * column + maps[image, 4] * row + maps[image, 5]


@cpu_jit(inner=True)
def _inside(place, size, mode):
    """The place in the image that stands for one that may lie outside; -1 for the fill value."""
    if 0 <= place < size:
        return place
    if mode == 0:
        return -1
    if mode == 1:
        return min(max(place, 0), size - 1)
    period = size if mode == 2 else 2 * size
    place -= int(np.floor(place / period)) * period
    return place if place < size else 2 * size - 1 - place


@cpu_jit(inner=True)
def _taps(x, y, H, W, smooth, mode, rows, columns, weights):
    """Rows, columns (-1 for the fill value) and weights of the pixels that make one at (x, y); how many."""
    if not smooth:
        # Halves are rounded away from 0.
        rows[0] = _inside(int(np.floor(y + 0.5) if y >= 0 else np.ceil(y - 0.5)), H, mode)
        columns[0] = _inside(int(np.floor(x + 0.5) if x >= 0 else np.ceil(x - 0.5)), W, mode)
        weights[0] = 1.0
        return 1
    top, left = np.floor(y), np.floor(x)
    for t in range(4):
        down, right = t // 2, t % 2
        rows[t] = _inside(int(top) + down, H, mode)
        columns[t] = _inside(int(left) + right, W, mode)
        weights[t] = (y - top if down else 1 - (y - top)) * (x - left if right else 1 - (x - left))
    return 4


@cpu_jit(inner=True)
def _affine_share(thread, x, maps, smooth, mode, value, y, threads):
    N, H, W, C = x.shape
    rows, columns, weights = np.empty(4, np.int64), np.empty(4, np.int64), np.empty(4)
    for task in range(N * H * thread // threads, N * H * (thread + 1) // threads):
        image, row = task // H, task % H
        for column in range(W):
            across, down = _place(maps, image, row, column)
            if smooth and 0 <= across < W - 1 and 0 <= down < H - 1:  # most pixels: nothing lies beyond an edge
                left, top = int(across), int(down)
                u, v = x.dtype.type(across - left), x.dtype.type(down - top)
                for c in range(C):
                    above = x[image, top, left, c] + u * (x[image, top, left + 1, c] - x[image, top, left, c])
                    below = x[image, top + 1, left, c]
                    below += u * (x[image, top + 1, left + 1, c] - below)
                    y[image, row, column, c] = above + v * (below - above)
                continue
            count = _taps(across, down, H, W, smooth, mode, rows, columns, weights)
            for c in range(C):
                total = value * 0
                for t in range(count):
                    weight = x.dtype.type(weights[t])
                    outside = rows[t] < 0 or columns[t] < 0
                    total += weight * (value if outside else x[image, rows[t], columns[t], c])
                y[image, row, column, c] = total


@cpu_jit
def _affine(x, maps, smooth, mode, value, y, threads):
    parallel_for(_affine_share, threads, (x, maps, smooth, mode, value, y, threads))


@cpu_jit(inner=True)
def _backward_share(thread, gy, maps, smooth, mode, gx, threads):
    N, H, W, C = gx.shape
    rows, columns, weights = np.empty(4, np.int64), np.empty(4, np.int64), np.empty(4)
    for image in range(N * thread // threads, N * (thread + 1) // threads):
        gx[image] = 0
        for row in range(H):
            for column in range(W):
                across, down = _place(maps, image, row, column)
                count = _taps(across, down, H, W, smooth, mode, rows, columns, weights)
                for t in range(count):
                    if rows[t] >= 0 and columns[t] >= 0:
                        weight = gx.dtype.type(weights[t])
                        for c in range(C):
                            gx[image, rows[t], columns[t], c] += weight * gy[image, row, column, c]


@cpu_jit
def _affine_backward(gy, maps, smooth, mode, gx, threads):
    parallel_for(_backward_share, threads, (gy, maps, smooth, mode, gx, threads))
