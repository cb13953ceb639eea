"""`Frame`: the variables of one call of a function, and the threads still in it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.testing.simulator import values
from fastconv.testing.simulator.arrays import Array
from fastconv.testing.simulator.errors import SimulationError
from fastconv.testing.simulator.masks import NOBODY, Mask
from fastconv.testing.simulator.source import Site


@dataclass
class Loop:
    """The threads that have left a loop by `break`, and those that have left this turn by `continue`."""

    broken: Mask = NOBODY
    continued: Mask = NOBODY


class Frame:
    """The variables of a call. Each has a value and the threads that it was assigned in."""

    def __init__(self, arguments: dict[str, Any], mask: Mask):
        self.variables: dict[str, tuple[Any, Mask]] = {name: (value, mask) for name, value in arguments.items()}
        self.entered = self.alive = mask.count
        self.returned = NOBODY
        self.result: Any = None
        self.loops: list[Loop] = []

    def unset(self, name: str, mask: Mask) -> np.ndarray | None:
        """The lanes of `mask` that have not set a variable; None where that is none."""
        _, before = self.variables[name]
        if before is mask or before.count == self.entered:
            return None
        lanes = mask.lanes & ~before.lanes
        return np.flatnonzero(lanes) if lanes.any() else None

    def assign(self, name: str, value: Any, mask: Mask, site: Site) -> None:
        """Set a variable in the threads of `mask`.

        The old value is overwritten where nobody can still want it: no other thread is in the function, or none has
        assigned it. That keeps a loop counter a plain number inside of an `if`.
        """
        if mask.count < self.alive and name in self.variables:
            old, before = self.variables[name]
            if not before.same_set(mask):
                value, mask = _merge(value, old, mask, site), before.union(mask)
        self.variables[name] = value, mask

    def leave(self, value: Any, mask: Mask, site: Site) -> None:
        """The threads of `mask` return."""
        self.result = value if not self.returned else _merge(value, self.result, mask, site)
        self.returned = self.returned.union(mask)
        self.alive -= mask.count


def _merge(new: Any, old: Any, mask: Mask, site: Site) -> Any:
    """`new` in the threads of `mask`, `old` in the others."""
    if values.same(new, old):
        return new
    if values.is_number(new) and values.is_number(old):
        return values.choose(mask.lanes, new, old)
    if isinstance(new, tuple) and isinstance(old, tuple) and len(new) == len(old):
        return tuple(_merge(a, b, mask, site) for a, b in zip(new, old, strict=True))
    if isinstance(new, Array) and isinstance(old, Array):
        if (new.root, new.shape, new.strides) == (old.root, old.shape, old.strides):
            merged = copy.copy(new)
            merged.base = np.where(mask.lanes, new.start_of(...), old.start_of(...))
            return merged
    raise SimulationError("threads have something different here, and it is no number: that is not simulated.", site)
