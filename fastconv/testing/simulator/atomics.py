"""`cuda.atomic`."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.testing.simulator.functions import Place
from fastconv.testing.simulator.memory import Update
from fastconv.testing.simulator.values import Number


def _operation(update: Update, flops: int = 0) -> Any:
    def run(self: Atomic, place: Place, array: Any, index: Any, value: Number) -> Number:
        before = place.interpreter.memory.update(array, index, value, update, place.mask, place.site)
        if flops:
            place.interpreter.count_flops(before, place.mask, place.site, flops)
        return before

    run.is_intrinsic = True  # type: ignore[attr-defined]
    return run


class Atomic:
    """Each function gives the old value, as Numba's do."""

    is_simulated = True

    add = _operation(lambda old, value: old + value, flops=1)
    sub = _operation(lambda old, value: old - value, flops=1)
    max = _operation(np.maximum)
    min = _operation(np.minimum)
    nanmax = _operation(np.fmax)
    nanmin = _operation(np.fmin)
    exch = _operation(lambda old, value: value)
    and_ = _operation(np.bitwise_and)
    or_ = _operation(np.bitwise_or)
    xor = _operation(np.bitwise_xor)
    inc = _operation(lambda old, limit: np.where(old >= limit, 0, old + 1))
    dec = _operation(lambda old, limit: np.where((old == 0) | (old > limit), limit, old - 1))

    def cas(self, place: Place, array: Any, index: Any, expected: Number, value: Number) -> Number:
        """Store `value` where the element is `expected`."""
        memory, mask = place.interpreter.memory, place.mask
        pair = np.empty(mask.lanes.size, [("expected", array.dtype), ("value", array.dtype)])
        pair["expected"], pair["value"] = expected, value
        return memory.update(array, index, pair, _compare_and_swap, mask, place.site)

    def compare_and_swap(self, place: Place, array: Any, expected: Number, value: Number) -> Number:
        return self.cas(place, array, 0, expected, value)

    cas.is_intrinsic = compare_and_swap.is_intrinsic = True  # type: ignore[attr-defined]


def _compare_and_swap(old: np.ndarray, pair: np.ndarray) -> np.ndarray:
    return np.where(old == pair["expected"], pair["value"], old)
