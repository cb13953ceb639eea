"""`Parts`: the arrays of a batch for a model with several inputs or outputs, handled as one array is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np


class Parts:
    """One array for each input, or output, of a model; all with the same samples. None stands for a missing one.

    Raises:
        ValueError: they have different numbers of samples.
    """

    def __init__(self, arrays: Sequence[Any]) -> None:
        self.arrays = list(arrays)
        lengths = {len(array) for array in self.arrays if array is not None}
        if len(lengths) > 1:
            raise ValueError(f"all arrays must have the same number of samples; received {sorted(lengths)}.")

    def __len__(self) -> int:
        """The number of samples."""
        return next((len(array) for array in self.arrays if array is not None), 0)

    def __iter__(self) -> Iterator[Any]:
        """The arrays."""
        return iter(self.arrays)

    def __getitem__(self, rows: Any) -> Parts:
        """These samples of each."""
        return self.map(lambda array: array[rows])

    def map(self, change: Callable[[Any], Any]) -> Parts:
        """`change(array)` of each; None stays."""
        return Parts([None if array is None else change(array) for array in self.arrays])

    @property
    def shape(self) -> list[Any]:
        """The shape of each."""
        return [array.shape for array in self.arrays]


def each(value: Any) -> list[Any]:
    """The arrays of `value`, which may be one."""
    return value.arrays if isinstance(value, Parts) else [value]


def batch_shape(x: np.ndarray | Parts) -> Any:
    """The shape of a batch of any size like `x`; a list of shapes for several arrays."""
    shapes = [(None, *array.shape[1:]) for array in each(x)]
    return shapes if isinstance(x, Parts) else shapes[0]
