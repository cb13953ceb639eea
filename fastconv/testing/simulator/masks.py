"""`Mask`: which threads execute a statement."""

from __future__ import annotations

import functools

import numpy as np

from fastconv.testing.simulator import values
from fastconv.testing.simulator.values import Number

WARP = 32


class Mask:
    """A set of threads of the batch. It never changes, so what is worked out from it is kept with it."""

    def __init__(self, lanes: np.ndarray, count: int | None = None):
        self.lanes = lanes  # (lanes,) bool
        self.count = int(np.count_nonzero(lanes)) if count is None else count

    def __bool__(self) -> bool:
        return self.count > 0

    @functools.cached_property
    def full(self) -> bool:
        """Whether it is every lane: then values need not be picked out."""
        return self.count == self.lanes.size

    @functools.cached_property
    def index(self) -> np.ndarray:
        return np.flatnonzero(self.lanes)

    @functools.cached_property
    def warps(self) -> np.ndarray:
        """(warps, 32) bool."""
        return self.lanes.reshape(-1, WARP)

    @functools.cached_property
    def active_warps(self) -> np.ndarray:
        """(warps,) bool: whether any lane of the warp is in the set."""
        return np.logical_or.reduce(self.warps, axis=1)

    def pick(self, value: Number) -> Number:
        """The value in the threads of the set alone."""
        return value[self.index] if isinstance(value, np.ndarray) and not self.full else value

    def spread(self, values_: np.ndarray) -> np.ndarray:
        """The opposite of `pick`: zeros in the other threads."""
        if self.full:
            return values_
        spread = np.zeros(self.lanes.size, values_.dtype)
        spread[self.index] = values_
        return spread

    def split(self, condition: Number) -> tuple[Mask, Mask]:
        """The threads for which the condition holds, and the others."""
        condition = values.truth(condition)
        if not isinstance(condition, np.ndarray):
            return (self, NOBODY) if condition else (NOBODY, self)
        yes = condition if self.full else condition & self.lanes
        count = int(np.count_nonzero(yes))
        if count == self.count:  # the same object where it is the same set: see Frame.assign
            return self, NOBODY
        if count == 0:
            return NOBODY, self
        return Mask(yes, count), Mask(self.lanes & ~yes, self.count - count)

    def union(self, other: Mask) -> Mask:
        if not other or other is self:
            return self
        return Mask(self.lanes | other.lanes) if self else other

    def without(self, other: Mask) -> Mask:
        return Mask(self.lanes & ~other.lanes) if other else self

    def same_set(self, other: Mask) -> bool:
        return self is other or (self.count == other.count and np.array_equal(self.lanes, other.lanes))


NOBODY = Mask(np.zeros(0, bool))
