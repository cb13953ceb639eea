"""`Cuda`: what stands for `numba.cuda` in a simulated kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.testing.simulator import barriers, values, warps
from fastconv.testing.simulator.arrays import Array, constant_array
from fastconv.testing.simulator.atomics import Atomic
from fastconv.testing.simulator.batch import Batch, Dim3
from fastconv.testing.simulator.functions import Place
from fastconv.testing.simulator.private import Local, Shared
from fastconv.testing.simulator.values import Number

_ALL = 0xFFFFFFFF


def intrinsic(function: Callable[..., Any]) -> Any:
    """Mark a function that is called with the place of the call."""
    function.is_intrinsic = True  # type: ignore[attr-defined]
    return function


class Const:
    """Constant memory: cached apart from global memory, so its loads are not counted."""

    is_simulated = True

    def __init__(self) -> None:
        self.arrays: dict[int, Array] = {}

    @intrinsic
    def array_like(self, place: Place, array: Any) -> Array:
        return array if isinstance(array, Array) else self.global_array(np.asarray(array))

    def global_array(self, array: np.ndarray) -> Array:
        """An array among a kernel's globals: Numba makes a constant of it."""
        return self.arrays.setdefault(id(array), constant_array(array))


class Cuda:
    """numba.cuda, for the threads of a batch."""

    is_simulated = True
    warpsize = 32

    def __init__(self, batch: Batch, shared: Shared, local: Local):
        self.batch, self.shared, self.local, self.const, self.atomic = batch, shared, local, Const(), Atomic()
        self.threadIdx, self.blockIdx = batch.thread_index, batch.block_index
        self.blockDim, self.gridDim = Dim3(*batch.block_dim), Dim3(*batch.grid)
        self.laneid = batch.lane_id

    @intrinsic
    def grid(self, place: Place, ndim: int) -> Any:
        b, t, n = self.batch.block_index, self.batch.thread_index, self.batch.block_dim
        found = (b.x * n[0] + t.x, b.y * n[1] + t.y, b.z * n[2] + t.z)
        return found[0] if ndim == 1 else found[:ndim]

    @intrinsic
    def gridsize(self, place: Place, ndim: int) -> Any:
        found = tuple(a * b for a, b in zip(self.batch.block_dim, self.batch.grid, strict=True))
        return found[0] if ndim == 1 else found[:ndim]

    # Barriers and fences

    @intrinsic
    def syncthreads(self, place: Place) -> None:
        barriers.sync(place, "syncthreads")

    @intrinsic
    def syncthreads_count(self, place: Place, predicate: Number) -> np.ndarray:
        return barriers.reduce(place, "syncthreads_count", predicate, lambda yes, all_: yes.sum(axis=1))

    @intrinsic
    def syncthreads_and(self, place: Place, predicate: Number) -> np.ndarray:
        return barriers.reduce(
            place, "syncthreads_and", predicate, lambda yes, all_: np.logical_and.reduce(yes | ~all_, axis=1)
        )

    @intrinsic
    def syncthreads_or(self, place: Place, predicate: Number) -> np.ndarray:
        return barriers.reduce(place, "syncthreads_or", predicate, lambda yes, all_: np.logical_or.reduce(yes, axis=1))

    @intrinsic
    def threadfence(self, place: Place) -> None:
        place.interpreter.memory.fences.fence(self.batch.first + np.unique(self.batch.block[place.mask.index]))

    threadfence_system = threadfence

    @intrinsic
    def threadfence_block(self, place: Place) -> None:
        """Orders accesses of one thread, which are never reordered here; it does not order threads."""

    @intrinsic
    def nanosleep(self, place: Place, nanoseconds: Number) -> None:
        """Nothing."""

    # Warps

    @intrinsic
    def syncwarp(self, place: Place, mask: Number = _ALL) -> None:
        warps.sync(place, mask)

    @intrinsic
    def shfl_sync(self, place: Place, mask: Number, value: Number, source: Number) -> np.ndarray:
        return warps.shuffle(place, mask, value, self._rows(source) & 31, "shfl_sync")

    @intrinsic
    def shfl_up_sync(self, place: Place, mask: Number, value: Number, delta: Number) -> np.ndarray:
        return warps.shuffle(place, mask, value, self._rows(self.laneid - delta), "shfl_up_sync")

    @intrinsic
    def shfl_down_sync(self, place: Place, mask: Number, value: Number, delta: Number) -> np.ndarray:
        return warps.shuffle(place, mask, value, self._rows(self.laneid + delta), "shfl_down_sync")

    @intrinsic
    def shfl_xor_sync(self, place: Place, mask: Number, value: Number, bits: Number) -> np.ndarray:
        return warps.shuffle(place, mask, value, self._rows(self.laneid ^ bits), "shfl_xor_sync")

    @intrinsic
    def all_sync(self, place: Place, mask: Number, predicate: Number) -> np.ndarray:
        active, yes = warps.vote(place, mask, values.truth(predicate), "all_sync")
        return warps.to_lanes((yes | ~active).all(axis=1))

    @intrinsic
    def any_sync(self, place: Place, mask: Number, predicate: Number) -> np.ndarray:
        active, yes = warps.vote(place, mask, values.truth(predicate), "any_sync")
        return warps.to_lanes((yes & active).any(axis=1))

    @intrinsic
    def eq_sync(self, place: Place, mask: Number, predicate: Number) -> np.ndarray:
        active, yes = warps.vote(place, mask, values.truth(predicate), "eq_sync")
        return warps.to_lanes((yes | ~active).all(axis=1) | ~(yes & active).any(axis=1))

    @intrinsic
    def ballot_sync(self, place: Place, mask: Number, predicate: Number) -> np.ndarray:
        active, yes = warps.vote(place, mask, values.truth(predicate), "ballot_sync")
        return warps.to_lanes(warps.ballot(yes & active))

    @intrinsic
    def match_any_sync(self, place: Place, mask: Number, value: Number) -> np.ndarray:
        active, rows = warps.vote(place, mask, value, "match_any_sync")
        equal = (rows[:, :, None] == rows[:, None, :]) & active[:, None, :]
        return warps.ballot(equal.reshape(-1, 32))

    @intrinsic
    def activemask(self, place: Place) -> np.ndarray:
        return warps.to_lanes(warps.ballot(place.mask.warps))

    @intrinsic
    def lanemask_lt(self, place: Place) -> np.ndarray:
        return (np.left_shift(1, self.laneid) - 1).astype(np.int32)

    def _rows(self, lanes: Number) -> np.ndarray:
        return np.broadcast_to(np.asarray(values.cast(lanes, values.INT64)), self.batch.lanes).reshape(-1, 32)

    # Arithmetic

    @intrinsic
    def fma(self, place: Place, a: Number, b: Number, c: Number) -> Number:
        result = values.plain(values.fma(a, b, c))
        place.interpreter.count_flops(result, place.mask, place.site, each=2)
        return result

    @intrinsic
    def cbrt(self, place: Place, value: Number) -> Number:
        place.interpreter.count_flops(value, place.mask, place.site)
        return values.plain(np.cbrt(value))

    @intrinsic
    def selp(self, place: Place, condition: Number, a: Number, b: Number) -> Number:
        condition = values.truth(condition)
        return values.choose(condition, a, b) if values.varies(condition) else a if condition else b

    @intrinsic
    def popc(self, place: Place, value: Number) -> Number:
        return _of_bits(value, lambda bits, size: np.bitwise_count(bits))

    @intrinsic
    def clz(self, place: Place, value: Number) -> Number:
        return _of_bits(value, lambda bits, size: size - _length(bits))

    @intrinsic
    def ffs(self, place: Place, value: Number) -> Number:
        """The place of the lowest bit that is set, from 1 on; 0 if none is."""
        return _of_bits(value, lambda bits, size: _length(bits & (~bits + bits.dtype.type(1))))

    @intrinsic
    def brev(self, place: Place, value: Number) -> Number:
        """The bits in reverse, in the type of the value."""
        dtype = values.type_of(value)
        bits = np.atleast_1d(np.asarray(value, dtype)).view(f"u{dtype.itemsize}")
        size = dtype.type(0).itemsize * 8
        result = np.zeros_like(bits)
        for i in range(size):
            result |= (bits >> bits.dtype.type(i) & bits.dtype.type(1)) << bits.dtype.type(size - 1 - i)
        result = result.view(dtype)
        return result if values.varies(value) else values.plain(result[0])


def _of_bits(value: Number, function: Callable[[np.ndarray, int], Any]) -> Number:
    """A function of the bits of an integer of 32 or 64 bits."""
    dtype = values.type_of(value)
    size = 32 if dtype.itemsize <= 4 else 64
    bits = np.asarray(values.cast(values.cast(value, np.dtype(f"i{size // 8}")), np.dtype(f"u{size // 8}")))
    result = np.asarray(function(bits, size)).astype(np.int64)
    return result if values.varies(value) else int(result)


def _length(bits: np.ndarray) -> np.ndarray:
    """How many bits are left when leading zeros are dropped."""
    halves = [
        np.asarray(bits >> bits.dtype.type(shift), np.uint64).astype(np.uint32)
        for shift in (0, *[32] * (bits.itemsize == 8))
    ]
    lengths = [np.frexp(half.astype(np.float64))[1] for half in halves]
    return np.where(halves[-1] > 0, lengths[-1] + 32, lengths[0]) if len(halves) == 2 else lengths[0]
