"""Where windows lie: the geometry of the NumPy references, worked out by listing positions.

The references check the kernels, so they share no code with them: `fastconv.kernels.problem` computes what
this counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Pair = tuple[int, int]
Padding = str | Sequence[Sequence[int]]


class Windows(NamedTuple):
    """All windows over an image of `size` (H, W) with `padding` ((top, bottom), (left, right)) round it.

    rows (R,P) and columns (S,Q), integers: through tap (r, s) the output pixel (p, q) sees the pixel
    (rows[r, p], columns[s, q]) of the padded image.
    """

    size: Pair
    padding: tuple[Pair, Pair]
    rows: np.ndarray
    columns: np.ndarray

    def pad(self, x: np.ndarray, value: float = 0.0) -> np.ndarray:
        """x (N,H,W,C) with a border of `value`, float64."""
        return np.pad(np.asarray(x, np.float64), ((0, 0), *self.padding, (0, 0)), constant_values=value)

    def crop(self, padded: np.ndarray) -> np.ndarray:
        """The image (N,H,W,C) inside a padded one."""
        (top, _), (left, _) = self.padding
        return padded[:, top : top + self.size[0], left : left + self.size[1]]

    def inside(self) -> np.ndarray:
        """A padded image (1,..,..,1) of 1 in the image and 0 in its border."""
        return self.pad(np.ones((1, *self.size, 1)))

    def empty_padded(self, count: int, channels: int) -> np.ndarray:
        """`count` padded images of zeros."""
        return self.pad(np.zeros((count, *self.size, channels)))

    def taps(self) -> list[tuple[int, int, tuple[slice, np.ndarray, np.ndarray]]]:
        """(r, s, index) of every tap in row order; padded[index] is (N,P,Q,C), each pixel at most once."""
        everywhere = slice(None)
        return [
            (r, s, (everywhere, rows[:, None], columns[None, :]))
            for r, rows in enumerate(self.rows)
            for s, columns in enumerate(self.columns)
        ]


def windows(size: Pair, window: Pair, strides: Pair, padding: Padding, dilation: Pair) -> Windows:
    """The windows of `window` (R, S) taps on an image of `size` (H, W).

    padding: "valid", "same" (TensorFlow's, the odd row at the bottom) or ((top, bottom), (left, right)).
    """
    sides, positions = [], []
    for axis in range(2):
        reach = [tap * dilation[axis] for tap in range(window[axis])]
        if not isinstance(padding, str):
            before, after = padding[axis]
        elif padding == "same":
            last = range(0, size[axis], strides[axis])[-1]  # a window starts at every `stride` pixels
            missing = max(0, last + reach[-1] + 1 - size[axis])
            before = missing // 2
            after = missing - before
        else:
            before = after = 0
        end = before + size[axis] + after
        starts = [start for start in range(0, end, strides[axis]) if start + reach[-1] < end]
        sides.append((int(before), int(after)))
        positions.append(np.array([[start + tap for start in starts] for tap in reach]))
    return Windows((size[0], size[1]), (sides[0], sides[1]), positions[0], positions[1])


def options(problem) -> dict:
    """strides, padding and dilation of a problem, as the references take them."""
    return {
        "strides": (problem.stride_h, problem.stride_w),
        "padding": ((problem.pad_top, problem.pad_bottom), (problem.pad_left, problem.pad_right)),
        "dilation": (problem.dilation_h, problem.dilation_w),
    }
