"""How often a prediction is right, by five meanings of right."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.metric_base import FunctionMetric


def accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """Where y_true equals y_pred."""
    y_true, y_pred = same_rank(np.asarray(y_true), np.asarray(y_pred))
    return y_true == y_pred


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> np.ndarray:
    """Where y_true, of 0 and 1, tells whether y_pred is above `threshold`."""
    y_true, y_pred = same_rank(np.asarray(y_true), np.asarray(y_pred))
    return y_true == (y_pred > threshold)


def categorical_accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """Where the largest of y_pred is at the place of the largest of y_true, over the last axis."""
    y_true, y_pred = rows(y_true, y_pred)
    return y_true.argmax(axis=-1) == y_pred.argmax(axis=-1)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """Where the largest of y_pred, over the last axis, is at the place y_true."""
    y_true, y_pred = labels(y_true, y_pred)
    return y_true == y_pred.argmax(axis=-1)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> np.ndarray:
    """Where y_pred at the largest of y_true is among the `k` largest of y_pred, over the last axis."""
    y_true, y_pred = rows(y_true, y_pred)
    return _in_top_k(y_true.argmax(axis=-1), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> np.ndarray:
    """Where y_pred at the place y_true is among the `k` largest of y_pred, over the last axis."""
    y_true, y_pred = labels(y_true, y_pred)
    return _in_top_k(y_true.astype(np.int64), y_pred, k)


def _in_top_k(labels: np.ndarray, y_pred: np.ndarray, k: int) -> np.ndarray:
    at_label = np.take_along_axis(y_pred, labels[..., None], -1)
    # Written so that a NaN is in nobody's top k, and that equal values share the better place.
    return np.isfinite(at_label[..., 0]) & ((y_pred > at_label).sum(axis=-1) < k)


def same_rank(y_true: np.ndarray, y_pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in one shape: a last axis of length 1 may be missing in either."""
    given = y_true.shape, y_pred.shape
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        y_pred = y_pred[..., None]
    elif y_pred.ndim == y_true.ndim + 1 and y_pred.shape[-1] == 1:
        y_true = y_true[..., None]
    if y_true.shape != y_pred.shape:
        raise ValueError(f"y_true of shape {given[0]} does not fit y_pred of shape {given[1]}.")
    return y_true, y_pred


def rows(y_true: Any, y_pred: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both, of one shape."""
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if y_true.shape != y_pred.shape:
        raise ValueError(
            f"categorical accuracy: y_true of shape {y_true.shape} must have the shape of y_pred, "
            f"{y_pred.shape}. For class numbers use the sparse kind."
        )
    return y_true, y_pred


def labels(y_true: Any, y_pred: Any) -> tuple[np.ndarray, np.ndarray]:
    """Class numbers in the shape of y_pred without its last axis, and y_pred."""
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    given = y_true.shape
    if y_true.ndim == y_pred.ndim and given[-1] == 1:
        y_true = y_true[..., 0]
    if y_true.shape != y_pred.shape[:-1]:
        raise ValueError(
            f"sparse categorical accuracy: y_true of shape {given} must hold one class number for each row "
            f"of y_pred, of shape {y_pred.shape}."
        )
    return y_true, y_pred


class Matches(FunctionMetric):
    """The share of right predictions."""

    direction = "up"


class Accuracy(Matches):
    """How often y_true equals y_pred."""

    function = staticmethod(accuracy)


class BinaryAccuracy(Matches):
    """How often y_true, of 0 and 1, tells whether y_pred is above `threshold`."""

    function = staticmethod(binary_accuracy)

    def __init__(self, name: str | None = None, dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(name, dtype, threshold=threshold)


class CategoricalAccuracy(Matches):
    """How often the largest of y_pred is at the place of the largest of y_true."""

    function = staticmethod(categorical_accuracy)


class SparseCategoricalAccuracy(Matches):
    """How often the largest of y_pred is at the place y_true, a class number."""

    function = staticmethod(sparse_categorical_accuracy)


class TopKCategoricalAccuracy(Matches):
    """How often y_pred at the largest of y_true is among its `k` largest."""

    function = staticmethod(top_k_categorical_accuracy)

    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype, k=k)


class SparseTopKCategoricalAccuracy(Matches):
    """How often y_pred at the class number y_true is among its `k` largest."""

    function = staticmethod(sparse_top_k_categorical_accuracy)

    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype, k=k)
