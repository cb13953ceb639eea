"""Rows along some axes of an array in a program, as the kernels that look at whole rows want them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastconv.gpu.recorded import Recorded
from fastconv.kernels.cuda_units import Units, units_of
from fastconv.layers.layout import in_memory


class Along:
    """An array seen as rows: each along all of `axes`.

    Where its memory can be walked through as it is, nothing moves; else a copy has the axes at its end.

    Attributes:
        rows: where their elements lie, in what `memory` gives.
        columns: the same with sums and terms the other way round: a sum for each place in a row.

    Args:
        owner: writes copies down.
        axes: of x, from either end.
        in_order: whether a row's elements must be in the order of x's axes, where memory has another.
        at_end: whether the axes must be the last ones in memory.
    """

    def __init__(
        self, owner: Recorded, x: Any, axes: Sequence[int], in_order: bool = False, at_end: bool = False
    ) -> None:
        self._owner = owner
        along = sorted({axis % x.ndim for axis in axes})
        others = [axis for axis in range(x.ndim) if axis not in along]
        is_first = in_memory(x) is not x  # channels first, in memory last
        self._order = (0, *range(2, x.ndim), 1) if is_first else tuple(range(x.ndim))
        places = [self._order.index(axis) for axis in along]
        turned = (in_order and places != sorted(places)) or (at_end and min(places) < len(others))
        if turned or not in_memory(x).flags.c_contiguous or not self._found(in_memory(x).shape, places):
            self._order = (*others, *along)
            self._found([x.shape[axis] for axis in self._order], range(len(others), x.ndim))

    def memory(self, array: Any) -> Any:
        """An array of x's shape in the order of `rows`: the same memory where that can be."""
        return self._owner.contiguous(array.transpose(self._order))

    def back(self, memory: Any) -> Any:
        """The opposite view, in memory as layers expect it."""
        array = memory.transpose(*map(self._order.index, range(memory.ndim)))
        return array if in_memory(array).flags.c_contiguous else self._owner.contiguous(array)

    def _found(self, shape: Sequence[int], along: Sequence[int]) -> bool:
        others = [axis for axis in range(len(shape)) if axis not in along]
        try:
            self.rows: Units = units_of(shape, along)
            self.columns: Units = units_of(shape, others)
        except ValueError:  # too mixed
            return False
        return True
