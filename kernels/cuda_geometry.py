"""What the CUDA kernels share: a problem as a named tuple of 32-bit integers, and what such integers can reach."""

from __future__ import annotations

import math
from typing import Any, NamedTuple


class Conv2DGeometry(NamedTuple):
    """The numbers of a Conv2DProblem, with the channels and filters of one group."""

    N: int
    H: int
    W: int
    C: int
    R: int
    S: int
    K: int
    P: int
    Q: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    pad_top: int
    pad_left: int
    group_C: int
    group_K: int

    @classmethod
    def of(cls, problem: Any) -> Conv2DGeometry:
        """The geometry of a problem."""
        numbers = [getattr(problem, name) for name in cls._fields[:-2]]
        return cls._make([*numbers, problem.C // problem.groups, problem.K // problem.groups])


class Pool2DGeometry(NamedTuple):
    """The numbers of a Pool2DProblem."""

    N: int
    H: int
    W: int
    C: int
    R: int
    S: int
    P: int
    Q: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    pad_top: int
    pad_left: int

    @classmethod
    def of(cls, problem: Any) -> Pool2DGeometry:
        """The geometry of a problem."""
        return cls(*(getattr(problem, name) for name in cls._fields))


def unsupported(problem: Any) -> str | None:
    """Why no CUDA kernel runs a problem, or None: they know float32 and count elements with 32 bits."""
    if problem.dtype != "float32":
        return "the CUDA kernels are for float32"
    shapes = [problem.x_shape, problem.y_shape, getattr(problem, "w_shape", ())]
    largest = max(map(math.prod, shapes))
    return f"an array of {largest} elements is more than 32-bit indices reach" if largest >= 1 << 31 else None
