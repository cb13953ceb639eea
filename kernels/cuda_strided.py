"""Elementwise work on views of arrays in a GPU's memory: a thread an element, in the order of the result's memory.

What turns images round, spreads a mask, pads, crops or joins arrays is a view and one of these: the strides of each
operand do the rest, 0 where it is spread. Limited by bytes; an operand whose innermost stride is not 1 is read in
lines of which most is not used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, device_function, float32, import_cupy, int32, uint32

THREADS = 256
AXES = 5  # of a walk, once those that lie one after another in all operands count as one

COPY, ADD, SUBTRACT, MULTIPLY, DIVIDE, ROOT, MAXIMUM, MINIMUM, EQUAL, UNEQUAL = range(10)


class Walk(NamedTuple):
    """How threads go over the elements: sizes of all axes but the first, and the strides of a, b and y along each."""

    elements: int
    n1: int
    n2: int
    n3: int
    n4: int
    a0: int
    a1: int
    a2: int
    a3: int
    a4: int
    b0: int
    b1: int
    b2: int
    b3: int
    b4: int
    y0: int
    y1: int
    y2: int
    y3: int
    y4: int


def copy(x: Any, y: Any) -> list[Launch]:
    """y[...] = x: views of float32 arrays, of one shape or such that x can be broadcast to y's."""
    return _launch(COPY, x, x, y)


def combine(kind: int, a: Any, b: Any, y: Any) -> list[Launch]:
    """y[...] = a + b, or another of the kinds; y may be a or b.

    EQUAL and UNEQUAL give 1 for true and 0 for false. ROOT is sqrt(a), at least b.
    """
    return _launch(kind, a, b, y)


def walk(shape: Sequence[int], *strides: Sequence[int]) -> Walk:
    """The walk over `shape` for operands of these strides, in elements; the last is the result's.

    Raises:
        ValueError: more axes than a walk has stay, after all are joined that can be.
    """
    axes = sorted(
        ((size, *each) for size, *each in zip(shape, *strides, strict=True) if size > 1), key=lambda axis: -axis[-1]
    )
    joined: list[tuple[int, ...]] = []
    for size, *each in axes:
        if joined and all(outer == size * inner for outer, inner in zip(joined[-1][1:], each, strict=True)):
            joined[-1] = (joined[-1][0] * size, *each)
        else:
            joined.append((size, *each))
    if len(joined) > AXES:
        raise ValueError(f"a walk has {AXES} axes at most; those of shape {tuple(shape)} stay {len(joined)}.")
    padded = [(1,) + (0,) * len(strides)] * (AXES - len(joined)) + joined
    sizes, *columns = zip(*padded, strict=True)
    elements = int(np.prod(sizes, dtype=np.int64))
    return Walk(elements, *sizes[1:], *(stride for column in columns for stride in column))


def walk_of(a: Any, b: Any, y: Any) -> Walk:
    """The walk over y's elements for views that can be broadcast to it."""
    return walk(y.shape, *(_strides(operand, y.shape) for operand in (a, b, y)))


def _launch(kind: int, a: Any, b: Any, y: Any) -> list[Launch]:
    steps = walk_of(a, b, y)
    arrays = span(a), span(b), span(y)
    return [Launch(_combine, (-(-steps.elements // THREADS),), (THREADS,), (*arrays, kind, steps))]


def _strides(array: Any, shape: tuple[int, ...]) -> list[int]:
    """In elements, 0 along the axes of `shape` to which the array is broadcast."""
    missing = len(shape) - array.ndim
    own = [0 if size == 1 else stride // 4 for size, stride in zip(array.shape, array.strides, strict=True)]
    if array.shape != tuple(
        size if size == 1 else wanted for size, wanted in zip(array.shape, shape[missing:], strict=True)
    ):
        raise ValueError(f"an array of shape {array.shape} cannot be broadcast to {shape}.")
    return [0] * missing + own


def span(array: Any) -> Any:
    """All memory from a view's first element to its last, flat."""
    size = 1 + sum((size - 1) * stride for size, stride in zip(array.shape, array.strides, strict=True)) // 4
    module = np if isinstance(array, np.ndarray) else import_cupy()
    return module.lib.stride_tricks.as_strided(array, (size,), (4,))


@device_function
def places(element, walk):
    """Where an element of a, of b and of y lies."""
    outer = uint32(element // uint32(walk.n4))
    i = uint32(element - outer * uint32(walk.n4))
    at_a, at_b, at_y = uint32(i * walk.a4), uint32(i * walk.b4), uint32(i * walk.y4)
    rest = uint32(outer // uint32(walk.n3))
    i = uint32(outer - rest * uint32(walk.n3))
    at_a, at_b, at_y = uint32(at_a + i * walk.a3), uint32(at_b + i * walk.b3), uint32(at_y + i * walk.y3)
    outer = uint32(rest // uint32(walk.n2))
    i = uint32(rest - outer * uint32(walk.n2))
    at_a, at_b, at_y = uint32(at_a + i * walk.a2), uint32(at_b + i * walk.b2), uint32(at_y + i * walk.y2)
    rest = uint32(outer // uint32(walk.n1))
    i = uint32(outer - rest * uint32(walk.n1))
    at_a = uint32(at_a + i * walk.a1 + rest * walk.a0)
    at_b = uint32(at_b + i * walk.b1 + rest * walk.b0)
    at_y = uint32(at_y + i * walk.y1 + rest * walk.y0)
    return at_a, at_b, at_y


@cuda_jit(FLOATS, FLOATS, FLOATS, int32, Walk, launch_bounds=THREADS)
def _combine(a, b, y, kind, walk):
    element = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if element < uint32(walk.elements):
        at_a, at_b, at_y = places(element, walk)
        v = a[at_a]
        if kind != COPY:
            w = b[at_b]
            if kind == ADD:
                v = v + w
            elif kind == SUBTRACT:
                v = v - w
            elif kind == MULTIPLY:
                v = v * w
            elif kind == DIVIDE:
                v = v / w
            elif kind == ROOT:
                v = math.sqrt(v)
                if v < w:
                    v = w
            elif kind == MAXIMUM:
                v = w if w > v or w != w else v  # a NaN of either
            elif kind == MINIMUM:
                v = w if w < v or w != w else v
            elif kind == EQUAL:
                v = float32(1) if v == w else float32(0)
            else:
                v = float32(0) if v == w else float32(1)
        y[at_y] = v
