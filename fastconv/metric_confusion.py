"""Metrics that count right and wrong positives and negatives: predictions above a threshold are positive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import config
from fastconv.loss_base import fit_weights
from fastconv.metric_accuracy import same_rank
from fastconv.metric_base import Metric

_LOWEST = -1e10  # what predictions outside of the top k become; as a threshold: all that are inside count
TP, FP, TN, FN = range(4)


class Thresholds:
    """Thresholds, compared with in float32 as Keras does.

    Args:
        values: in any order.
        span: the thresholds without those that were moved beyond 0 and 1; by default `values` themselves.

    Attributes:
        ascending: in that order, float32. even: whether they are evenly from 0 to 1.
        least: how many lie below every number.
    """

    def __init__(self, values: Sequence[float], span: Sequence[float] | None = None) -> None:
        self.values = list(values)
        self._order = np.argsort(self.values, kind="stable")
        self.ascending = np.asarray(self.values, np.float32)[self._order]
        self.even = _is_even(values if span is None else span)
        self.least = int(span is not None)

    def __len__(self) -> int:
        return len(self.values)

    def counts(
        self, y_true: np.ndarray, y_pred: np.ndarray, weights: np.ndarray | None, by_label: bool = False
    ) -> np.ndarray:
        """Sums of weights: true positives, false positives, true and false negatives for each threshold.

        Args:
            y_true: positive where not 0. y_pred: of the same shape. weights: that too, or None for ones.
            by_label: whether each column has counts of its own.

        Returns:
            Shape (4, thresholds), or (4, thresholds, columns).
        """
        columns = y_pred.shape[-1] if by_label else 1
        passed = self._passed(y_pred.reshape(-1, columns)) * columns + np.arange(columns)
        weights = np.ones(y_pred.shape) if weights is None else weights
        by_place = []
        for chosen in (y_true != 0, y_true == 0):
            share = np.where(chosen, weights, 0).reshape(-1)
            by_place.append(np.bincount(passed.reshape(-1), share, (len(self) + 1) * columns).reshape(-1, columns))
        ordered = self.counts_of(*by_place)
        return ordered if by_label else ordered[..., 0]

    def counts_of(self, ones: np.ndarray, zeros: np.ndarray) -> np.ndarray:
        """The counts, of shape (4, thresholds, columns), from sums of weights by how many thresholds are passed.

        ones, zeros: of shape (thresholds + 1, columns).
        """
        sums = []
        for by_place in (ones, zeros):
            positive = by_place[::-1].cumsum(axis=0)[::-1][1:]
            sums.append((positive, by_place.sum(axis=0) - positive))
        (tp, fn), (fp, tn) = sums
        ordered = np.empty((4, *tp.shape))
        ordered[:, self._order] = tp, fp, tn, fn
        return ordered

    def _passed(self, y_pred: np.ndarray) -> np.ndarray:
        """How many thresholds lie below each prediction; none below NaN."""
        y_pred = np.asarray(y_pred, np.float32)
        missing = np.isnan(y_pred)
        if self.even:
            scaled = np.ceil(np.clip(y_pred, 0, 1) * np.float32(len(self) - 1))
            places = np.maximum(np.where(missing, 0, scaled).astype(np.int64), self.least)
        else:
            places = np.searchsorted(self.ascending, y_pred)
        return np.where(missing, 0, places)


def _is_even(thresholds: Sequence[float]) -> bool:
    count = len(thresholds)
    return count > 2 and np.allclose(thresholds, np.arange(count) / (count - 1), atol=config.epsilon())


class ConfusionMetric(Metric):
    """Base class: a subclass defines `result` from `counts`, of shape (4, thresholds).

    Args:
        thresholds: of predictions.
        top_k: only the `top_k` largest predictions of each sample can be positive.
        class_id: only this column counts.
        name, dtype: as for `Metric`.
    """

    def __init__(
        self, thresholds: Thresholds, top_k: int | None, class_id: int | None, name: str | None, dtype: Any
    ) -> None:
        super().__init__(name, dtype)
        self.cuts = thresholds
        self.top_k = top_k
        self.class_id = class_id
        self.reset_state()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = same_rank(np.asarray(y_true), np.asarray(y_pred))
        if self.top_k is not None:
            y_pred = _only_top(y_pred, self.top_k)
        if self.class_id is not None:
            if y_pred.ndim == 1:
                raise ValueError(f"{self.name}: class_id needs y_pred of shape (samples, classes), not {y_pred.shape}.")
            y_true, y_pred = y_true[..., self.class_id], y_pred[..., self.class_id]
        self.add(self.cuts.counts(y_true, y_pred, full_weights(sample_weight, y_pred.shape)))

    def add(self, counts: np.ndarray) -> None:
        """Take into account what was counted elsewhere."""
        self.counts += counts

    def reset_state(self) -> None:
        self.counts = np.zeros((4, len(self.cuts)))

    def ratio(self, one: int, other: int) -> np.ndarray:
        """one / (one + other) for each threshold, 0 where both are 0."""
        return divide(self.counts[one], self.counts[one] + self.counts[other])


def full_weights(sample_weight: Any, shape: Sequence[int]) -> np.ndarray | None:
    """Samples' weights in the shape of the predictions."""
    return None if sample_weight is None else fit_weights(np.asarray(sample_weight, np.float64), shape)


def divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, 0 where below is 0."""
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)


def _only_top(y_pred: np.ndarray, k: int) -> np.ndarray:
    top = np.argsort(-y_pred, axis=-1, kind="stable")[..., :k]
    result = np.full(y_pred.shape, _LOWEST)
    np.put_along_axis(result, top, np.take_along_axis(y_pred, top, -1), -1)
    return result


class _AtThresholds(ConfusionMetric):
    """A number for one threshold, an array for a list of them."""

    config_keys: tuple[str, ...] = ("name", "dtype", "thresholds")

    def __init__(
        self,
        thresholds: float | Sequence[float] | None,
        top_k: int | None,
        class_id: int | None,
        name: str | None,
        dtype: Any,
    ) -> None:
        self.thresholds = thresholds
        default = 0.5 if top_k is None else _LOWEST
        given = [default] if thresholds is None else np.atleast_1d(thresholds).tolist()
        if thresholds is not None and not all(0 <= threshold <= 1 for threshold in given):
            raise ValueError(f"thresholds must be from 0 to 1, not {thresholds!r}.")
        super().__init__(Thresholds(given), top_k, class_id, name, dtype)

    def value(self, values: np.ndarray) -> Any:
        """What `result` returns."""
        return float(values[0]) if len(values) == 1 else values.copy()


class _Count(_AtThresholds):
    kind: int

    def __init__(
        self, thresholds: float | Sequence[float] | None = None, name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(thresholds, None, None, name, dtype)

    def result(self) -> Any:
        return self.value(self.counts[self.kind])


class TruePositives(_Count):
    """How many ones are predicted above each of `thresholds` (0.5)."""

    kind = TP


class FalsePositives(_Count):
    """How many zeros are predicted above each of `thresholds` (0.5)."""

    kind = FP


class TrueNegatives(_Count):
    """How many zeros are predicted at most at each of `thresholds` (0.5)."""

    kind = TN


class FalseNegatives(_Count):
    """How many ones are predicted at most at each of `thresholds` (0.5)."""

    kind = FN


class _Ratio(_AtThresholds):
    config_keys = ("name", "dtype", "thresholds", "top_k", "class_id")
    direction = "up"
    other: int

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(thresholds, top_k, class_id, name, dtype)

    def result(self) -> Any:
        return self.value(self.ratio(TP, self.other))


class Precision(_Ratio):
    """The share of ones among what is predicted as one.

    Args:
        thresholds: a prediction above it means one; 0.5 by default. Several give an array of results.
        top_k: only the `top_k` largest predictions of each sample can mean one.
        class_id: only this column counts.
    """

    other = FP


class Recall(_Ratio):
    """The share of what is predicted as one among the ones; arguments as for `Precision`."""

    other = FN


class _Best(ConfusionMetric):
    """The largest of one ratio over the thresholds where another is at least as asked."""

    config_keys: tuple[str, ...] = ("name", "dtype", "class_id", "num_thresholds")
    direction = "up"
    asked: str
    condition: tuple[int, int]
    wanted: tuple[int, int]

    def __init__(self, value: float, num_thresholds: int, class_id: int | None, name: str | None, dtype: Any) -> None:
        if not 0 <= value <= 1:
            raise ValueError(f"{self.asked} must be from 0 to 1, not {value!r}.")
        if not num_thresholds > 0:
            raise ValueError(f"num_thresholds must be positive, not {num_thresholds!r}.")
        self.num_thresholds = num_thresholds
        self._value = value
        evenly = [0.5] if num_thresholds == 1 else np.linspace(0, 1, num_thresholds).tolist()
        super().__init__(Thresholds(evenly), None, class_id, name, dtype)

    def result(self) -> float:
        allowed = self.ratio(*self.condition) >= self._value
        return float(np.where(allowed, self.ratio(*self.wanted), 0).max(initial=0))


class SensitivityAtSpecificity(_Best):
    """The best sensitivity (recall) where the specificity (the share of zeros predicted as such) is large enough."""

    config_keys = (*_Best.config_keys, "specificity")
    asked, condition, wanted = "specificity", (TN, FP), (TP, FN)

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(specificity, num_thresholds, class_id, name, dtype)
        self.specificity = specificity


class SpecificityAtSensitivity(_Best):
    """The best specificity where the sensitivity is large enough."""

    config_keys = (*_Best.config_keys, "sensitivity")
    asked, condition, wanted = "sensitivity", (TP, FN), (TN, FP)

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)
        self.sensitivity = sensitivity


class PrecisionAtRecall(_Best):
    """The best precision where the recall is large enough."""

    config_keys = (*_Best.config_keys, "recall")
    asked, condition, wanted = "recall", (TP, FN), (TP, FP)

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(recall, num_thresholds, class_id, name, dtype)
        self.recall = recall


class RecallAtPrecision(_Best):
    """The best recall where the precision is large enough."""

    config_keys = (*_Best.config_keys, "precision")
    asked, condition, wanted = "precision", (TP, FP), (TP, FN)

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(precision, num_thresholds, class_id, name, dtype)
        self.precision = precision
