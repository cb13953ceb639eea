"""Which taps of a window use a pixel of the input: what gradients by the input ask, whatever the stride and dilation.

Row h of the input is row p's by tap r where h + pad_top == p * stride_h + r * dilation_h. So it is met by one tap of
every stride / gcd(stride, dilation); from one of these to the next p falls by dilation / gcd. Who walks along them
needs no division and no test for a whole quotient. Columns likewise.
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

from fastconv.kernels.cuda import device_function, int32, uint32


class TapSteps(NamedTuple):
    """From one tap that meets a pixel to the next."""

    r: int  # taps
    s: int
    p: int  # rows of the output, upwards
    q: int  # columns of the output, to the left

    @classmethod
    def of(cls, problem):
        """The steps of a problem."""
        rows, columns = gcd(problem.stride_h, problem.dilation_h), gcd(problem.stride_w, problem.dilation_w)
        return cls(
            problem.stride_h // rows,
            problem.stride_w // columns,
            problem.dilation_h // rows,
            problem.dilation_w // columns,
        )


@device_function
def first_tap(place, taps, stride, dilation):
    """The first tap that meets a row, or column, of the input, and that of the output to which it belongs.

    place: the row plus the padding above it. If no tap meets it, the first is `taps`. The row of the output may lie
    outside of it, either way.
    """
    tap, out = int32(0), int32(uint32(place) // uint32(stride))
    rest = int32(uint32(place) % uint32(stride))
    steps, step = int32(uint32(dilation) // uint32(stride)), int32(uint32(dilation) % uint32(stride))
    while rest != 0 and tap < taps:
        tap, out, rest = int32(tap + 1), int32(out - steps), int32(rest - step)
        if rest < 0:
            out, rest = int32(out - 1), int32(rest + stride)
    return tap, out
