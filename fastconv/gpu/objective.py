"""What a loss and metrics add to a program: one value for each row, and their weighted sums a step.

Weights, class numbers and what a reduction divides by are the host's: it checks and converts each batch's targets as on
the CPU, and sends along a factor for each value. The sums of a step stay on the device until somebody asks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv import config, losses, metrics
from fastconv.gpu.program import Recorder
from fastconv.gpu.recorded import Unsupported
from fastconv.kernels import cuda_losses
from fastconv.loss_base import Loss, fit_weights
from fastconv.losses import LossFunction
from fastconv.metrics import Mean, MeanMetricWrapper, Metric

_LOSSES: dict[type, int] = {
    losses.SparseCategoricalCrossentropy: cuda_losses.CROSSENTROPY,
    losses.CategoricalCrossentropy: cuda_losses.CROSSENTROPY,
    losses.BinaryCrossentropy: cuda_losses.BINARY,
    losses.CategoricalHinge: cuda_losses.CATEGORICAL_HINGE,
    losses.CosineSimilarity: cuda_losses.COSINE,
    losses.MeanSquaredError: cuda_losses.SQUARED,
    losses.MeanAbsoluteError: cuda_losses.ABSOLUTE,
    losses.MeanAbsolutePercentageError: cuda_losses.PERCENTAGE,
    losses.MeanSquaredLogarithmicError: cuda_losses.LOGARITHMIC,
    losses.Huber: cuda_losses.HUBER,
    losses.LogCosh: cuda_losses.LOG_COSH,
    losses.Poisson: cuda_losses.POISSON,
    losses.Hinge: cuda_losses.HINGE,
    losses.SquaredHinge: cuda_losses.SQUARED_HINGE,
    losses.KLDivergence: cuda_losses.KL,
}
_MATCHES: dict[Any, int] = {
    metrics.accuracy: cuda_losses.SAME,
    metrics.binary_accuracy: cuda_losses.SAME_SIDE,
    metrics.categorical_accuracy: cuda_losses.SAME_LARGEST,
    metrics.sparse_categorical_accuracy: cuda_losses.SAME_LARGEST,
    metrics.top_k_categorical_accuracy: cuda_losses.IN_TOP,
    metrics.sparse_top_k_categorical_accuracy: cuda_losses.IN_TOP,
}
_SPARSE = (metrics.sparse_categorical_accuracy, metrics.sparse_top_k_categorical_accuracy)


@dataclass
class Judge:
    """A loss or metric as the device computes it.

    Attributes:
        kind, labels, parameter: as for `cuda_losses.loss`.
        loss: whose `prepare` makes the targets; None for a metric that takes them as they are.
    """

    kind: int
    labels: bool = False
    parameter: float = 0.0
    loss: Loss | None = None

    def targets(self, y: np.ndarray, y_pred: np.ndarray) -> tuple[np.ndarray, int]:
        """The targets, float32 in one row, and how many columns of y_pred give one value."""
        if self.loss is not None:
            target, prediction = self.loss.prepare(y, y_pred)
            return target, prediction.shape[-1]
        if self.kind == cuda_losses.SAME or self.kind == cuda_losses.SAME_SIDE:
            target, prediction = metrics.same_rank(y, y_pred)
            return target, prediction.shape[-1] if prediction.ndim > 1 else 1
        return (metrics.labels if self.labels else metrics.rows)(y, y_pred)[0], y_pred.shape[-1]


def judge_of_loss(loss: Loss) -> Judge | None:
    """How the device computes a loss; None if it does not."""
    kind = _LOSSES.get(type(loss))
    if kind is None or getattr(loss, "axis", -1) != -1:
        return None
    if getattr(loss, "from_logits", False):
        kind = cuda_losses.BINARY_OF_LOGITS if kind == cuda_losses.BINARY else cuda_losses.CROSSENTROPY_OF_LOGITS
    labels = type(loss) is losses.SparseCategoricalCrossentropy
    return Judge(kind, labels, float(getattr(loss, "delta", 0.0)), loss)


def judge_of_metric(metric: Metric) -> Judge | None:
    """How the device computes a metric; None if it does not."""
    if not isinstance(metric, MeanMetricWrapper) or type(metric).update_state is not MeanMetricWrapper.update_state:
        return None
    function = metric.fn
    if function in _MATCHES:
        parameter = metric.options.get("threshold", metric.options.get("k", 0.5))
        default = 5 if _MATCHES[function] == cuda_losses.IN_TOP else 0.5
        return Judge(_MATCHES[function], function in _SPARSE, float(parameter if metric.options else default))
    if isinstance(metric, metrics.RootMeanSquaredError):
        return Judge(cuda_losses.SQUARED)
    if isinstance(function, LossFunction):
        return judge_of_loss(function.loss_class(**metric.options))
    owner = getattr(function, "__self__", None)
    return judge_of_loss(owner) if isinstance(owner, Loss) and function == owner.per_sample else None


class Scores:
    """A loss and metrics in a program, and their running values.

    Args:
        objective: of the model; prepared.
        y_pred_shape: of a batch's predictions.

    Raises:
        Unsupported: the device does not compute one of them.
    """

    def __init__(self, objective: Any, y_pred_shape: tuple[int, ...]) -> None:
        self._shape = y_pred_shape
        self._weighted = [True] + [weighted for _, weighted in objective.all_metrics]
        judges = [judge_of_loss(objective.loss)] + [judge_of_metric(metric) for metric, _ in objective.all_metrics]
        for judge, name in zip(judges, objective.names, strict=True):
            if judge is None:
                raise Unsupported(f"{name!r} is computed on the CPU only: train with this model on the device 'cpu'.")
        self._judges = [judge for judge in judges if judge is not None]
        self.width = len(self._judges)

    def of_batch(self, y: np.ndarray, sample_weight: np.ndarray | None) -> tuple[list[np.ndarray], list[float]]:
        """What the device needs of a batch, targets and factors of each; and each one's sum of weights.

        Raises:
            ValueError: `y` or `sample_weight` does not suit the predictions.
        """
        y_pred = np.broadcast_to(np.zeros((), np.float32), self._shape)
        arrays, counts = [], []
        for judge, weighted in zip(self._judges, self._weighted, strict=True):
            target, columns = judge.targets(y, y_pred)
            values = np.broadcast_to(np.zeros((), np.float32), self._values_shape(columns))
            if judge is self._judges[0]:
                factors, count = self._loss_factors(judge.loss, values, y, sample_weight), float(len(y))
            else:
                factors, count = _mean_factors(values.shape, sample_weight if weighted else None)
            arrays += [target, np.broadcast_to(factors, values.shape)]
            counts.append(count)
        return arrays, counts

    def record(
        self, recorder: Recorder, y_pred: Any, given: Sequence[Any], totals: Any, row: Any, gradient: Any, fused: bool
    ) -> None:
        """Write down: sums into totals[row], and the loss's gradient where `gradient` is not None.

        given: what `of_batch` gave, on the device.
        """
        for column, judge in enumerate(self._judges):
            targets, factors = given[2 * column : 2 * column + 2]
            values = recorder.memory.zeros((factors.size,))
            is_loss = column == 0
            recorder.add(
                cuda_losses.loss(
                    judge.kind,
                    y_pred,
                    targets,
                    factors,
                    values,
                    gradient if is_loss else None,
                    columns=y_pred.size // factors.size,
                    labels=judge.labels,
                    fused=fused and is_loss,
                    epsilon=config.epsilon(),
                    parameter=judge.parameter,
                )
            )
            recorder.add(cuda_losses.weighted_sum(values, factors, totals, row, column))

    def _values_shape(self, columns: int) -> tuple[int, ...]:
        return self._shape[:-1] if columns == self._shape[-1] else (math.prod(self._shape) // columns,)

    @staticmethod
    def _loss_factors(loss: Any, values: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
        mask = loss.mask(y)
        return loss.factors(values, None if mask is None else mask.reshape(values.shape), sample_weight)


def _mean_factors(shape: tuple[int, ...], sample_weight: np.ndarray | None) -> tuple[np.ndarray, float]:
    """The factors of a mean over samples of each one's mean; and the sum of the samples' weights."""
    share = 1 / math.prod(shape[1:])
    if sample_weight is None:
        return np.float32(share), float(shape[0])  # type: ignore[return-value]
    weights = fit_weights(np.asarray(sample_weight, np.float64), shape)
    return (weights * share).astype(np.float32), float(weights.reshape(shape[0], -1).mean(axis=1).sum())


def take(objective: Any, sums: Sequence[float], counts: Sequence[float], penalties: float) -> None:
    """Take a batch's sums, read from the device, into account."""
    objective.total.update_state(sums[0] + penalties, counts[0])
    for (metric, _), value, count in zip(objective.all_metrics, sums[1:], counts[1:], strict=True):
        mean: Mean = metric
        mean.add(value, count)
