"""What an optimizer keeps for each variable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastconv.variable import Variable


@dataclass
class State:
    """What the optimizer keeps for one variable.

    Attributes:
        slots: by name. average, accumulated: see `use_ema` and `gradient_accumulation_steps`.
        scratches: memory of its shape to compute in, shared by all variables of a dtype.
        excluded: whether weight decay leaves it alone.
    """

    slots: dict[str, np.ndarray]
    scratches: tuple[np.ndarray, ...]
    excluded: bool
    average: Variable | None = None
    accumulated: Variable | None = None
    _gradient: np.ndarray | None = None

    @property
    def gradient(self) -> np.ndarray:
        """Memory of its own for a gradient that is changed before the step; there once it has been asked for."""
        if self._gradient is None:
            self._gradient = np.empty_like(self.scratch)
        return self._gradient

    @property
    def scratch(self) -> np.ndarray:
        return self.scratches[0]


def beside(variable: Variable, name: str, value: np.ndarray | None = None) -> Variable:
    """State of `variable`'s shape, zero unless `value` is given, under the name that Keras saves it by."""
    value = np.zeros_like(variable.value) if value is None else value
    return Variable(value, f"{variable.path.replace('/', '_')}_{name}", trainable=False)


def by_dtype(variables: Sequence[Variable]) -> list[Sequence[int]]:
    """Places of the variables of each dtype, which are updated together."""
    dtypes = dict.fromkeys(variable.dtype for variable in variables)
    if len(dtypes) == 1:
        return [range(len(variables))]
    return [[i for i, variable in enumerate(variables) if variable.dtype == dtype] for dtype in dtypes]
