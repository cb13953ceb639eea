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
from fastconv.loss_elementwise import (
    Hinge,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    SquaredHinge,
)
from fastconv.loss_focal import (
    BinaryFocalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy,
)
from fastconv.loss_overlap import Dice, Tversky
from fastconv.serialization import Table


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
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
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
binary_focal_crossentropy = LossFunction(BinaryFocalCrossentropy, "binary_focal_crossentropy")
categorical_crossentropy = LossFunction(CategoricalCrossentropy, "categorical_crossentropy")
categorical_focal_crossentropy = LossFunction(CategoricalFocalCrossentropy, "categorical_focal_crossentropy")
categorical_generalized_cross_entropy = LossFunction(
    CategoricalGeneralizedCrossEntropy, "categorical_generalized_cross_entropy"
)
categorical_hinge = LossFunction(CategoricalHinge, "categorical_hinge")
cosine_similarity = LossFunction(CosineSimilarity, "cosine_similarity")
dice = LossFunction(Dice, "dice")
hinge = LossFunction(Hinge, "hinge")
huber = LossFunction(Huber, "huber")
kl_divergence = LossFunction(KLDivergence, "kl_divergence")
log_cosh = LossFunction(LogCosh, "log_cosh")
mean_absolute_error = LossFunction(MeanAbsoluteError, "mean_absolute_error")
mean_absolute_percentage_error = LossFunction(MeanAbsolutePercentageError, "mean_absolute_percentage_error")
mean_squared_error = LossFunction(MeanSquaredError, "mean_squared_error")
mean_squared_logarithmic_error = LossFunction(MeanSquaredLogarithmicError, "mean_squared_logarithmic_error")
poisson = LossFunction(Poisson, "poisson")
sparse_categorical_crossentropy = LossFunction(SparseCategoricalCrossentropy, "sparse_categorical_crossentropy")
squared_hinge = LossFunction(SquaredHinge, "squared_hinge")
tversky = LossFunction(Tversky, "tversky")

# The short names of Keras 2.
bce = BCE = binary_crossentropy
kld = KLD = kl_divergence
mae = MAE = mean_absolute_error
mape = MAPE = mean_absolute_percentage_error
mse = MSE = mean_squared_error
msle = MSLE = mean_squared_logarithmic_error

_CLASSES = (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy,
    CategoricalHinge,
    CosineSimilarity,
    Dice,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    SparseCategoricalCrossentropy,
    SquaredHinge,
    Tversky,
)
_SHORT = {
    "bce": BinaryCrossentropy,
    "kld": KLDivergence,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "mse": MeanSquaredError,
    "msle": MeanSquaredLogarithmicError,
}
_TABLE = Table("keras.losses", "loss", _CLASSES, aliases={**_SHORT, **{name.upper(): _SHORT[name] for name in _SHORT}})
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
