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
        gradient: memory of its own for a gradient that is changed before the step; None where none is.
    """

    slots: dict[str, np.ndarray]
    scratches: tuple[np.ndarray, ...]
    gradient: np.ndarray | None
    decays: bool
    average: Variable | None = None
    accumulated: Variable | None = None

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
