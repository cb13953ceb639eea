"""Arrays with poisoned memory round them, so that access out of bounds shows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.buffers import aligned_bytes
from fastconv.utils.optional import require

_GUARD_BYTES = 1024
_POISON = 0xFF  # four or eight of these bytes are a NaN


class Guarded:
    """An uninitialised array, all NaN, between two guards of NaN.

    Attributes:
        array: C-contiguous, of `shape` and `dtype`. It begins `offset` bytes after a cache line does: one element, for
            arrays that a user may pass, shows a kernel that expects more of them than alignment to an element.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, offset: int | None = None) -> None:
        dtype = np.dtype(dtype)
        begin = _GUARD_BYTES + (dtype.itemsize if offset is None else offset)
        end = begin + math.prod(shape) * dtype.itemsize
        block = aligned_bytes(end + _GUARD_BYTES)
        block.fill(_POISON)
        self._guards = block[:begin], block[end:]
        self._block = block
        self._gpu_block: Any = None
        self.array = block[begin:end].view(dtype).reshape(shape)

    @classmethod
    def copy_of(cls, array: np.ndarray, offset: int | None = None) -> Guarded:
        """A copy of `array` between guards."""
        guarded = cls(array.shape, array.dtype, offset)
        guarded.array[...] = array
        return guarded

    def to_gpu(self) -> Any:
        """The array on the GPU, as CuPy's, between copies of the guards."""
        self._gpu_block = require("cupy", extra="cuda13").asarray(self._block)
        begin = self._guards[0].size
        return self._gpu_block[begin : begin + self.array.nbytes].view(self.array.dtype).reshape(self.array.shape)

    def from_gpu(self) -> None:
        """Bring back what `to_gpu` took there, once all work is done."""
        self._block[...] = require("cupy", extra="cuda13").asnumpy(self._gpu_block)

    def violation(self) -> str | None:
        """Where something was written beside the array, or None."""
        before, after = self._guards
        for side, guard in (("before", before[::-1]), ("after", after)):
            written = guard != _POISON
            if written.any():
                places = np.flatnonzero(written)
                return f"{len(places)} bytes {side} the array were written, the nearest {places[0]} bytes away"
        return None
