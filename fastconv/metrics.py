"""Metrics with Keras's names: averages over all samples since the last reset.

metric.update_state(y_true, y_pred, sample_weight)    metric.result() -> float    metric.reset_state()
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastconv import losses
from fastconv.loss_base import Loss, fit_weights
from fastconv.serialization import Configurable, Table, snake_case


class Metric(Configurable):
    """Base class: a subclass defines `update_state`, `result` and `reset_state`.

    Args:
        name: under which the result is reported; the class's name in snake case by default.
        dtype: accepted for Keras's sake; sums are kept in float64.
    """

    config_keys: tuple[str, ...] = ("name", "dtype")

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        self.name = name or snake_case(type(self).__name__)
        self.dtype = dtype or "float32"

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Take a batch into account."""
        raise NotImplementedError(f"{type(self).__name__} must define update_state.")

    def result(self) -> float:
        """The metric over everything since the last reset."""
        raise NotImplementedError(f"{type(self).__name__} must define result().")

    def reset_state(self) -> None:
        """Forget everything."""
        raise NotImplementedError(f"{type(self).__name__} must define reset_state().")

    def __call__(self, *args: Any, **kwargs: Any) -> float:
        """`update_state`, then `result`."""
        self.update_state(*args, **kwargs)
        return self.result()


class Mean(Metric):
    """The weighted mean of values, averaged per sample over axes after the first; 0 before any value."""

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.reset_state()

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Values of any shape; weights: one for each value, or one for each of the first axes."""
        values = np.asarray(values, np.float64)
        if sample_weight is None:
            self._count += len(values) if values.ndim else 1
        else:
            axes = np.asarray(sample_weight).ndim
            if values.ndim > axes:
                values = values.mean(axis=tuple(range(axes, values.ndim)))
            weights = fit_weights(np.asarray(sample_weight, np.float64), values.shape)
            values = values * weights
            self._count += float(_per_sample(weights).sum())
        self._total += float(_per_sample(values).sum())

    def add(self, total: float, count: float) -> None:
        """Take values into account that were weighted and summed elsewhere, and the sum of their weights."""
        self._total += total
        self._count += count

    def result(self) -> float:
        return self._total / self._count if self._count else 0.0

    def reset_state(self) -> None:
        self._total = 0.0
        self._count = 0.0


def _per_sample(values: np.ndarray) -> np.ndarray:
    """Averages over all axes but the first."""
    return values.mean(axis=tuple(range(1, values.ndim))) if values.ndim > 1 else values


class MeanMetricWrapper(Mean):
    """The mean of `fn(y_true, y_pred, **options)`, a value or more per sample; its name is the function's."""

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **options: Any) -> None:
        super().__init__(name or getattr(fn, "__name__", None), dtype)
        self.fn = fn
        self.options = options

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        values = self.fn(np.asarray(y_true), np.asarray(y_pred), **self.options)
        super().update_state(values, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.options}


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


def _squared_error(y_true: Any, y_pred: Any) -> np.ndarray:
    y_true, y_pred = same_rank(np.asarray(y_true, np.float64), np.asarray(y_pred, np.float64))
    return np.square(y_pred - y_true)


def _cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> np.ndarray:
    # The loss has the other sign, so that smaller is better there.
    return -losses.cosine_similarity(y_true, y_pred, axis=axis)


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


class _OfFunction(MeanMetricWrapper):
    """The mean of the class's `function`, whose options follow the name and dtype."""

    function: Callable[..., Any]

    def __init__(self, name: str | None = None, dtype: Any = None, **options: Any) -> None:
        super().__init__(self.function, name or snake_case(type(self).__name__), dtype, **options)
        if isinstance(self.function, losses.LossFunction):
            self.function.loss_class(**options)  # Refuses bad options now rather than at the first batch.


class Accuracy(_OfFunction):
    """How often y_true equals y_pred."""

    function = staticmethod(accuracy)


class BinaryAccuracy(_OfFunction):
    """How often y_true, of 0 and 1, tells whether y_pred is above `threshold`."""

    function = staticmethod(binary_accuracy)

    def __init__(self, name: str | None = None, dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(name, dtype, threshold=threshold)


class CategoricalAccuracy(_OfFunction):
    """How often the largest of y_pred is at the place of the largest of y_true."""

    function = staticmethod(categorical_accuracy)


class SparseCategoricalAccuracy(_OfFunction):
    """How often the largest of y_pred is at the place y_true, a class number."""

    function = staticmethod(sparse_categorical_accuracy)


class TopKCategoricalAccuracy(_OfFunction):
    """How often y_pred at the largest of y_true is among its `k` largest."""

    function = staticmethod(top_k_categorical_accuracy)

    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype, k=k)


class SparseTopKCategoricalAccuracy(_OfFunction):
    """How often y_pred at the class number y_true is among its `k` largest."""

    function = staticmethod(sparse_top_k_categorical_accuracy)

    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype, k=k)


