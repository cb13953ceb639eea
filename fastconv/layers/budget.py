"""What memory new weights may take: no more than a file can fill, or none, to see how large a model would be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_left: ContextVar[list[int] | None] = ContextVar("_left", default=None)
_shapes_only = ContextVar("_shapes_only", default=False)


@contextmanager
def weight_budget(elements: int) -> Iterator[None]:
    """Layers built in the block may have that many elements of weights, all together."""
    token = _left.set([elements])
    try:
        yield
    finally:
        _left.reset(token)


def spend(elements: int) -> None:
    """Called before memory is taken for a weight; ValueError if there is a budget and it does not suffice."""
    left = _left.get()
    if left is None:
        return
    if elements > left[0]:
        raise ValueError("its layers have more weights than the file can hold.")
    left[0] -= elements


@contextmanager
def shapes_only() -> Iterator[None]:
    """Within it new weights take no memory: they have shapes, are 0 and cannot be written.

    For whoever wants to know how large a model is before it is made.
    """
    token = _shapes_only.set(True)
    try:
        yield
    finally:
        _shapes_only.reset(token)


def only_shapes() -> bool:
    """Whether this is within `shapes_only`."""
    return _shapes_only.get()
