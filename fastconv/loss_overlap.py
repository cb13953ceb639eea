"""Losses of how much two masks overlap, for images whose pixels are told apart: Dice and Tversky."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import config
from fastconv.loss_base import Loss


class OverlapLoss(Loss):
    """1 - a ratio of sums along `axis`; without an axis of all the batch, which then has one value.

    A subclass defines `sums`, the ratio's two parts, and `slopes`, the derivatives by y_pred of what is summed.
    """

    axis: Any

    def sums(self, y_true: np.ndarray, y_pred: np.ndarray, keepdims: bool) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError(f"{type(self).__name__} must define sums(y_true, y_pred, keepdims).")

    def slopes(self, y_true: np.ndarray) -> tuple[np.ndarray, Any]:
        raise NotImplementedError(f"{type(self).__name__} must define slopes(y_true).")

    def call(self, y_true, y_pred):
        above, below = self.sums(y_true, y_pred, keepdims=False)
        return 1 - above / below

    def call_gradient(self, y_true, y_pred, out):
        above, below = self.sums(y_true, y_pred, keepdims=True)
        slope_above, slope_below = self.slopes(y_true)
        out[...] = (above * slope_below - below * slope_above) / (below * below)

    def factors(self, values, mask, sample_weight):
        if values.ndim or sample_weight is None:
            return super().factors(values, mask, sample_weight)
        # The batch's one value counts once for each weight.
        weights = np.asarray(sample_weight, values.dtype)
        if self.reduction in ("sum_over_batch_size", "mean"):
            return weights / values.dtype.type(weights.size)
        return weights / weights.sum() if self.reduction == "mean_with_sample_weight" else weights

    def spread(self, factors):
        if self.axis is None or factors.ndim == 0:
            return factors.sum()
        return np.expand_dims(factors, self.axis)


class Dice(OverlapLoss):
    """1 - 2 * sum(y_true * y_pred) / (sum(y_true) + sum(y_pred) + epsilon).

    Args:
        axis: what the sums go over, an axis or several; None for all, the samples too.
        reduction, name, dtype: as for `Loss`.
    """

    config_keys = (*Loss.config_keys, "axis")

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        axis: int | Sequence[int] | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.axis = tuple(axis) if isinstance(axis, Sequence) else axis

    def sums(self, y_true, y_pred, keepdims):
        over = {"axis": self.axis, "keepdims": keepdims}
        below = y_true.sum(**over) + y_pred.sum(**over) + y_pred.dtype.type(config.epsilon())
        return 2 * (y_true * y_pred).sum(**over), below

    def slopes(self, y_true):
        return 2 * y_true, 1


class Tversky(OverlapLoss):
    """1 - both / (both + alpha * sum(y_true * (1 - y_pred)) + beta * sum((1 - y_true) * y_pred) + epsilon), where both
    is sum(y_true * y_pred).

    Args:
        alpha: the weight of what is missed. beta: of what is found wrongly.
        axis, reduction, name, dtype: as for `Dice`.
    """

    config_keys = (*Loss.config_keys, "alpha", "beta", "axis")

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        axis: int | Sequence[int] | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.alpha = alpha
        self.beta = beta
        self.axis = tuple(axis) if isinstance(axis, Sequence) else axis

    def sums(self, y_true, y_pred, keepdims):
        over = {"axis": self.axis, "keepdims": keepdims}
        both = (y_true * y_pred).sum(**over)
        missed = (y_true * (1 - y_pred)).sum(**over)
        wrong = ((1 - y_true) * y_pred).sum(**over)
        return both, both + self.alpha * missed + self.beta * wrong + y_pred.dtype.type(config.epsilon())

    def slopes(self, y_true):
        return y_true, y_true - self.alpha * y_true + self.beta * (1 - y_true)
