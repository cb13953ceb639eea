"""The transforms of Winograd's F(2x2, 3x3) and F(4x4, 3x3) for a GPU: constant matrices times a few numbers.

A patch is a square of numbers in a thread's own array, row by row; after unrolling each number is a register. A
transform replaces the numbers v[at], v[at + step], ... by their product with one of the matrices. `both_sides` applies
it to all columns and then to all rows of a patch, for `matrix @ patch @ matrix^T`.

The matrices are those of cpu_winograd_transforms.py, and for F(2x2, 3x3) those for the points 0, 1, -1 and infinity.
Rows for the points a and -a differ only in signs, so each pair is the sum and the difference of two halves.
"""

from __future__ import annotations

import numpy as np

from fastconv.kernels.cuda import device_function, float32

HALF = np.float32(1 / 2)
SIXTH = np.float32(1 / 6)
TWELFTH = np.float32(1 / 12)


@device_function
def both_sides(transform, v, pitch, before, after):
    """matrix @ patch @ matrix^T: a patch of before x before numbers becomes one of after x after.

    pitch: from row to row of v, which holds the larger of both.
    """
    for j in range(before):
        transform(v, j, pitch)
    for i in range(after):
        transform(v, i * pitch, 1)


@device_function
def input_2(v, at, step):
    """B^T, 4 to 4."""
    a, b, c, d = v[at], v[at + step], v[at + 2 * step], v[at + 3 * step]
    v[at] = a - c
    v[at + step] = b + c
    v[at + 2 * step] = c - b
    v[at + 3 * step] = b - d


@device_function
def input_4(v, at, step):
    """B^T, 6 to 6."""
    a, b, c = v[at], v[at + step], v[at + 2 * step]
    d, e, f = v[at + 3 * step], v[at + 4 * step], v[at + 5 * step]
    v[at] = float32(4) * a - float32(5) * c + e
    even, odd = e - float32(4) * c, d - float32(4) * b
    v[at + step] = even + odd
    v[at + 2 * step] = even - odd
    even, odd = e - c, float32(2) * (d - b)
    v[at + 3 * step] = even + odd
    v[at + 4 * step] = even - odd
    v[at + 5 * step] = float32(4) * b - float32(5) * d + f


@device_function
def filter_2(v, at, step):
    """G, 3 to 4."""
    a, b, c = v[at], v[at + step], v[at + 2 * step]
    even, odd = HALF * (a + c), HALF * b
    v[at + step] = even + odd
    v[at + 2 * step] = even - odd
    v[at + 3 * step] = c


@device_function
def filter_4(v, at, step):
    """G, 3 to 6."""
    a, b, c = v[at], v[at + step], v[at + 2 * step]
    v[at] = float32(0.25) * a
    even, odd = -SIXTH * (a + c), SIXTH * b
    v[at + step] = even - odd
    v[at + 2 * step] = even + odd
    even, odd = SIXTH * (float32(0.25) * a + c), TWELFTH * b
    v[at + 3 * step] = even + odd
    v[at + 4 * step] = even - odd
    v[at + 5 * step] = c


@device_function
def output_2(v, at, step):
    """A^T, 4 to 2."""
    a, b, c, d = v[at], v[at + step], v[at + 2 * step], v[at + 3 * step]
    v[at] = a + b + c
    v[at + step] = b - c - d


@device_function
def output_4(v, at, step):
    """A^T, 6 to 4."""
    a, b, c = v[at], v[at + step], v[at + 2 * step]
    d, e, f = v[at + 3 * step], v[at + 4 * step], v[at + 5 * step]
    even, odd = b + c, b - c
    even2, odd2 = d + e, d - e
    v[at] = a + even + even2
    v[at + step] = odd + float32(2) * odd2
    v[at + 2 * step] = even + float32(4) * even2
    v[at + 3 * step] = odd + float32(8) * odd2 + f


@device_function
def output_gradient_4(v, at, step):
    """A, 4 to 6."""
    a, b, c, d = v[at], v[at + step], v[at + 2 * step], v[at + 3 * step]
    even, odd = a + c, b + d
    v[at + step] = even + odd
    v[at + 2 * step] = even - odd
    even, odd = a + float32(4) * c, float32(2) * b + float32(8) * d
    v[at + 3 * step] = even + odd
    v[at + 4 * step] = even - odd
    v[at + 5 * step] = d


@device_function
def filter_gradient_4(v, at, step):
    """G^T, 6 to 3."""
    a, b, c = v[at], v[at + step], v[at + 2 * step]
    d, e, f = v[at + 3 * step], v[at + 4 * step], v[at + 5 * step]
    even, even2 = SIXTH * (b + c), SIXTH * (d + e)
    v[at] = float32(0.25) * (a + even2) - even
    v[at + step] = SIXTH * (c - b) + TWELFTH * (d - e)
    v[at + 2 * step] = even2 - even + f


INPUT = {2: input_2, 4: input_4}  # by the pixels of a tile in each direction
FILTER = {2: filter_2, 4: filter_4}
OUTPUT = {2: output_2, 4: output_4}
OUTPUT_GRADIENT, FILTER_GRADIENT = {4: output_gradient_4}, {4: filter_gradient_4}
