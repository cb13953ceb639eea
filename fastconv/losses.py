"""Losses with Keras's names, reductions and clipping, and their gradients.

    loss(y_true, y_pred, sample_weight)            the reduced loss
    loss.per_sample(y_true, y_pred)                before weights and reduction, over the last axis of y_pred
    loss.gradient(y_true, y_pred, sample_weight)   derivative of the reduced loss by y_pred
    loss.value_and_gradient(..., out)              both in one pass
    loss.value_and_logits_gradient(..., out)       both, for a network that ends in `loss.fused_activation`:
                                                   the derivative by the input of that softmax or sigmoid

`categorical_crossentropy(y_true, y_pred)` and the other function forms give the values per sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastconv import config
from fastconv.loss_base import Loss
from fastconv.loss_crossentropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)
from fastconv.serialization import Table


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


class Huber(ElementwiseLoss):
    """Half the squared error up to `delta`, from there on linear."""

    config_keys = ("name", "reduction", "delta")

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
    ) -> None:
        super().__init__(reduction, name)
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


class CategoricalHinge(Loss):
    """max(max((1 - y_true) * y_pred) - sum(y_true * y_pred) + 1, 0), over the last axis."""

    def call(self, y_true, y_pred):
        wrong = ((1 - y_true) * y_pred).max(axis=-1)
        return np.maximum(wrong - (y_true * y_pred).sum(axis=-1) + 1, 0)

    def call_gradient(self, y_true, y_pred, out):
        active = self.call(y_true, y_pred)[..., None] > 0
        largest = ((1 - y_true) * y_pred).argmax(axis=-1)[..., None]
        at_largest = np.arange(y_pred.shape[-1]) == largest
        out[...] = active * ((1 - y_true) * at_largest - y_true)


class KLDivergence(Loss):
    """Sum over the last axis of y_true * log(y_true / y_pred), both clipped to [epsilon, 1]."""

    def call(self, y_true, y_pred):
        y_true, y_pred = np.clip(y_true, config.epsilon(), 1), np.clip(y_pred, config.epsilon(), 1)
        return (y_true * np.log(y_true / y_pred)).sum(axis=-1)

    def call_gradient(self, y_true, y_pred, out):
        clipped = np.clip(y_pred, config.epsilon(), 1)
        out[...] = -np.clip(y_true, config.epsilon(), 1) * (clipped == y_pred) / clipped


class CosineSimilarity(Loss):
    """Minus the cosine of the angle between y_true and y_pred along `axis`, from -1 (alike) to 1."""

    config_keys = ("name", "reduction", "axis")

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "cosine_similarity",
    ) -> None:
        super().__init__(reduction, name)
        self.axis = axis

    def view(self, array, y_true_ndim):
        return np.moveaxis(super().view(array, y_true_ndim), self.axis, -1)

    def prepare(self, y_true, y_pred):
        if self.axis not in (-1, y_pred.ndim - 1):
            y_true = np.moveaxis(y_true, self.axis, -1)
        return super().prepare(y_true, y_pred)

    def call(self, y_true, y_pred):
        return -(_directions(y_true)[0] * _directions(y_pred)[0]).sum(axis=-1)

    def call_gradient(self, y_true, y_pred, out):
        target, _ = _directions(y_true)
        direction, norm = _directions(y_pred)
        out[...] = (direction * (target * direction).sum(axis=-1, keepdims=True) - target) / norm


def _directions(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    norm = np.maximum(np.sqrt(np.square(x).sum(axis=-1, keepdims=True)), config.epsilon())
    return x / norm, norm


class LossFunction:
    """`function(y_true, y_pred, **options)`: the values per sample of the loss class with these options."""

    def __init__(self, loss_class: type[Loss], name: str) -> None:
        self.loss_class = loss_class
        self.__name__ = name

    def __call__(self, y_true: Any, y_pred: Any, **options: Any) -> np.ndarray:
        return self.loss_class(**options).per_sample(y_true, y_pred)

    def __repr__(self) -> str:
        return f"<loss function {self.__name__}>"


binary_crossentropy = LossFunction(BinaryCrossentropy, "binary_crossentropy")
categorical_crossentropy = LossFunction(CategoricalCrossentropy, "categorical_crossentropy")
sparse_categorical_crossentropy = LossFunction(SparseCategoricalCrossentropy, "sparse_categorical_crossentropy")
mean_squared_error = LossFunction(MeanSquaredError, "mean_squared_error")
mean_absolute_error = LossFunction(MeanAbsoluteError, "mean_absolute_error")
huber = LossFunction(Huber, "huber")
log_cosh = LossFunction(LogCosh, "log_cosh")
poisson = LossFunction(Poisson, "poisson")
hinge = LossFunction(Hinge, "hinge")
categorical_hinge = LossFunction(CategoricalHinge, "categorical_hinge")
kl_divergence = LossFunction(KLDivergence, "kl_divergence")
cosine_similarity = LossFunction(CosineSimilarity, "cosine_similarity")

_CLASSES = (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
    SparseCategoricalCrossentropy,
)
_TABLE = Table(
    "keras.losses",
    "loss",
    _CLASSES,
    aliases={
        "BCE": BinaryCrossentropy,
        "KLD": KLDivergence,
        "MAE": MeanAbsoluteError,
        "MSE": MeanSquaredError,
        "bce": BinaryCrossentropy,
        "kld": KLDivergence,
        "mae": MeanAbsoluteError,
        "mse": MeanSquaredError,
    },
)
NAMES = frozenset(_TABLE)


def get(identifier: Any) -> Loss | None:
    """The loss of a name, config, class, function form or `Loss` object; None for None.

    Raises:
        ValueError: unknown name or bad config.
        TypeError: anything else, such as a bare function.
    """
    if identifier is None:
        return None
    if isinstance(identifier, Mapping) and identifier.get("class_name") == "function":
        return get(identifier.get("config"))
    if isinstance(identifier, LossFunction):
        return identifier.loss_class(name=identifier.__name__)
    loss = _TABLE.find(identifier)(name=identifier) if isinstance(identifier, str) else _TABLE.make(identifier)
    if not isinstance(loss, Loss):
        raise _TABLE.refuse(
            identifier,
            "a Loss: subclass losses.Loss with call(y_true, y_pred) and call_gradient(y_true, y_pred, out), "
            "because a bare function has no derivative",
        )
    return loss


def resolve(identifier: Any, y_true_shape: Sequence[int | None], y_pred_shape: Sequence[int | None]) -> Loss | None:
    """As `get`, and "crossentropy" or "ce" mean the kind that fits the shapes."""
    if isinstance(identifier, str) and identifier.lower() in ("crossentropy", "ce"):
        return get(f"{target_kind(y_true_shape, y_pred_shape)}_crossentropy")
    return get(identifier)


def target_kind(y_true_shape: Sequence[int | None], y_pred_shape: Sequence[int | None]) -> str:
    """What two shapes tell of the targets: "binary", "sparse_categorical" or "categorical"."""
    if y_pred_shape[-1] == 1:
        return "binary"
    if len(y_true_shape) < len(y_pred_shape) or y_true_shape[-1] == 1:
        return "sparse_categorical"
    return "categorical"


def serialize(loss: Loss | None) -> dict[str, Any] | None:
    """The loss in Keras 3's layout."""
    return None if loss is None else _TABLE.serialize(loss)


def deserialize(config: Mapping[str, Any]) -> Any:
    """The loss of `{"class_name": ..., "config": {...}}`."""
    return get(config)
