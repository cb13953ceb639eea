"""The three cross-entropies, also by the input of the softmax or sigmoid that made the probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import activations, config
from fastconv.loss_base import Loss


def _log_softmax(x: np.ndarray) -> np.ndarray:
    return activations.log_softmax.forward(x, np.empty_like(x))


def clip_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities kept off 0 and 1 by epsilon. Where that changes them, the loss has no slope."""
    return np.clip(probabilities, config.epsilon(), 1 - config.epsilon())


class CategoricalCrossentropy(Loss):
    """-sum(y_true * log(y_pred)) along `axis`, for y_true with one number per class.

    Args:
        from_logits: whether y_pred is what would go into a softmax; else probabilities, which are divided by
            their sum and clipped to [epsilon, 1 - epsilon] before the logarithm.
        label_smoothing: the share of every target that is spread evenly over the classes.
        axis: the axis of the classes.
        reduction, name, dtype: as for `Loss`.
    """

    config_keys: tuple[str, ...] = ("name", "reduction", "from_logits", "label_smoothing", "axis")

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.from_logits = from_logits
        self.label_smoothing = smoothing(label_smoothing)
        self.axis = axis
        self.fused_activation = "softmax" if not from_logits and axis == -1 else None

    def view(self, array, y_true_ndim):
        return array if self.axis == -1 else np.moveaxis(array, self.axis, -1)

    def prepare(self, y_true, y_pred):
        if y_true.shape != y_pred.shape:
            raise ValueError(
                f"{self.name}: y_true of shape {y_true.shape} must have the shape of y_pred, {y_pred.shape}: "
                "one number per class. For class numbers use sparse_categorical_crossentropy, or turn them "
                "into such rows with utils.to_categorical."
            )
        y_true = self.view(y_true.astype(y_pred.dtype, copy=False), y_true.ndim)
        if self.label_smoothing:
            y_true = y_true * (1 - self.label_smoothing) + self.label_smoothing / y_true.shape[-1]
        return y_true, self.view(y_pred, y_true.ndim)

    def call(self, y_true, y_pred):
        if self.from_logits:
            return -(y_true * _log_softmax(y_pred)).sum(axis=-1)
        log = np.log(clip_probabilities(y_pred / y_pred.sum(axis=-1, keepdims=True)))
        return -(y_true * log).sum(axis=-1)

    def call_gradient(self, y_true, y_pred, out):
        if self.from_logits:
            self.call_logits_gradient(y_true, np.exp(_log_softmax(y_pred)), out)
            return
        total = y_pred.sum(axis=-1, keepdims=True)
        p = y_pred / total
        clipped = clip_probabilities(p)
        counted = y_true * (clipped == p)
        out[...] = (counted.sum(axis=-1, keepdims=True) - counted / clipped) / total

    def call_logits_gradient(self, y_true, y_pred, out):
        np.multiply(y_pred, y_true.sum(axis=-1, keepdims=True), out=out)
        out -= y_true


