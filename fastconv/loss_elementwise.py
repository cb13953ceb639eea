"""Losses that are a mean over the last axis of one value for each pair of numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv import config
from fastconv.loss_base import Loss


class ElementwiseLoss(Loss):
    """Mean over the last axis of `values(y_true, y_pred)`, whose derivative by y_pred is `slopes`."""

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must define values(y_true, y_pred).")

    def slopes(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must define slopes(y_true, y_pred).")

    def call(self, y_true, y_pred):
        return self.values(y_true, y_pred).mean(axis=-1)

    def call_gradient(self, y_true, y_pred, out):
        np.divide(self.slopes(y_true, y_pred), y_pred.shape[-1], out=out)


class MeanSquaredError(ElementwiseLoss):
    """Mean of (y_pred - y_true) ** 2."""

    def values(self, y_true, y_pred):
        return np.square(y_pred - y_true)

    def slopes(self, y_true, y_pred):
        return 2 * (y_pred - y_true)


class MeanAbsoluteError(ElementwiseLoss):
    """Mean of |y_pred - y_true|."""

    def values(self, y_true, y_pred):
        return np.abs(y_pred - y_true)

    def slopes(self, y_true, y_pred):
        return np.sign(y_pred - y_true)


class MeanAbsolutePercentageError(ElementwiseLoss):
    """Mean of 100 * |y_pred - y_true| / |y_true|, where |y_true| is at least epsilon."""

    def values(self, y_true, y_pred):
        return 100 * np.abs(y_pred - y_true) / _at_least_epsilon(np.abs(y_true))

    def slopes(self, y_true, y_pred):
        return 100 * np.sign(y_pred - y_true) / _at_least_epsilon(np.abs(y_true))


class MeanSquaredLogarithmicError(ElementwiseLoss):
    """Mean of (log(1 + y_pred) - log(1 + y_true)) ** 2, for numbers of at least epsilon."""

    def values(self, y_true, y_pred):
        return np.square(self._logarithms(y_true, y_pred))

    def slopes(self, y_true, y_pred):
        slope = (y_pred > config.epsilon()) / (_at_least_epsilon(y_pred) + 1)
        return 2 * self._logarithms(y_true, y_pred) * slope

    @staticmethod
    def _logarithms(y_true, y_pred):
        return np.log(_at_least_epsilon(y_pred) + 1) - np.log(_at_least_epsilon(y_true) + 1)


class Huber(ElementwiseLoss):
    """Half the squared error up to `delta`, from there on linear."""

    config_keys = ("name", "reduction", "delta")

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.delta = delta

    def values(self, y_true, y_pred):
        error = np.abs(y_pred - y_true)
        return np.where(error <= self.delta, 0.5 * error * error, self.delta * (error - 0.5 * self.delta))

    def slopes(self, y_true, y_pred):
        return np.clip(y_pred - y_true, -self.delta, self.delta)


class LogCosh(ElementwiseLoss):
    """Mean of log(cosh(y_pred - y_true))."""

    def values(self, y_true, y_pred):
        error = np.abs(y_pred - y_true)
        return error + np.log1p(np.exp(-2 * error)) - math.log(2)

    def slopes(self, y_true, y_pred):
        return np.tanh(y_pred - y_true)


class Poisson(ElementwiseLoss):
    """Mean of y_pred - y_true * log(y_pred + epsilon)."""

    def values(self, y_true, y_pred):
        return y_pred - y_true * np.log(y_pred + config.epsilon())

    def slopes(self, y_true, y_pred):
        return 1 - y_true / (y_pred + config.epsilon())


class Hinge(ElementwiseLoss):
    """Mean of max(1 - y_true * y_pred, 0), for y_true of -1 and 1; if all are 0 and 1, 0 means -1."""

    def prepare(self, y_true, y_pred):
        y_true, y_pred = super().prepare(y_true, y_pred)
        is_binary = ((y_true == 0) | (y_true == 1)).all()
        return (2 * y_true - 1 if is_binary else y_true), y_pred

    def values(self, y_true, y_pred):
        return np.maximum(1 - y_true * y_pred, 0)

    def slopes(self, y_true, y_pred):
        return -y_true * (y_true * y_pred < 1)


class SquaredHinge(Hinge):
    """Mean of max(1 - y_true * y_pred, 0) ** 2, for y_true as for `Hinge`."""

    def values(self, y_true, y_pred):
        return np.square(super().values(y_true, y_pred))

    def slopes(self, y_true, y_pred):
        return -2 * y_true * super().values(y_true, y_pred)


def _at_least_epsilon(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, x.dtype.type(config.epsilon()))
