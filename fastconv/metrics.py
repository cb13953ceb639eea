"""Metrics with Keras's names: what is known of all samples since the last reset.

    metric.update_state(y_true, y_pred, sample_weight)    metric.result() -> float    metric.reset_state()

They are in `metric_accuracy`, `metric_losses`, `metric_confusion`, `metric_auc`, `metric_scores` and `metric_iou`; here
they get their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastconv import losses
from fastconv.loss_base import Loss
from fastconv.losses import (
    MAE,
    MAPE,
    MSE,
    MSLE,
    bce,
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mae,
    mape,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    mse,
    msle,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from fastconv.metric_accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    accuracy,
    binary_accuracy,
    categorical_accuracy,
    labels,
    rows,
    same_rank,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from fastconv.metric_auc import AUC
from fastconv.metric_base import Mean, MeanMetricWrapper, Metric, Sum
from fastconv.metric_confusion import (
    FalseNegatives,
    FalsePositives,
    Precision,
    PrecisionAtRecall,
    Recall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    TrueNegatives,
    TruePositives,
)
from fastconv.metric_iou import BinaryIoU, IoU, MeanIoU, OneHotIoU, OneHotMeanIoU, confusion_matrix
from fastconv.metric_losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    RootMeanSquaredError,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
from fastconv.metric_scores import (
    ConcordanceCorrelation,
    F1Score,
    FBetaScore,
    PearsonCorrelation,
    R2Score,
    concordance_correlation,
    pearson_correlation,
)
from fastconv.serialization import Table

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "BinaryIoU",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "ConcordanceCorrelation",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "IoU",
    "KLDivergence",
    "LogCoshError",
    "MAE",
    "MAPE",
    "MSE",
    "MSLE",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanIoU",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "OneHotIoU",
    "OneHotMeanIoU",
    "PearsonCorrelation",
    "Poisson",
    "Precision",
    "PrecisionAtRecall",
    "R2Score",
    "Recall",
    "RecallAtPrecision",
    "RootMeanSquaredError",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "accuracy",
    "bce",
    "binary_accuracy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "concordance_correlation",
    "confusion_matrix",
    "deserialize",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "labels",
    "log_cosh",
    "mae",
    "mape",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "mse",
    "msle",
    "pearson_correlation",
    "poisson",
    "resolve",
    "rows",
    "same_rank",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "top_k_categorical_accuracy",
]


_TABLE = Table(
    "keras.metrics",
    "metric",
    (
        AUC,
        Accuracy,
        BinaryAccuracy,
        BinaryCrossentropy,
        BinaryIoU,
        CategoricalAccuracy,
        CategoricalCrossentropy,
        CategoricalHinge,
        ConcordanceCorrelation,
        CosineSimilarity,
        F1Score,
        FBetaScore,
        FalseNegatives,
        FalsePositives,
        Hinge,
        IoU,
        KLDivergence,
        LogCoshError,
        Mean,
        MeanAbsoluteError,
        MeanAbsolutePercentageError,
        MeanIoU,
        MeanSquaredError,
        MeanSquaredLogarithmicError,
        OneHotIoU,
        OneHotMeanIoU,
        PearsonCorrelation,
        Poisson,
        Precision,
        PrecisionAtRecall,
        R2Score,
        Recall,
        RecallAtPrecision,
        RootMeanSquaredError,
        SensitivityAtSpecificity,
        SparseCategoricalAccuracy,
        SparseCategoricalCrossentropy,
        SparseTopKCategoricalAccuracy,
        SpecificityAtSensitivity,
        SquaredHinge,
        Sum,
        TopKCategoricalAccuracy,
        TrueNegatives,
        TruePositives,
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
            try:
                return _TABLE.find(identifier)()
            except TypeError as error:
                raise ValueError(f"The metric {identifier!r} needs arguments ({error}): pass an object.") from error
        if identifier not in losses.NAMES:
            known = ", ".join(sorted({*_TABLE, *losses.NAMES}))
            raise ValueError(f"Unknown metric {identifier!r}. Known: {known}.")
        identifier = losses.get(identifier)
    if isinstance(identifier, Loss):
        mean = MeanMetricWrapper(identifier.per_sample, identifier.name)
        mean.direction = "down"
        return mean
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
