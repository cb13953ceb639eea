"""A limit to the weights that layers create: a file may not ask for more than it can fill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_left: ContextVar[list[int] | None] = ContextVar("_left", default=None)


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
