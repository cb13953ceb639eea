"""The pixels of y as a thread meets them when it walks on by the same distance again and again.

Where pixel number i lies takes two divisions, dozens of instructions on a GPU. A distance is divided once, on the host,
into images, rows and columns; walking on is then an addition with two carries.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.kernels.cuda import device_function, int32, uint32


class Step(NamedTuple):
    """A distance in pixels."""

    images: int
    rows: int
    columns: int

    @classmethod
    def of(cls, problem, pixels):
        """That of so many pixels in y (N, P, Q)."""
        rows, columns = divmod(pixels, problem.Q)
        images, rows = divmod(rows, problem.P)
        return cls(images, rows, columns)


@device_function
def pixel_place(g, pixel):
    """The n, p, q of a pixel."""
    row = uint32(uint32(pixel) // uint32(g.Q))
    return int32(row // uint32(g.P)), int32(row % uint32(g.P)), int32(uint32(pixel) % uint32(g.Q))


@device_function
def walk_on(g, step, n, p, q):
    """The n, p, q of the pixel a step further."""
    q = int32(q + step.columns)
    p = int32(p + step.rows)
    n = int32(n + step.images)
    if q >= g.Q:
        q, p = int32(q - g.Q), int32(p + 1)
    if p >= g.P:
        p, n = int32(p - g.P), int32(n + 1)
    return n, p, q
