"""Penalties on weights or outputs: `regularizer(x) -> float`, and its derivative `gradient(x) -> array`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastconv import config
from fastconv.serialization import Configurable, Table, as_float


class Regularizer(Configurable):
    """Base class: a subclass defines `__call__(x) -> float` and `gradient(x) -> array` like x."""

    def __call__(self, x: Any) -> float:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(x).")

    def gradient(self, x: Any) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must define gradient(x).")


class L1L2(Regularizer):
    """l1 * sum(|x|) + l2 * sum(x ** 2); ValueError for factors that are not finite and non-negative."""

    config_keys: tuple[str, ...] = ("l1", "l2")

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0) -> None:
        self.l1 = _factor("l1", 0.0 if l1 is None else l1)
        self.l2 = _factor("l2", 0.0 if l2 is None else l2)

    def __call__(self, x: Any) -> float:
        x = as_float(x)
        penalty = 0.0
        if self.l1:
            penalty += self.l1 * float(np.abs(x).sum())
        if self.l2:
            penalty += self.l2 * float(np.square(x).sum())
        return penalty

    def gradient(self, x: Any) -> np.ndarray:
        x = as_float(x)
        gradient = (2 * self.l2) * x
        if self.l1:
            gradient += self.l1 * np.sign(x)
        return gradient


class L1(L1L2):
    """l1 * sum(|x|)."""

    config_keys = ("l1",)

    def __init__(self, l1: float | None = 0.01) -> None:
        super().__init__(l1=0.01 if l1 is None else l1)


class L2(L1L2):
    """l2 * sum(x ** 2)."""

    config_keys = ("l2",)

    def __init__(self, l2: float | None = 0.01) -> None:
        super().__init__(l2=0.01 if l2 is None else l2)


class OrthogonalRegularizer(Regularizer):
    """`factor` times the mean absolute cosine between two different rows (or columns) of a matrix.

    Raises:
        ValueError: `mode` is something else; on call, x is not a matrix with at least two of them.
    """

    config_keys = ("factor", "mode")

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        self.factor = _factor("factor", factor)
        if mode not in ("rows", "columns"):
            raise ValueError(f'mode must be "rows" or "columns", not {mode!r}.')
        self.mode = mode

    def __call__(self, x: Any) -> float:
        _, unit, pairs = self._unit_rows(x)
        return self.factor * float(np.abs(_off_diagonal(unit @ unit.T)).sum()) / (2 * pairs)

    def gradient(self, x: Any) -> np.ndarray:
        norm, unit, pairs = self._unit_rows(x)
        by_unit = (self.factor / pairs) * (_off_diagonal(np.sign(unit @ unit.T)) @ unit)
        # Growing a row along itself does not change its direction.
        gradient = (by_unit - unit * (by_unit * unit).sum(axis=1, keepdims=True)) / norm
        return gradient if self.mode == "rows" else np.ascontiguousarray(gradient.T)

    def _unit_rows(self, x: Any) -> tuple[np.ndarray, np.ndarray, float]:
        """Norms (n, 1) and directions (n, m) of the n rows or columns, and the number of pairs of them."""
        x = as_float(x)
        rows = x if self.mode == "rows" else x.T
        if x.ndim != 2 or len(rows) < 2:
            raise ValueError(f"OrthogonalRegularizer needs a matrix with two {self.mode} or more, not {x.shape}.")
        norm = np.maximum(np.sqrt(np.square(rows).sum(axis=1, keepdims=True)), config.epsilon())
        return norm, rows / norm, len(rows) * (len(rows) - 1) / 2


def _off_diagonal(matrix: np.ndarray) -> np.ndarray:
    np.fill_diagonal(matrix, 0)
    return matrix


def _factor(name: str, value: float) -> float:
    if not isinstance(value, (int, float, np.number)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be a finite non-negative number, not {value!r}.")
    return float(value)


_TABLE = Table("keras.regularizers", "regularizer", (L1, L1L2, L2, OrthogonalRegularizer))


def get(identifier: Any) -> Any:
    """The regularizer of a name ("l1", "l2", "l1l2", ...), config, class or object; None for None.

    Raises:
        ValueError: unknown name or bad config.
        TypeError: an object that is not callable or has no `gradient`, such as a bare function.
    """
    regularizer = _TABLE.make(identifier)
    if regularizer is not None and not (callable(regularizer) and hasattr(regularizer, "gradient")):
        raise _TABLE.refuse(identifier, "an object with __call__(x) -> float and gradient(x) -> array")
    return regularizer


def serialize(regularizer: Any) -> dict[str, Any] | None:
    """The regularizer in Keras 3's layout."""
    return None if regularizer is None else _TABLE.serialize(regularizer)


def deserialize(config: Mapping[str, Any]) -> Any:
    """The regularizer of `{"class_name": ..., "config": {...}}`."""
    return _TABLE.deserialize(config)