class MeanSquaredError(_OfFunction):
    """Mean of (y_pred - y_true) ** 2."""

    function = losses.mean_squared_error


class RootMeanSquaredError(_OfFunction):
    """Square root of the mean of (y_pred - y_true) ** 2."""

    function = staticmethod(_squared_error)

    def result(self) -> float:
        return math.sqrt(super().result())


class MeanAbsoluteError(_OfFunction):
    """Mean of |y_pred - y_true|."""

    function = losses.mean_absolute_error


class BinaryCrossentropy(_OfFunction):
    """Mean of `losses.binary_crossentropy`; options from_logits, label_smoothing."""

    function = losses.binary_crossentropy


class CategoricalCrossentropy(_OfFunction):
    """Mean of `losses.categorical_crossentropy`; options from_logits, label_smoothing, axis."""

    function = losses.categorical_crossentropy


class SparseCategoricalCrossentropy(_OfFunction):
    """Mean of `losses.sparse_categorical_crossentropy`; options from_logits, ignore_class."""

    function = losses.sparse_categorical_crossentropy


class KLDivergence(_OfFunction):
    """Mean of `losses.kl_divergence`."""

    function = losses.kl_divergence


class Poisson(_OfFunction):
    """Mean of `losses.poisson`."""

    function = losses.poisson


class Hinge(_OfFunction):
    """Mean of `losses.hinge`."""

    function = losses.hinge


class CategoricalHinge(_OfFunction):
    """Mean of `losses.categorical_hinge`."""

    function = losses.categorical_hinge


class CosineSimilarity(_OfFunction):
    """Mean cosine of the angle between y_true and y_pred along `axis`, from -1 to 1 (alike)."""

    function = staticmethod(_cosine_similarity)

    def __init__(self, name: str | None = None, dtype: Any = None, axis: int = -1) -> None:
        super().__init__(name, dtype, axis=axis)


_TABLE = Table(
    "keras.metrics",
    "metric",
    (
        Accuracy,
        BinaryAccuracy,
        BinaryCrossentropy,
        CategoricalAccuracy,
        CategoricalCrossentropy,
        CategoricalHinge,
        CosineSimilarity,
        Hinge,
        KLDivergence,
        Mean,
        MeanAbsoluteError,
        MeanSquaredError,
        Poisson,
        RootMeanSquaredError,
        SparseCategoricalAccuracy,
        SparseCategoricalCrossentropy,
        SparseTopKCategoricalAccuracy,
        TopKCategoricalAccuracy,
    ),
)


def get(identifier: Any) -> Metric | None:
    """The metric of a name, config, class, `Metric`, `Loss` or function; None for None.

    Names are those of metrics and losses. A function of (y_true, y_pred) returns a value or more per sample.

    Raises:
        ValueError: unknown name or bad config.
        TypeError: anything else.
    """
    if identifier is None or isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, str):
        if identifier in _TABLE:
            return _TABLE.find(identifier)()
        if identifier not in losses.NAMES:
            known = ", ".join(sorted({*_TABLE, *losses.NAMES}))
            raise ValueError(f"Unknown metric {identifier!r}. Known: {known}.")
        identifier = losses.get(identifier)
    if isinstance(identifier, Loss):
        return MeanMetricWrapper(identifier.per_sample, identifier.name)
    metric = _TABLE.make(identifier)
    if isinstance(metric, Metric):
        return metric
    if not callable(metric):
        raise _TABLE.refuse(identifier, "a Metric, a Loss or a function of (y_true, y_pred)")
    return MeanMetricWrapper(metric)


_ACCURACIES: dict[str, type[Metric]] = {
    "binary": BinaryAccuracy,
    "categorical": CategoricalAccuracy,
    "sparse_categorical": SparseCategoricalAccuracy,
}


def resolve(identifier: Any, y_true_shape: Sequence[int | None], y_pred_shape: Sequence[int | None]) -> Metric | None:
    """As `get`; "accuracy", "acc", "crossentropy" and "ce" mean the kind that fits the shapes of a batch.

    A metric given by name is reported under that very name.
    """
    if not isinstance(identifier, str):
        return get(identifier)
    kind = losses.target_kind(y_true_shape, y_pred_shape)
    metric: Metric | None
    if identifier.lower() in ("accuracy", "acc"):
        metric = _ACCURACIES[kind]()
    elif identifier.lower() in ("crossentropy", "ce"):
        metric = get(f"{kind}_crossentropy")
    else:
        metric = get(identifier)
    if metric is not None:
        metric.name = identifier
    return metric


def serialize(metric: Metric | None) -> dict[str, Any] | None:
    """The metric in Keras 3's layout."""
    return None if metric is None else _TABLE.serialize(metric)


def deserialize(config: Mapping[str, Any]) -> Any:
    """The metric of `{"class_name": ..., "config": {...}}`."""
    return _TABLE.deserialize(config)