class SparseCategoricalCrossentropy(Loss):
    """-log(y_pred[y_true]) for class numbers y_true, of y_pred's shape without its last axis or with 1 there.

    Args:
        from_logits: as for `CategoricalCrossentropy`.
        ignore_class: samples with this number in y_true do not count, nor into the number that divides.
        axis: the axis of the classes; only the last.
        reduction, name, dtype: as for `Loss`.

    Raises:
        ValueError: on call, shapes that do not fit, or class numbers that are not whole or out of range.
    """

    config_keys: tuple[str, ...] = ("name", "reduction", "from_logits", "ignore_class")

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.from_logits = from_logits
        check_last("SparseCategoricalCrossentropy", axis)
        self.ignore_class = ignore_class
        self.fused_activation = None if from_logits else "softmax"

    def view(self, array, y_true_ndim):
        return array

    def mask(self, y_true):
        return None if self.ignore_class is None else y_true != self.ignore_class

    def prepare(self, y_true, y_pred):
        """The class numbers, int64 of y_pred's shape with a last axis of 1, and y_pred."""
        given, classes = y_true.shape, y_pred.shape[-1]
        if y_true.ndim == y_pred.ndim and given[-1] == 1:
            y_true = y_true[..., 0]
        if y_true.shape != y_pred.shape[:-1]:
            hint = " For one number per class use categorical_crossentropy." if given == y_pred.shape else ""
            raise ValueError(
                f"{self.name}: y_true of shape {given} must hold one class number for each row of y_pred, "
                f"of shape {y_pred.shape}.{hint}"
            )
        mask = self.mask(y_true)
        y_true = y_true if mask is None else np.where(mask, y_true, 0)
        labels = y_true.astype(np.int64)
        if y_true.dtype.kind not in "iub" and not np.array_equal(labels, y_true):
            raise ValueError(f"{self.name}: y_true must hold whole class numbers, not {y_true.dtype} fractions.")
        if labels.size and not (0 <= labels.min() and labels.max() < classes):
            raise ValueError(
                f"{self.name}: y_true must hold class numbers from 0 to {classes - 1}, one for each of the "
                f"{classes} columns of y_pred, but has {labels.min()} to {labels.max()}."
            )
        return labels[..., None], y_pred

    def call(self, y_true, y_pred):
        if self.from_logits:
            return -np.take_along_axis(_log_softmax(y_pred), y_true, -1)[..., 0]
        p = np.take_along_axis(y_pred, y_true, -1) / y_pred.sum(axis=-1, keepdims=True)
        return -np.log(clip_probabilities(p)[..., 0])

    def call_gradient(self, y_true, y_pred, out):
        if self.from_logits:
            self.call_logits_gradient(y_true, np.exp(_log_softmax(y_pred)), out)
            return
        total = y_pred.sum(axis=-1, keepdims=True)
        p = np.take_along_axis(y_pred, y_true, -1) / total
        clipped = clip_probabilities(p)
        has_slope = clipped == p
        out[...] = has_slope / total
        np.put_along_axis(out, y_true, has_slope * (1 - 1 / clipped) / total, -1)

    def call_logits_gradient(self, y_true, y_pred, out):
        if out is not y_pred:
            out[...] = y_pred
        np.put_along_axis(out, y_true, np.take_along_axis(out, y_true, -1) - 1, -1)


class BinaryCrossentropy(Loss):
    """Mean over the last axis of -y_true * log(y_pred) - (1 - y_true) * log(1 - y_pred).

    Args:
        from_logits: whether y_pred is what would go into a sigmoid; else probabilities, which are clipped to
            [epsilon, 1 - epsilon] before the logarithm.
        label_smoothing: how far targets are moved towards 1/2, from 0 to 1.
        axis: the axis of the mean; only the last.
        reduction, name, dtype: as for `Loss`.
    """

    config_keys: tuple[str, ...] = ("name", "reduction", "from_logits", "label_smoothing", "axis")

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        check_last("BinaryCrossentropy", axis)
        self.from_logits = from_logits
        self.label_smoothing = smoothing(label_smoothing)
        self.axis = axis
        self.fused_activation = None if from_logits else "sigmoid"

    def prepare(self, y_true, y_pred):
        y_true, y_pred = super().prepare(y_true, y_pred)
        if self.label_smoothing:
            y_true = y_true * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        return y_true, y_pred

    def call(self, y_true, y_pred):
        if self.from_logits:
            return (np.logaddexp(0, y_pred) - y_pred * y_true).mean(axis=-1)
        p = clip_probabilities(y_pred)
        return -(y_true * np.log(p) + (1 - y_true) * np.log(1 - p)).mean(axis=-1)

    def call_gradient(self, y_true, y_pred, out):
        if self.from_logits:
            self.call_logits_gradient(y_true, activations.sigmoid(y_pred), out)
            return
        p = clip_probabilities(y_pred)
        out[...] = (p == y_pred) * (p - y_true) / (p * (1 - p) * y_true.shape[-1])

    def call_logits_gradient(self, y_true, y_pred, out):
        np.subtract(y_pred, y_true, out=out)
        out /= y_true.shape[-1]


def check_last(loss: str, axis: int) -> None:
    if axis != -1:
        raise ValueError(f"{loss} supports axis=-1, not {axis!r}.")


def smoothing(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"label_smoothing must be from 0 to 1, not {value!r}.")
    return value
