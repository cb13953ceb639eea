"""Rules that weights obey after every step of the optimizer: `constraint(w) -> array` like w."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastconv import config
from fastconv.serialization import Configurable, Table, as_float


class Constraint(Configurable):
    """Base class: a subclass defines `__call__(w) -> array`."""

    def __call__(self, w: Any) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(w).")


class NonNeg(Constraint):
    """Negative weights become 0."""

    def __call__(self, w: Any) -> np.ndarray:
        return np.maximum(as_float(w), 0)


class MinMaxNorm(Constraint):
    """Norms along `axis` move towards [min_value, max_value]: all the way with `rate` 1, a part of it below.

    Args:
        min_value, max_value: bounds of the norm.
        rate: from 0 to 1.
        axis: the axes of the weights of one unit: 0 for a Dense kernel, [0, 1, 2] for a Conv2D kernel.
    """

    config_keys: tuple[str, ...] = ("min_value", "max_value", "rate", "axis")

    def __init__(
        self,
        min_value: float = 0.0,
        max_value: float = 1.0,
        rate: float = 1.0,
        axis: int | Sequence[int] = 0,
    ) -> None:
        self.min_value = min_value
        self.max_value = max_value
        self.rate = rate
        self.axis = axis

    def __call__(self, w: Any) -> np.ndarray:
        w = as_float(w)
        axes = self.axis if isinstance(self.axis, int) else tuple(self.axis)
        norm = np.sqrt(np.square(w).sum(axis=axes, keepdims=True))
        desired = self.rate * np.clip(norm, self.min_value, self.max_value) + (1 - self.rate) * norm
        return w * (desired / (config.epsilon() + norm))


class MaxNorm(MinMaxNorm):
    """Norms along `axis` above `max_value` become `max_value`."""

    config_keys = ("max_value", "axis")

    def __init__(self, max_value: float = 2, axis: int | Sequence[int] = 0) -> None:
        super().__init__(max_value=max_value, axis=axis)


class UnitNorm(MinMaxNorm):
    """Norms along `axis` become 1."""

    config_keys = ("axis",)

    def __init__(self, axis: int | Sequence[int] = 0) -> None:
        super().__init__(min_value=1.0, axis=axis)


_TABLE = Table("keras.constraints", "constraint", (MaxNorm, MinMaxNorm, NonNeg, UnitNorm))


def get(identifier: Any) -> Any:
    """The constraint of a name, config, class or callable; None for None.

    Raises:
        ValueError: unknown name or bad config.
        TypeError: an object that is not callable.
    """
    constraint = _TABLE.make(identifier)
    if constraint is not None and not callable(constraint):
        raise _TABLE.refuse(identifier, "a callable w -> array")
    return constraint


def serialize(constraint: Any) -> dict[str, Any] | None:
    """The constraint in Keras 3's layout."""
    return None if constraint is None else _TABLE.serialize(constraint)


def deserialize(config: Mapping[str, Any]) -> Any:
    """The constraint of `{"class_name": ..., "config": {...}}`."""
    return _TABLE.deserialize(config)
