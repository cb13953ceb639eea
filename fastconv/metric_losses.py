"""Metrics that are means of losses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv import losses
from fastconv.metric_accuracy import same_rank
from fastconv.metric_base import FunctionMetric


def _squared_error(y_true: Any, y_pred: Any) -> np.ndarray:
    y_true, y_pred = same_rank(np.asarray(y_true, np.float64), np.asarray(y_pred, np.float64))
    return np.square(y_pred - y_true)


def _cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> np.ndarray:
    # The loss has the other sign, so that smaller is better there.
    return -losses.cosine_similarity(y_true, y_pred, axis=axis)


class LossMetric(FunctionMetric):
    """The mean of a loss, without its reduction."""

    direction = "down"


class MeanSquaredError(LossMetric):
    """Mean of (y_pred - y_true) ** 2."""

    function = losses.mean_squared_error


class RootMeanSquaredError(LossMetric):
    """Square root of the mean of (y_pred - y_true) ** 2."""

    function = staticmethod(_squared_error)

    def result(self) -> float:
        return math.sqrt(super().result())


class MeanAbsoluteError(LossMetric):
    """Mean of |y_pred - y_true|."""

    function = losses.mean_absolute_error


class MeanAbsolutePercentageError(LossMetric):
    """Mean of 100 * |y_pred - y_true| / |y_true|."""

    function = losses.mean_absolute_percentage_error


class MeanSquaredLogarithmicError(LossMetric):
    """Mean of (log(1 + y_pred) - log(1 + y_true)) ** 2."""

    function = losses.mean_squared_logarithmic_error


class LogCoshError(LossMetric):
    """Mean of log(cosh(y_pred - y_true))."""

    function = losses.log_cosh

    def __init__(self, name: str | None = "logcosh", dtype: Any = None) -> None:
        super().__init__(name, dtype)


class BinaryCrossentropy(LossMetric):
    """Mean of `losses.binary_crossentropy`."""

    function = losses.binary_crossentropy

    def __init__(
        self, name: str | None = None, dtype: Any = None, from_logits: bool = False, label_smoothing: float = 0
    ) -> None:
        super().__init__(name, dtype, from_logits=from_logits, label_smoothing=label_smoothing)


class CategoricalCrossentropy(LossMetric):
    """Mean of `losses.categorical_crossentropy`."""

    function = losses.categorical_crossentropy

    def __init__(
        self,
        name: str | None = None,
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
        axis: int = -1,
    ) -> None:
        super().__init__(name, dtype, from_logits=from_logits, label_smoothing=label_smoothing, axis=axis)


class SparseCategoricalCrossentropy(LossMetric):
    """Mean of `losses.sparse_categorical_crossentropy`."""

    function = losses.sparse_categorical_crossentropy

    def __init__(
        self,
        name: str | None = None,
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        super().__init__(name, dtype, from_logits=from_logits, ignore_class=ignore_class, axis=axis)


class KLDivergence(LossMetric):
    """Mean of `losses.kl_divergence`."""

    function = losses.kl_divergence


class Poisson(LossMetric):
    """Mean of `losses.poisson`."""

    function = losses.poisson


class Hinge(LossMetric):
    """Mean of `losses.hinge`."""

    function = losses.hinge


class SquaredHinge(LossMetric):
    """Mean of `losses.squared_hinge`."""

    function = losses.squared_hinge


class CategoricalHinge(LossMetric):
    """Mean of `losses.categorical_hinge`."""

    function = losses.categorical_hinge


class CosineSimilarity(FunctionMetric):
    """Mean cosine of the angle between y_true and y_pred along `axis`, from -1 to 1 (alike)."""

    function = staticmethod(_cosine_similarity)
    direction = "up"

    def __init__(self, name: str | None = None, dtype: Any = None, axis: int = -1) -> None:
        super().__init__(name, dtype, axis=axis)
