"""What a regularizer adds to a program: its part of the loss, and the slope of that."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import config
from fastconv.gpu.program import Recorder
from fastconv.kernels import cuda_penalties
from fastconv.regularizers import L1, L1L2, L2, OrthogonalRegularizer


def unsupported(*regularizers: Any) -> str | None:
    """Why the first that cannot run on a GPU cannot, or None; None stands for no regularizer."""
    for regularizer in regularizers:
        if regularizer is not None and type(regularizer) not in (L1, L2, L1L2, OrthogonalRegularizer):
            return f"the regularizer {type(regularizer).__name__} is for the CPU"
    return None


class Penalty:
    """A regularizer of an array.

    Args:
        value: the array: a weight, or a layer's output.
        parts: what the penalty is divided by.

    Raises:
        ValueError: the regularizer is not for an array of that shape.
    """

    def __init__(self, recorder: Recorder, regularizer: Any, value: Any, parts: int = 1) -> None:
        self._recorder, self._regularizer, self._value, self._parts = recorder, regularizer, value, parts
        self._shares = recorder.memory.zeros((cuda_penalties.SHARES,))
        self._is_orthogonal = type(regularizer) is OrthogonalRegularizer
        if self._is_orthogonal:
            regularizer(np.ones(value.shape, np.float32))  # refuses what is no such matrix
            self._by_rows = regularizer.mode == "rows"
            rows = value.shape[0 if self._by_rows else 1]
            self._factor = regularizer.factor / (rows * (rows - 1) * parts)
            self._norms, self._cosines = recorder.memory.zeros((rows,)), recorder.memory.zeros((rows, rows))
            self._scratch = recorder.memory.zeros((value.size,))

    def record(self, totals: Any, row: Any, column: int) -> None:
        """Write down: the penalty into totals[row, column]."""
        value, (l1, l2) = self._value, self._factors()
        if self._is_orthogonal:
            arrays = self._norms, self._cosines
            self._recorder.add(cuda_penalties.cosines(value, self._by_rows, *arrays, config.epsilon()))
            value, l1, l2 = self._cosines, self._factor, 0.0
        self._recorder.add(cuda_penalties.penalty(value, l1, l2, self._shares, totals, row, column))

    def add_slope(self, gradient: Any) -> None:
        """Write down: the slope, added to `gradient`; `record` comes before."""
        if self._is_orthogonal:
            arrays = self._norms, self._cosines, self._scratch, gradient
            self._recorder.add(cuda_penalties.turn_apart(self._value, self._by_rows, *arrays, 2 * self._factor))
        else:
            self._recorder.add(cuda_penalties.penalise(self._value, gradient, *self._factors()))

    def _factors(self) -> tuple[float, float]:
        regularizer, parts = self._regularizer, self._parts
        return getattr(regularizer, "l1", 0.0) / parts, getattr(regularizer, "l2", 0.0) / parts
