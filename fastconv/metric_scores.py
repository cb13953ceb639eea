"""Scores of predicted classes and of predicted numbers: F, R2 and two correlations."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from fastconv import config
from fastconv.loss_base import fit_weights
from fastconv.metric_accuracy import same_rank
from fastconv.metric_base import FunctionMetric, Metric
from fastconv.metric_confusion import full_weights

_ALMOST_ZERO = 1e-9


class FBetaScore(Metric):
    """The harmonic mean of precision and recall, of which recall counts `beta` times.

    For one-hot y_true and predictions of shape (samples, classes).

    Args:
        average: None for an array with a score for each class; "macro" for their mean; "weighted" for the mean by how
            often each class is there; "micro" to count all classes together.
        beta: positive.
        threshold: above it a prediction means yes; None for the largest of each sample.
        name, dtype: as for `Metric`.
    """

    config_keys: tuple[str, ...] = ("name", "dtype", "average", "beta", "threshold")
    direction = "up"
    _sums: Any

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = "fbeta_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, dtype)
        if average not in (None, "micro", "macro", "weighted"):
            raise ValueError(f'average must be None, "micro", "macro" or "weighted", not {average!r}.')
        if not beta > 0:
            raise ValueError(f"beta must be positive, not {beta!r}.")
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, or None; not {threshold!r}.")
        self.average = average
        self.beta = beta
        self.threshold = threshold
        self.reset_state()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
        self.check(y_true, y_pred)
        if self.threshold is None:
            chosen = (y_pred >= y_pred.max(axis=-1, keepdims=True)) & (np.abs(y_pred) > _ALMOST_ZERO)
        else:
            chosen = y_pred > self.threshold
        weights = full_weights(1.0 if sample_weight is None else sample_weight, y_pred.shape)
        y_true = y_true.astype(np.float64)
        sums = np.stack([chosen * y_true, chosen * (1 - y_true), ~chosen * y_true]) * weights
        # (right, wrong, missed) for each class, or together.
        self.add(sums.sum(axis=(1, 2) if self.average == "micro" else 1))

    def check(self, y_true: np.ndarray, y_pred: np.ndarray) -> None:
        """ValueError if they are no rows of classes of one shape."""
        if y_pred.ndim != 2 or y_true.shape != y_pred.shape:
            raise ValueError(
                f"{self.name}: y_true and y_pred must have one shape, (samples, classes), not {y_true.shape} and "
                f"{y_pred.shape}. utils.to_categorical makes such rows of class numbers."
            )

    def add(self, sums: np.ndarray) -> None:
        """Take into account what was summed elsewhere: right, wrong, missed."""
        self._sums = self._sums + sums

    def reset_state(self) -> None:
        self._sums = np.zeros((3, 1)) if self.average != "micro" else np.zeros(3)

    def result(self) -> Any:
        right, wrong, missed = self._sums
        epsilon, square = config.epsilon(), self.beta**2
        precision = right / (right + wrong + epsilon)
        recall = right / (right + missed + epsilon)
        scores = (1 + square) * precision * recall / (square * precision + recall + epsilon)
        if self.average == "weighted":
            present = right + missed
            return float((scores * present).sum() / (present.sum() + epsilon))
        return scores if self.average is None else float(np.mean(scores))


class F1Score(FBetaScore):
    """`FBetaScore` with beta = 1."""

    config_keys = ("name", "dtype", "average", "threshold")

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = "f1_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)


class R2Score(Metric):
    """The share of y_true's variance that predictions of shape (samples, outputs) explain.

    Args:
        class_aggregation: "uniform_average" or "variance_weighted_average" of the outputs; None for an array.
        num_regressors: how many inputs there were, for the adjusted score; 0 for the plain one.
        name, dtype: as for `Metric`.
    """

    config_keys = ("name", "dtype", "class_aggregation", "num_regressors")
    direction = "up"
    _sums: Any
    _samples: int

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = "r2_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, dtype)
        if class_aggregation not in (None, "uniform_average", "variance_weighted_average"):
            raise ValueError(
                'class_aggregation must be "uniform_average", "variance_weighted_average" or None; not '
                f"{class_aggregation!r}."
            )
        if num_regressors < 0:
            raise ValueError(f"num_regressors must be 0 or more, not {num_regressors!r}.")
        self.class_aggregation = class_aggregation
        self.num_regressors = num_regressors
        self.reset_state()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = self.check(np.asarray(y_true, np.float64), np.asarray(y_pred, np.float64))
        weights = fit_weights(np.asarray(1.0 if sample_weight is None else sample_weight, np.float64), y_pred.shape)
        errors = (np.square(y_true - y_pred) * weights).sum(axis=0)
        self.add(np.stack([*self.of_targets(y_true, weights), errors]), y_true.size)

    def check(self, y_true: np.ndarray, y_pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both in one shape; ValueError if that is not (samples, outputs)."""
        y_true, y_pred = same_rank(y_true, y_pred)
        if y_pred.ndim != 2:
            raise ValueError(f"{self.name}: y_pred must have shape (samples, outputs), not {y_pred.shape}.")
        return y_true, y_pred

    @staticmethod
    def of_targets(y_true: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Each output's weighted sums of 1, y_true and its square."""
        return (np.stack([np.ones_like(y_true), y_true, y_true * y_true]) * weights).sum(axis=1)

    def add(self, sums: np.ndarray, samples: int) -> None:
        """Take into account what was summed elsewhere: weights, targets, their squares, and squared errors."""
        self._sums = self._sums + sums
        self._samples += samples

    def reset_state(self) -> None:
        self._sums = np.zeros((4, 1))
        self._samples = 0

    def result(self) -> Any:
        count, total, squares, errors = self._sums
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = squares - total * (total / count)
            scores = 1 - errors / variance
            scores = np.where(np.isinf(scores), 0, scores)
            if self.class_aggregation is None:
                return self._adjusted(scores)
            if self.class_aggregation == "uniform_average":
                return float(self._adjusted(scores.mean()))
            return float(self._adjusted((variance * scores).sum() / variance.sum()))

    def _adjusted(self, score: Any) -> Any:
        if not self.num_regressors:
            return score
        free = self._samples - self.num_regressors - 1
        if free <= 0:
            warnings.warn(
                f"{self.name}: {self._samples} numbers are too few for num_regressors={self.num_regressors}; the "
                "result is the plain score.",
                stacklevel=3,
            )
            return score
        return 1 - (1 - score) * (self._samples - 1) / free


def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> np.ndarray:
    """The linear correlation of y_true and y_pred along `axis`, from -1 to 1; NaN where one does not vary."""
    y_true, y_pred = same_rank(np.asarray(y_true, np.float64), np.asarray(y_pred, np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = ((a - a.mean(axis, keepdims=True)) / a.std(axis, keepdims=True) for a in (y_true, y_pred))
    return (one * other).mean(axis)


def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> np.ndarray:
    """As `pearson_correlation`, and below it where y_pred is off by a factor or a shift."""
    y_true, y_pred = same_rank(np.asarray(y_true, np.float64), np.asarray(y_pred, np.float64))
    means = y_true.mean(axis, keepdims=True), y_pred.mean(axis, keepdims=True)
    spread = y_true.var(axis, keepdims=True) + y_pred.var(axis, keepdims=True) + np.square(means[0] - means[1])
    products = (y_true - means[1]) * (y_pred - means[1])
    return (2 * products / (spread + config.epsilon())).mean(axis)


class _Correlation(FunctionMetric):
    direction = "up"

    def __init__(self, name: str | None = None, dtype: Any = None, axis: int = -1) -> None:
        super().__init__(name, dtype, axis=axis)


class PearsonCorrelation(_Correlation):
    """Mean over the samples of `pearson_correlation` along `axis`."""

    function = staticmethod(pearson_correlation)


class ConcordanceCorrelation(_Correlation):
    """Mean over the samples of `concordance_correlation` along `axis`."""

    function = staticmethod(concordance_correlation)
