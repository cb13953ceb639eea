"""Confusion matrices, and how much predicted and true regions of each class overlap: intersection over union."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import config
from fastconv.metric_base import Metric
from fastconv.metric_confusion import divide

_ALMOST_ZERO = 1e-9


def confusion_matrix(
    y_true: Any, y_pred: Any, *, labels: Any = None, sample_weight: Any = None, normalize: str | None = None
) -> np.ndarray:
    """How often class i (row) is taken for class j (column), as scikit-learn's function of that name.

    Args:
        y_true: labels of shape (samples,), or one-hot rows.
        y_pred: labels, or rows of probabilities, whose largest counts.
        labels: the classes in the order of the rows; by default all that are there, sorted. Others do not count.
        sample_weight: what each sample counts; 1 by default.
        normalize: "true", "pred" or "all": divide by the sum of the row, of the column, or of all.

    Returns:
        Shape (classes, classes): int64 without weights and `normalize`, else float64.

    Raises:
        ValueError: the shapes do not fit, or `normalize` is something else.
    """
    y_true, y_pred = (_as_labels(np.asarray(y)) for y in (y_true, y_pred))
    if y_true.shape != y_pred.shape:
        raise ValueError(f"y_true and y_pred must have one label for each sample, not {len(y_true)} and {len(y_pred)}.")
    if normalize not in (None, "true", "pred", "all"):
        raise ValueError(f'normalize must be "true", "pred", "all" or None, not {normalize!r}.')
    classes = np.unique(np.concatenate([y_true, y_pred])) if labels is None else np.asarray(labels)
    ordered = np.argsort(classes, kind="stable")
    places = [ordered[np.searchsorted(classes, y, sorter=ordered).clip(0, len(classes) - 1)] for y in (y_true, y_pred)]
    known = (classes[places[0]] == y_true) & (classes[places[1]] == y_pred)
    weights = None if sample_weight is None else np.asarray(sample_weight, np.float64)[known]
    count = len(classes)
    matrix = np.bincount(places[0][known] * count + places[1][known], weights, count * count).reshape(count, count)
    if normalize is None:
        return matrix
    axis = {"true": 1, "pred": 0, "all": None}[normalize]
    matrix = matrix.astype(np.float64)
    return divide(matrix, np.broadcast_to(matrix.sum(axis=axis, keepdims=True), matrix.shape))


def _as_labels(y: np.ndarray) -> np.ndarray:
    return y.argmax(axis=-1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(-1)


class IoU(Metric):
    """Mean over some classes of |both| / |either|, of the pixels that are and those that are taken for the class.

    Classes that are not there at all do not count; nor do pixels whose class is below 0 or not below `num_classes`.

    Args:
        num_classes: how many classes there are.
        target_class_ids: which of them count.
        ignore_class: pixels that are of it do not count.
        sparse_y_true, sparse_y_pred: whether they hold class numbers; else numbers for each class along `axis`.
        axis: see there.
        name, dtype: as for `Metric`.

    Raises:
        ValueError: a class of `target_class_ids` is none of `num_classes`.
    """

    config_keys: tuple[str, ...] = (
        "name",
        "dtype",
        "num_classes",
        "target_class_ids",
        "ignore_class",
        "sparse_y_true",
        "sparse_y_pred",
        "axis",
    )
    direction = "up"

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        super().__init__(name, dtype)
        self.target_class_ids = list(target_class_ids)
        if any(not 0 <= number < num_classes for number in self.target_class_ids):
            raise ValueError(f"target_class_ids must be from 0 to {num_classes - 1}, not {target_class_ids!r}.")
        self.num_classes = num_classes
        self.ignore_class = ignore_class
        self.sparse_y_true = sparse_y_true
        self.sparse_y_pred = sparse_y_pred
        self.axis = axis
        self.reset_state()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
        y_true = (y_true if self.sparse_y_true else y_true.argmax(self.axis)).reshape(-1).astype(np.int64)
        y_pred = (y_pred if self.sparse_y_pred else y_pred.argmax(self.axis)).reshape(-1).astype(np.int64)
        if y_true.shape != y_pred.shape:
            raise ValueError(f"{self.name}: {y_true.size} true classes do not fit {y_pred.size} predicted ones.")
        weights = np.asarray(1.0 if sample_weight is None else sample_weight, np.float64)
        weights = np.broadcast_to(weights.reshape(-1) if weights.ndim else weights, y_true.shape)
        counted = (0 <= y_true) & (y_true < self.num_classes) & (0 <= y_pred) & (y_pred < self.num_classes)
        if self.ignore_class is not None:
            counted &= y_true != self.ignore_class
        places = y_true[counted] * self.num_classes + y_pred[counted]
        self.add(np.bincount(places, weights[counted], self.num_classes**2))

    def add(self, counts: np.ndarray) -> None:
        """Take into account what was counted elsewhere: the confusion matrix, row after row."""
        self.total_cm += counts.reshape(self.total_cm.shape)

    def reset_state(self) -> None:
        self.total_cm = np.zeros((self.num_classes, self.num_classes))

    def result(self) -> float:
        both = self.total_cm.diagonal()
        either = self.total_cm.sum(axis=0) + self.total_cm.sum(axis=1) - both
        there = either > _ALMOST_ZERO
        ratios = np.where(there, both / (either + config.epsilon()), 0)[self.target_class_ids]
        return float(ratios.sum() / (there[self.target_class_ids].sum() + config.epsilon()))


class BinaryIoU(IoU):
    """`IoU` of two classes: predictions from `threshold` on mean 1, others 0."""

    config_keys = ("name", "dtype", "target_class_ids", "threshold")

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(2, target_class_ids, name, dtype)
        self.threshold = threshold

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        super().update_state(y_true, np.asarray(y_pred, np.float32) >= self.threshold, sample_weight)


class MeanIoU(IoU):
    """`IoU` of all classes."""

    config_keys: tuple[str, ...] = (
        "name",
        "dtype",
        "num_classes",
        "ignore_class",
        "sparse_y_true",
        "sparse_y_pred",
        "axis",
    )

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        kinds = (ignore_class, sparse_y_true, sparse_y_pred, axis)
        super().__init__(num_classes, range(num_classes), name, dtype, *kinds)


class OneHotIoU(IoU):
    """`IoU` for one-hot y_true."""

    config_keys = ("name", "dtype", "num_classes", "target_class_ids", "ignore_class", "sparse_y_pred", "axis")

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)


class OneHotMeanIoU(MeanIoU):
    """`MeanIoU` for one-hot y_true."""

    config_keys = ("name", "dtype", "num_classes", "ignore_class", "sparse_y_pred", "axis")

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)
