"""Cross-entropies that look less at samples which are right already, or at targets which may be wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import activations
from fastconv.loss_base import Loss
from fastconv.loss_crossentropy import (
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    check_last,
    clip_probabilities,
    smoothing,
)


class BinaryFocalCrossentropy(Loss):
    """Binary cross-entropy times (1 - p) ** gamma, where p is the probability given to the right answer.

    Args:
        apply_class_balancing: whether ones also count `alpha` times and zeros 1 - alpha times.
        alpha: a number from 0 to 1.
        gamma: 0 or more; 0 is the plain binary cross-entropy.
        from_logits, label_smoothing, axis, reduction, name, dtype: as for `BinaryCrossentropy`.
    """

    config_keys = (
        "name",
        "reduction",
        "from_logits",
        "label_smoothing",
        "axis",
        "apply_class_balancing",
        "alpha",
        "gamma",
    )

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        check_last("BinaryFocalCrossentropy", axis)
        self.apply_class_balancing = apply_class_balancing
        self.alpha = alpha
        self.gamma = gamma
        self.from_logits = from_logits
        self.label_smoothing = smoothing(label_smoothing)
        self.axis = axis

    def prepare(self, y_true, y_pred):
        y_true, y_pred = super().prepare(y_true, y_pred)
        if self.label_smoothing:
            y_true = y_true * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        return y_true, y_pred

    def call(self, y_true, y_pred):
        p = activations.sigmoid(y_pred) if self.from_logits else y_pred
        entropy, focus = self._parts(y_true, p)
        return (self._balance(y_true) * focus**self.gamma * entropy).mean(axis=-1)

    def call_gradient(self, y_true, y_pred, out):
        p = activations.sigmoid(y_pred) if self.from_logits else y_pred
        entropy, focus = self._parts(y_true, p)
        clipped = clip_probabilities(p)
        slope = focus**self.gamma * (clipped == p) * (clipped - y_true) / (clipped * (1 - clipped))
        if self.gamma:
            slope += self.gamma * focus ** (self.gamma - 1) * (1 - 2 * y_true) * entropy
        if self.from_logits:
            slope *= p * (1 - p)
        np.divide(self._balance(y_true) * slope, y_true.shape[-1], out=out)

    @staticmethod
    def _parts(y_true: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The cross-entropy, and the probability given to the wrong answer."""
        clipped = clip_probabilities(p)
        entropy = -(y_true * np.log(clipped) + (1 - y_true) * np.log(1 - clipped))
        return entropy, 1 - (y_true * p + (1 - y_true) * (1 - p))

    def _balance(self, y_true: np.ndarray) -> Any:
        return y_true * self.alpha + (1 - y_true) * (1 - self.alpha) if self.apply_class_balancing else 1


class CategoricalFocalCrossentropy(CategoricalCrossentropy):
    """Categorical cross-entropy with each class's part times alpha * (1 - p) ** gamma, for its probability p.

    Args:
        alpha: a number, or one for each class.
        gamma: 0 or more.
        from_logits, label_smoothing, axis, reduction, name, dtype: as for `CategoricalCrossentropy`.
    """

    config_keys = (*CategoricalCrossentropy.config_keys, "alpha", "gamma")

    def __init__(
        self,
        alpha: Any = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.alpha = alpha
        self.gamma = gamma
        self.fused_activation = None

    def call(self, y_true, y_pred):
        p = activations.softmax(y_pred) if self.from_logits else y_pred / y_pred.sum(axis=-1, keepdims=True)
        clipped = clip_probabilities(p)
        return -(self._alpha(p) * (1 - clipped) ** self.gamma * y_true * np.log(clipped)).sum(axis=-1)

    def call_gradient(self, y_true, y_pred, out):
        total = 1 if self.from_logits else y_pred.sum(axis=-1, keepdims=True)
        p = activations.softmax(y_pred) if self.from_logits else y_pred / total
        clipped = clip_probabilities(p)
        slope = -((1 - clipped) ** self.gamma) / clipped
        if self.gamma:
            slope += self.gamma * (1 - clipped) ** (self.gamma - 1) * np.log(clipped)
        slope *= self._alpha(p) * y_true * (clipped == p)
        slope -= (slope * p).sum(axis=-1, keepdims=True)
        if self.from_logits:
            slope *= p
        np.divide(slope, total, out=out)

    def _alpha(self, p: np.ndarray) -> np.ndarray:
        return np.asarray(self.alpha, p.dtype)


class CategoricalGeneralizedCrossEntropy(SparseCategoricalCrossentropy):
    """(1 - p ** q) / q for the probability p of the class y_true, which wrong targets disturb less than -log(p) does.

    Args:
        q: between 0 (-log(p)) and 1 (1 - p).
        reduction, name, dtype: as for `Loss`.

    Raises:
        ValueError: `q` is not between 0 and 1; on call as `SparseCategoricalCrossentropy`.
    """

    config_keys = (*Loss.config_keys, "q")

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        if not 0 < q < 1:
            raise ValueError(f"q must be between 0 and 1, not {q!r}.")
        super().__init__(reduction=reduction, name=name, dtype=dtype)
        self.q = q
        self.fused_activation = None

    def call(self, y_true, y_pred):
        return (1 - np.take_along_axis(y_pred, y_true, -1)[..., 0] ** self.q) / self.q

    def call_gradient(self, y_true, y_pred, out):
        slope = -(np.take_along_axis(y_pred, y_true, -1) ** (self.q - 1))
        out[...] = 0
        np.put_along_axis(out, y_true, slope, -1)
