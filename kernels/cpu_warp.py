"""`warp`: images read at other places than they were stored, as augmentation turns, shifts and stretches them.

Every output pixel (i, j) of an image is what the input has at the place `rows[:, i] + columns[:, j]`, (row, column):
all affine maps have that form, and flips are tables in reverse order. The caller makes the tables, so that a place is
one addition, whatever the processor does with multiply-adds. All channels of a pixel are read together. Where the row
depends on i alone and the column on j alone (no rotation, no shear), neighbours and weights are found once per row and
column.

Places and weights are float64, and what lies outside of an image is as in scipy.ndimage. One thread: callers have
several batches in the making. Limited by latency, the four reads of each pixel.
"""

from __future__ import annotations

import math

import numpy as np
from numba import uintp

from fastconv.kernels.cpu_jit import cpu_jit

# What an image has outside: for a row a b c d
MODES = {
    "nearest": 0,  # a a a | a b c d | d d d
    "constant": 1,  # k k k | a b c d | k k k
    "reflect": 2,  # c b a | a b c d | d c b
    "wrap": 3,  # b c d | a b c d | a b c, where scipy takes the first and the last pixel for the same
}
_CONSTANT, _REFLECT, _WRAP = MODES["constant"], MODES["reflect"], MODES["wrap"]
ORDERS = (0, 1)  # the nearest pixel; linear between four


def warp(
    images: np.ndarray,
    which: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    out: np.ndarray,
    mode: str = "nearest",
    fill: float = 0.0,
    order: int = 1,
) -> None:
    """Write image `which[n]`, read at `rows[n, :, i] + columns[n, :, j]`, to `out[n, i, j]`.

    images: (M, H, W, C), float32 or float64; out: (N, P, Q, C) of the same dtype. which: (N,) int64, each in 0 to
    M - 1. rows: (N, 2, P), columns: (N, 2, Q), float64, finite. All C-contiguous. fill: what "constant" has outside.
    """
    _warp(images, which, rows, columns, out, MODES[mode], images.dtype.type(fill), order)


@cpu_jit(inner=True)
def _inside(place, size, mode):
    """The place in (-1, size) that has what lies at `place`, outside of 0 to size - 1; -1 where that is the
    constant."""
    last = size - 1.0
    if mode == _CONSTANT:
        return -1.0
    if mode == _REFLECT:
        period = 2.0 * size
        if place < 0.0:
            place = -place - 1.0  # mirrored at the outer edge of the first pixel
        place -= period * math.floor(place / period)
        return place if place < size else period - place - 1.0
    if mode == _WRAP and last > 0.0:
        beyond = math.floor(place / last) if place > 0.0 else -math.floor(-place / last) - 1.0
        return place - last * beyond
    return 0.0 if place < 0.0 or mode == _WRAP else last


@cpu_jit(inner=True)
def _is_inside(y, x, height, width):
    return 0.0 <= y <= height - 1.0 and 0.0 <= x <= width - 1.0


@cpu_jit(inner=True)
def _neighbours(place, size, mode, order):
    """(lower, upper, weight of upper): the two pixels that `place` lies between; upper is -1 outside, in the
    constant."""
    if order == 1 and 0.0 <= place <= size - 1.0:
        lower = int(place)
        return lower, min(lower + 1, size - 1), place - lower
    if not 0.0 <= place <= size - 1.0:
        place = _inside(place, size, mode)
        if place <= -1.0:
            return 0, -1, 0.0
    if order == 0:
        place = math.floor(place + 0.5)
    lower = int(place + 1.0) - 1  # the floor: place is above -1
    # Up to a pixel outside the edge, "reflect" has the same pixel again.
    return max(0, min(lower, size - 1)), min(lower + 1, size - 1), place - lower


@cpu_jit(inner=True)
def _mean(pixels, channels, top, bottom, down, left, right, across, out, n):
    """Write the mean of four pixels, all channels, from out[n] on. top, bottom: where their rows begin; left, right:
    where the pixels do in them; `down` is the weight of the bottom, `across` that of the right.

    Indices are unsigned: for signed ones Numba makes code that looks whether they count from the end.
    """
    if down == 0.0 and across == 0.0:  # as flips and shifts by whole pixels have it
        for c in range(channels):
            out[uintp(n + c)] = pixels[uintp(top + left + c)]
        return
    for c in range(channels):
        above = pixels[uintp(top + left + c)] * (1.0 - across) + pixels[uintp(top + right + c)] * across
        below = pixels[uintp(bottom + left + c)] * (1.0 - across) + pixels[uintp(bottom + right + c)] * across
        out[uintp(n + c)] = above * (1.0 - down) + below * down


@cpu_jit(inner=True)
def _straight(pixels, height, width, channels, rows, columns, out, mode, fill, order, sides, weights):
    """An image whose rows stay rows. sides: (2, Q), where the neighbours of a column's pixels are; weights: (Q,)."""
    step, n = width * channels, 0
    for j in range(columns.shape[1]):
        left, right, across = _neighbours(rows[1, 0] + columns[1, j], width, mode, order)
        sides[0, j], sides[1, j], weights[j] = left * channels, right * channels, across
    for i in range(rows.shape[1]):
        top, bottom, down = _neighbours(rows[0, i] + columns[0, 0], height, mode, order)
        for j in range(columns.shape[1]):
            left, right = sides[0, j], sides[1, j]
            if bottom < 0 or right < 0:
                out[n : n + channels] = fill
            else:
                _mean(pixels, channels, top * step, bottom * step, down, left, right, weights[j], out, n)
            n += channels


@cpu_jit(inner=True)
def _turned(pixels, height, width, channels, rows, columns, out, mode, fill, order):
    """Any image. The places of a row lie on a line, so that those inside the image are neighbours of each other."""
    step, count = width * channels, columns.shape[1]
    for i in range(rows.shape[1]):
        row, column, n = rows[0, i], rows[1, i], i * count * channels
        first, end = 0, count if order == 1 else 0
        while first < end and not _is_inside(row + columns[0, first], column + columns[1, first], height, width):
            first += 1
        while first < end and not _is_inside(row + columns[0, end - 1], column + columns[1, end - 1], height, width):
            end -= 1
        for j in range(first, end):
            y, x = row + columns[0, j], column + columns[1, j]
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            down, across = y - top, x - left
            _mean(
                pixels, channels, top * step, bottom * step, down, left * channels, right * channels, across, out,
                n + j * channels,
            )  # fmt: skip
        for j in range(count - (end - first)):
            j = j if j < first else j + end - first
            top, bottom, down = _neighbours(row + columns[0, j], height, mode, order)
            left, right, across = _neighbours(column + columns[1, j], width, mode, order)
            if bottom < 0 or right < 0:
                out[n + j * channels : n + (j + 1) * channels] = fill
            else:
                _mean(
                    pixels, channels, top * step, bottom * step, down, left * channels, right * channels, across, out,
                    n + j * channels,
                )  # fmt: skip


@cpu_jit
def _warp(images, which, rows, columns, out, mode, fill, order):
    _, height, width, channels = images.shape
    sides, weights = np.empty((2, columns.shape[2]), np.int64), np.empty(columns.shape[2])
    for n in range(which.size):
        pixels, result = images[which[n]].reshape(-1), out[n].reshape(-1)
        if np.all(rows[n, 1] == rows[n, 1, 0]) and np.all(columns[n, 0] == columns[n, 0, 0]):
            _straight(pixels, height, width, channels, rows[n], columns[n], result, mode, fill, order, sides, weights)
        else:
            _turned(pixels, height, width, channels, rows[n], columns[n], result, mode, fill, order)
