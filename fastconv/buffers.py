"""Where layers take the memory of their outputs and gradients from.

A model in training keeps one `ReusedBuffers`: from the second batch on a step allocates nothing. A layer called by
hand gets new arrays, `FRESH`, so that nothing it returned before is overwritten.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

_ALIGNMENT_BYTES = 64


def aligned_bytes(count: int) -> np.ndarray:
    """`count` uninitialised bytes, uint8, that begin on a cache line."""
    block = np.empty(count + _ALIGNMENT_BYTES, np.uint8)
    start = -block.ctypes.data % _ALIGNMENT_BYTES
    return block[start : start + count]


class Buffers(Protocol):
    """`empty(owner, name, shape, dtype)`: an uninitialised C-contiguous array for that use of that layer."""

    def empty(self, owner: object, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray: ...


class FreshBuffers:
    """A new array at every call."""

    def empty(self, owner: object, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.empty(shape, dtype)


class ReusedBuffers:
    """The same memory for the same owner and name at every call, as large as the largest batch so far."""

    def __init__(self) -> None:
        self._blocks: dict[tuple[int, str], np.ndarray] = {}
        self._views: dict[tuple[int, str, tuple[int, ...], str], np.ndarray] = {}

    def empty(self, owner: object, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        view = self._views.get((id(owner), name, shape, str(dtype)))
        if view is None:
            count = math.prod(shape) * np.dtype(dtype).itemsize
            block = self._blocks.get((id(owner), name))
            if block is None or block.size < count:
                block = self._blocks[id(owner), name] = aligned_bytes(count)
                self._views = {key: view for key, view in self._views.items() if key[:2] != (id(owner), name)}
            view = self._views[id(owner), name, shape, str(dtype)] = block[:count].view(dtype).reshape(shape)
        return view


FRESH = FreshBuffers()
