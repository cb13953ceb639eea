"""A grid of output pixels, the taps that feed them, and which of them see which taps.

What cpu_taps.py and cpu_depthwise.py compute, as numbers: plain NumPy, made once for a problem.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class _Regions:
    """A grid's rows and columns, each in classes of those that see the same taps; a region is a pair of classes.

    edges: int64 (rows + 1 + columns + 1, 3). Of a class of rows its first row and the first and the end of the rows of
        taps that it sees; of a class of columns its first column, the first of its runs, and runs in a row of taps;
        behind each kind the grid's end. runs: (first element of the input, row of w, channels to sum), flat int64.
    """

    rows: int
    columns: int
    edges: np.ndarray
    runs: np.ndarray


def _inside(taps: np.ndarray, pixel: int, step: int, size: int) -> np.ndarray:
    """Which taps of a row or column of the grid lie in the image."""
    return (pixel * step + taps >= 0) & (pixel * step + taps < size)


def _classes(taps: np.ndarray, count: int, step: int, size: int) -> list[int]:
    """The first of each class of rows or columns."""
    changes = np.concatenate([[0], -(taps // step), -((taps - size) // step)])  # where a tap comes into sight, and goes
    return [begin for begin in np.unique(changes).tolist() if 0 <= begin < count]


@dataclass(frozen=True, eq=False)
class Grid:
    """One grid of output pixels and the taps that feed it.

    images, in_h, in_w, in_c: the input (N, H, W, C). rows, columns: of the grid; step_h, step_w: input pixels from
    one grid pixel to the next. out_image, out_row, out_pixel: elements of the output between images, grid rows and
    grid pixels; out_first: where the grid's first pixel lies.
    taps: (tap_h, tap_w, row of w, channels to sum), int64 (T, 4), tap_h not decreasing; w has w_rows rows of all
        groups' filters. groups, filters: groups and the output's channels, all groups together.
    """

    images: int
    in_h: int
    in_w: int
    in_c: int
    rows: int
    columns: int
    step_h: int
    step_w: int
    out_image: int
    out_row: int
    out_pixel: int
    out_first: int
    taps: np.ndarray
    w_rows: int
    groups: int
    filters: int

    @functools.cached_property
    def regions(self) -> _Regions:
        """The pixels by what they see."""
        rows = _classes(self.taps[:, 0], self.rows, self.step_h, self.in_h)
        columns = _classes(self.taps[:, 1], self.columns, self.step_w, self.in_w)
        heights = np.unique(self.taps[:, 0])
        edges: list[int] = []
        runs: list[list[int]] = []
        for begin in rows:
            seen = np.flatnonzero(_inside(heights, begin, self.step_h, self.in_h))
            edges += [begin, seen[0] if len(seen) else 0, seen[-1] + 1 if len(seen) else 0]
        edges += [self.rows, 0, 0]
        for begin in columns:
            visible = self._runs(self.taps[_inside(self.taps[:, 1], begin, self.step_w, self.in_w)])
            edges += [begin, len(runs), len(visible) // max(1, len(heights))]
            runs += visible
        edges += [self.columns, 0, 0]
        return _Regions(
            len(rows), len(columns), np.array(edges, np.int64).reshape(-1, 3), np.array(runs, np.int64).reshape(-1)
        )

    def _runs(self, taps: np.ndarray) -> list[list[int]]:
        """The taps, neighbours joined: the next pixel to the right and the next rows of the filter; of each the first
        element of the input, counted from the pixel's own, the row of w and the channels to sum."""
        channels = self.in_c // self.groups
        runs: list[list[int]] = []
        height = None
        for tap_h, tap_w, row, count in taps.tolist():
            place = (tap_h * self.in_w + tap_w) * channels
            if tap_h == height and [place, row] == [runs[-1][0] + runs[-1][2], runs[-1][1] + runs[-1][2]]:
                runs[-1][2] += count
            else:
                runs.append([place, row, count])
            height = tap_h
        return runs

    @functools.cached_property
    def multiply_adds(self) -> int:
        """Of the whole grid."""
        return self.images * self.rows * self.columns * self.filters * int(self.taps[:, 3].sum())
