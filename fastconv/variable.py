"""A named array that training changes in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class Variable:
    """A weight of a layer or a slot of an optimizer.

    Attributes:
        value: the array. Its identity never changes; `assign` writes into it. Where a GPU has newer values they are
            fetched when this is read; an array kept from before a step there is out of date.
        gradient: array of `value`'s shape and dtype that a layer's `backward` overwrites; None before the
            first backward pass and always None where `trainable` is False.
        trainable: whether the optimizer updates it.
        regularizer, constraint: callables as in `fastconv.regularizers` / `fastconv.constraints`, or None.
        mirror: what keeps a copy on a GPU, or None; `unmirrored` is the array without a look at it.
        name: the name within its layer ("kernel"); `path` has the layer's name before it ("conv2d/kernel").
    """

    def __init__(
        self,
        value: np.ndarray,
        name: str = "variable",
        trainable: bool = True,
        regularizer: Any = None,
        constraint: Callable[[np.ndarray], np.ndarray] | None = None,
        path: str | None = None,
    ) -> None:
        self.unmirrored = value
        self.mirror: Any = None
        self.gradient: np.ndarray | None = None
        self.name = name
        self.path = path or name
        self.trainable = trainable
        self.regularizer = regularizer
        self.constraint = constraint

    @property
    def value(self) -> np.ndarray:
        if self.mirror is not None:
            self.mirror.fetch()
        return self.unmirrored

    @value.setter
    def value(self, value: np.ndarray) -> None:
        if value is not self.unmirrored:  # as it is after `variable.value += 1`
            self.assign(value)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.unmirrored.shape

    @property
    def dtype(self) -> np.dtype:
        return self.unmirrored.dtype

    def numpy(self) -> np.ndarray:
        """A copy of the value."""
        return self.value.copy()

    def assign(self, value: Any) -> Variable:
        """Write `value` (same shape) into the variable.

        Raises:
            ValueError: the shapes differ; the variable is unchanged.
        """
        value = np.asarray(value)
        if value.shape != self.value.shape:
            raise ValueError(
                f"{self.path}: cannot assign an array of shape {value.shape} to a variable of shape {self.shape}."
            )
        self.value[...] = value
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "unmirrored": self.value, "mirror": None}  # a copy has none on a GPU yet

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False and dtype is not None and np.dtype(dtype) != self.dtype:
            raise ValueError(f"{self.path}: a conversion from {self.dtype} to {np.dtype(dtype)} needs a copy.")
        return self.value if copy is False else self.value.astype(dtype or self.dtype)

    def __repr__(self) -> str:
        return f"<Variable path={self.path}, shape={self.shape}, dtype={self.dtype.name}, trainable={self.trainable}>"
