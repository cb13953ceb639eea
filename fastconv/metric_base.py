"""What all metrics share, and the means that most of them are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv import losses
from fastconv.loss_base import fit_weights
from fastconv.serialization import Configurable, snake_case


class Metric(Configurable):
    """Base class: a subclass defines `update_state`, `result` and `reset_state`.

    Args:
        name: under which the result is reported; the class's name in snake case by default.
        dtype: accepted for Keras's sake; sums are kept in float64.

    Attributes:
        direction: "up" or "down", where the better of two results is known; for callbacks that watch it.
    """

    config_keys: tuple[str, ...] = ("name", "dtype")
    direction: str | None = None

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        self.name = name or snake_case(type(self).__name__)
        self.dtype = dtype or "float32"

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Take a batch into account."""
        raise NotImplementedError(f"{type(self).__name__} must define update_state.")

    def result(self) -> Any:
        """The metric over everything since the last reset: a float, or an array where the class says so."""
        raise NotImplementedError(f"{type(self).__name__} must define result().")

    def reset_state(self) -> None:
        """Forget everything."""
        raise NotImplementedError(f"{type(self).__name__} must define reset_state().")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`update_state`, then `result`."""
        self.update_state(*args, **kwargs)
        return self.result()


class Mean(Metric):
    """The weighted mean of values, averaged per sample over axes after the first; 0 before any value."""

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.reset_state()

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Values of any shape; weights: one for each value, or one for each of the first axes."""
        values = np.asarray(values, np.float64)
        if sample_weight is None:
            self._count += len(values) if values.ndim else 1
        else:
            axes = np.asarray(sample_weight).ndim
            if values.ndim > axes:
                values = values.mean(axis=tuple(range(axes, values.ndim)))
            weights = fit_weights(np.asarray(sample_weight, np.float64), values.shape)
            values = values * weights
            self._count += float(_per_sample(weights).sum())
        self._total += float(_per_sample(values).sum())

    def add(self, total: float, count: float) -> None:
        """Take values into account that were weighted and summed elsewhere, and the sum of their weights."""
        self._total += total
        self._count += count

    def result(self) -> float:
        return self._total / self._count if self._count else 0.0

    def reset_state(self) -> None:
        self._total = 0.0
        self._count = 0.0


class Sum(Metric):
    """The weighted sum of values."""

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.reset_state()

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Values of any shape; weights: one for each value, or one for each of the first axes."""
        values = np.asarray(values, np.float64)
        if sample_weight is not None:
            axes = np.asarray(sample_weight).ndim
            values = values.sum(axis=tuple(range(axes, values.ndim)))
            values = values * fit_weights(np.asarray(sample_weight, np.float64), values.shape)
        self._total += float(values.sum())

    def result(self) -> float:
        return self._total

    def reset_state(self) -> None:
        self._total = 0.0


def _per_sample(values: np.ndarray) -> np.ndarray:
    """Averages over all axes but the first."""
    return values.mean(axis=tuple(range(1, values.ndim))) if values.ndim > 1 else values


class MeanMetricWrapper(Mean):
    """The mean of `fn(y_true, y_pred, **options)`, a value or more per sample; its name is the function's."""

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **options: Any) -> None:
        super().__init__(name or getattr(fn, "__name__", None), dtype)
        self.fn = fn
        self.options = options

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        values = self.fn(np.asarray(y_true), np.asarray(y_pred), **self.options)
        super().update_state(values, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.options}


class FunctionMetric(MeanMetricWrapper):
    """The mean of the class's `function`, whose options follow the name and dtype."""

    function: Callable[..., Any]

    def __init__(self, name: str | None = None, dtype: Any = None, **options: Any) -> None:
        super().__init__(self.function, name or snake_case(type(self).__name__), dtype, **options)
        if isinstance(self.function, losses.LossFunction):
            self.function.loss_class(**options)  # Refuses bad options now rather than at the first batch.
