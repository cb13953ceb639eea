"""Arrays as a kernel sees them, over flat memory: global, shared, local or constant."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastconv.testing.simulator.races import IntervalLog


class Array:
    """An array.

    Attributes:
        name, space: how messages call it; "global", "shared", "local" or "constant".
        shape, strides: strides in elements.
        data: the flat memory; element i of a lane is data[base[lane] + i].
        base: (lanes,) int, or None where all lanes have the same memory.
        ready: for each element of `data` whether it was written; None where it need not be.
        address: of data[0], in bytes, as far as sectors and banks go.
        alignment: bytes of which the array's own beginning is a multiple; of a global array that of its allocation.
        log: where accesses are noted, to find races; None: nowhere.
        offset, scale: element i of `data` is element offset + i * scale where accesses are noted: arrays may overlap.
        root: the array that this is a part of, or itself. Messages name its elements.
        read, written: for each element of `data` of a global array whether it was.
    """

    def __init__(self, name: str, space: str, shape: tuple[int, ...], data: np.ndarray, base: np.ndarray | None):
        self.name, self.space, self.shape, self.data, self.base = name, space, shape, data, base
        self.strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
        self.ready: np.ndarray | None = None
        self.address, self.offset, self.scale = 0, 0, 1
        self.alignment = data.dtype.itemsize
        self.log: IntervalLog | None = None
        self.read = self.written = np.zeros(0, bool)
        self.root = self

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def is_dense(self) -> bool:
        """Whether its elements are all that lies between the first and the last."""
        return self.base is not None or len(self.data) == self.size

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def start_of(self, lanes: Any) -> Any:
        """Where the array of these lanes begins in `data`."""
        return 0 if self.base is None else self.base[lanes]

    def part(self, index: tuple[Any, ...], lanes: int) -> Array:
        """The view that fewer indices, or slices with the same bounds in all threads, give.

        Raises:
            IndexError: a slice that is not simulated, or too many indices.
        """
        if len(index) > self.ndim:
            raise IndexError(f"{len(index)} indices for {self.name}, which has {self.ndim} dimensions")
        start: Any = 0 if self.base is None else self.base
        shape, strides = [], []
        for axis, i in enumerate((*index, *[slice(None)] * (self.ndim - len(index)))):
            if not isinstance(i, slice):
                start = start + i * self.strides[axis]
                continue
            if any(not isinstance(bound, (int, np.integer, type(None))) for bound in (i.start, i.stop, i.step)):
                raise IndexError("only slices with the same bounds in all threads are simulated")
            chosen = range(*i.indices(self.shape[axis]))
            start = start + chosen.start * self.strides[axis]
            shape.append(len(chosen))
            strides.append(chosen.step * self.strides[axis])
        made = copy.copy(self)
        made.shape, made.strides = tuple(shape), tuple(strides)
        made.base = np.broadcast_to(np.asarray(start, np.int64), lanes)
        return made

    def element_name(self, noted: int, lane: int) -> str:
        """How messages call the element that was noted under a number."""
        if self.root is not self:
            return self.root.element_name(noted, lane)
        left = (noted - self.offset) // self.scale - int(self.start_of(lane))
        index = [0] * self.ndim
        for axis in sorted(range(self.ndim), key=lambda axis: -self.strides[axis]):
            if self.strides[axis]:
                index[axis] = min(left // self.strides[axis], self.shape[axis] - 1)
                left -= index[axis] * self.strides[axis]
        return f"{self.name}[{', '.join(map(str, index))}]"


def global_array(name: str, array: np.ndarray) -> Array:
    """The array's own memory: what the kernel writes is written there."""
    item = array.itemsize
    if any(stride < 0 or stride % item for stride in array.strides):
        raise ValueError(f"simulate: argument {name} has strides {array.strides}; they must be multiples of {item}.")
    span = 1 + sum((n - 1) * s // item for n, s in zip(array.shape, array.strides, strict=True)) if array.size else 0
    flat = np.lib.stride_tricks.as_strided(array, (span,), (item,), writeable=array.flags.writeable)
    made = Array(name, "global", array.shape, flat, None)
    made.strides = tuple(stride // item for stride in array.strides)
    whole = array
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    # A device allocation begins on a multiple of 256 bytes: so does the whole that this may be a part of.
    made.address = array.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    made.alignment = 256
    made.read, made.written = np.zeros(span, bool), np.zeros(span, bool)
    return made


def constant_array(array: np.ndarray) -> Array:
    return Array("constant array", "constant", array.shape, array.reshape(-1).copy(), None)
