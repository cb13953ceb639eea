"""How the device computes losses, and metrics that are means: a value for each row of the predictions.

A row is what a value is made of: the last axis of y_pred or those that a loss is told. Where they are not the last in
memory, predictions are turned round first and the gradient is turned back. Weights, class numbers and what a reduction
divides by are the host's: it checks and converts each batch's targets as on the CPU, and sends along a factor for each
value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastconv import config, losses, metrics
from fastconv.gpu.program import Recorder
from fastconv.kernels import cuda_correlations, cuda_focal, cuda_losses, cuda_overlap, cuda_strided
from fastconv.kernels.cuda import Launch
from fastconv.loss_base import Loss, fit_weights
from fastconv.losses import LossFunction
from fastconv.metrics import MeanMetricWrapper, Metric, same_rank

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
_PARAMETERS = {cuda_losses.IN_TOP: ("k", 5), cuda_losses.SAME_SIDE: ("threshold", 0.5)}
_CORRELATIONS = {metrics.pearson_correlation: False, metrics.concordance_correlation: True}


class Arrays(NamedTuple):
    """What a judge's launches work on.

    rows: y_pred, (values, columns). targets: for them. factors, values: (values,). gradient: as rows, None for none.
    """

    rows: Any
    targets: Any
    factors: Any
    values: Any
    gradient: Any


class Judge:
    """A loss or a mean as the device computes it: one of `cuda_losses`'s kinds, unless a subclass says otherwise.

    Attributes:
        sign: what values count: 1, or -1 for a metric that is a loss with the other sign.
        axes: of y_pred, those of a row; None for all.
        loss: whose `prepare` makes the targets; None for a metric that takes them as they are.
    """

    sign = 1.0
    axes: tuple[int, ...] | None = (-1,)
    loss: Loss | None = None

    def __init__(self, kind: int = 0, labels: bool = False, parameter: float = 0.0, loss: Loss | None = None) -> None:
        self.kind, self.labels, self.parameter, self.loss = kind, labels, parameter, loss

    def prepare(
        self, y: np.ndarray, y_pred: np.ndarray, sample_weight: np.ndarray | None
    ) -> tuple[np.ndarray, tuple[int, ...]]:
        """The targets of a batch, in the order of the rows, and the shape of the values.

        Raises:
            ValueError: y does not suit y_pred.
        """
        if self.loss is not None:
            target, prediction = self.loss.prepare(y, y_pred)
            return target, prediction.shape[:-1]
        if self.kind in (cuda_losses.SAME_LARGEST, cuda_losses.IN_TOP):
            return (metrics.labels if self.labels else metrics.rows)(y, y_pred)[0], y_pred.shape[:-1]
        target, prediction = same_rank(y, y_pred)
        is_finest = sample_weight is not None and sample_weight.ndim == prediction.ndim
        return target, prediction.shape if prediction.ndim == 1 or is_finest else prediction.shape[:-1]

    def record(
        self, recorder: Recorder, y_pred: Any, given: Sequence[Any], gradient: Any, fused: bool, scale: float
    ) -> Any:
        """Write down the values, which are returned, and unless it is None the gradient, times `scale`.

        given: targets and factors, on the device.
        """
        order = _order(y_pred.ndim, self.axes)
        is_turned = order != list(range(y_pred.ndim))
        rows, slopes = y_pred, gradient
        if is_turned:
            turned = y_pred.transpose(*order)
            rows = recorder.memory.zeros(turned.shape)
            slopes = None if gradient is None else recorder.memory.zeros(turned.shape)
            recorder.add(cuda_strided.copy(turned, rows))
        count = given[1].size
        values = recorder.memory.zeros((count,))
        rows = rows.reshape(count, rows.size // count)
        recorder.add(self.launches(recorder, Arrays(rows, given[0], given[1], values, slopes), fused, scale))
        if is_turned and gradient is not None:
            recorder.add(cuda_strided.copy(slopes, gradient.transpose(*order)))
        return values

    def launches(self, recorder: Recorder, arrays: Arrays, fused: bool, scale: float) -> list[Launch]:
        """What computes the values and, unless it is None, the gradient."""
        return cuda_losses.loss(
            self.kind,
            *arrays,
            columns=arrays.rows.shape[1],
            labels=self.labels,
            fused=fused,
            epsilon=config.epsilon(),
            parameter=self.parameter,
            scale=scale,
        )


class _Along(Judge):
    """A loss along an axis of its own."""

    def prepare(
        self, y: np.ndarray, y_pred: np.ndarray, sample_weight: np.ndarray | None
    ) -> tuple[np.ndarray, tuple[int, ...]]:
        target, prediction = self.loss.prepare(y, y_pred)  # type: ignore[union-attr]
        axis: int = self.loss.axis  # type: ignore[union-attr]
        self.axes = (-1,) if axis == -1 else (axis % prediction.ndim,)
        return target, prediction.shape[:-1]


class _Focal(_Along):
    """The losses of `loss_focal`."""

    def launches(self, recorder: Recorder, arrays: Arrays, fused: bool, scale: float) -> list[Launch]:
        loss: Any = self.loss
        numbers = config.epsilon(), scale
        if isinstance(loss, losses.CategoricalGeneralizedCrossEntropy):
            return cuda_focal.generalized(*arrays, loss.q, scale)
        if isinstance(loss, losses.BinaryFocalCrossentropy):
            alpha = loss.alpha if loss.apply_class_balancing else None
            return cuda_focal.binary(*arrays, loss.gamma, alpha, loss.from_logits, *numbers)
        alphas = np.broadcast_to(np.asarray(loss.alpha, np.float32), arrays.rows.shape[1:])
        return cuda_focal.categorical(*arrays, recorder.memory.copied(alphas), loss.gamma, loss.from_logits, *numbers)


class _Generalized(_Focal):
    """A loss of class numbers."""

    prepare = Judge.prepare


class _Overlap(Judge):
    """The losses of `loss_overlap`: rows are all that a ratio's sums go over."""

    def prepare(
        self, y: np.ndarray, y_pred: np.ndarray, sample_weight: np.ndarray | None
    ) -> tuple[np.ndarray, tuple[int, ...]]:
        target, prediction = self.loss.prepare(y, y_pred)  # type: ignore[union-attr]
        axis: Any = self.loss.axis  # type: ignore[union-attr]
        given = (axis,) if isinstance(axis, int) else axis
        self.axes = None if given is None else tuple(one % prediction.ndim for one in given)
        order = _order(prediction.ndim, self.axes)
        count = 0 if self.axes is None else prediction.ndim - len(self.axes)
        turned = target.transpose(order)
        return turned, turned.shape[:count]

    def launches(self, recorder: Recorder, arrays: Arrays, fused: bool, scale: float) -> list[Launch]:
        epsilon, loss = config.epsilon(), self.loss
        # Dice is Tversky with halves, but for the epsilon.
        ratio = (0.5, 0.5, epsilon / 2) if isinstance(loss, losses.Dice) else (loss.alpha, loss.beta, epsilon)  # type: ignore[union-attr]
        scratch = recorder.memory.zeros(cuda_overlap.scratch_shape(*arrays.rows.shape))
        return cuda_overlap.overlap(*arrays, scratch, ratio, scale)


class _Correlation(Judge):
    """A correlation along an axis; `is_concordance`: which of the two."""

    def __init__(self, axis: int, is_concordance: bool) -> None:
        super().__init__()
        self._axis, self._is_concordance = axis, is_concordance

    def prepare(
        self, y: np.ndarray, y_pred: np.ndarray, sample_weight: np.ndarray | None
    ) -> tuple[np.ndarray, tuple[int, ...]]:
        target, prediction = same_rank(y, y_pred)
        self.axes = (self._axis % prediction.ndim,)
        turned = np.moveaxis(target, self._axis, -1)
        return turned, turned.shape[:-1]

    def launches(self, recorder: Recorder, arrays: Arrays, fused: bool, scale: float) -> list[Launch]:
        rows, targets, _, values, _ = arrays
        return cuda_correlations.correlations(rows, targets, values, self._is_concordance, config.epsilon())


def judge_of_loss(loss: Any) -> Judge | None:
    """How the device computes a loss; None if it does not: a class of the user's own."""
    cls = type(loss)
    if cls in (losses.BinaryFocalCrossentropy, losses.CategoricalFocalCrossentropy):
        return _Focal(loss=loss)
    if cls is losses.CategoricalGeneralizedCrossEntropy:
        return _Generalized(labels=True, loss=loss)
    if cls in (losses.Dice, losses.Tversky):
        return _Overlap(loss=loss)
    kind = _LOSSES.get(cls)
    if kind is None:
        return None
    if getattr(loss, "from_logits", False):
        kind = cuda_losses.BINARY_OF_LOGITS if kind == cuda_losses.BINARY else cuda_losses.CROSSENTROPY_OF_LOGITS
    made = _Along if hasattr(loss, "axis") else Judge
    labels = cls is losses.SparseCategoricalCrossentropy
    return made(kind, labels, float(getattr(loss, "delta", 0.0)), loss)


def judge_of_metric(metric: Metric) -> Judge | None:
    """How the device computes a metric; None if it is no mean, or of a function of the user's own."""
    if not isinstance(metric, MeanMetricWrapper) or type(metric).update_state is not MeanMetricWrapper.update_state:
        return None
    function, options = metric.fn, metric.options
    if function in _MATCHES:
        kind = _MATCHES[function]
        option, default = _PARAMETERS.get(kind, ("", 0.0))
        return Judge(kind, function in _SPARSE, float(options.get(option, default)))
    if function in _CORRELATIONS:
        return _Correlation(options.get("axis", -1), _CORRELATIONS[function])
    if isinstance(metric, metrics.RootMeanSquaredError):
        return Judge(cuda_losses.SQUARED)
    if isinstance(metric, metrics.CosineSimilarity):
        judge = judge_of_loss(losses.CosineSimilarity(**options))
        judge.sign = -1.0  # type: ignore[union-attr]
        return judge
    if isinstance(function, LossFunction):
        return judge_of_loss(function.loss_class(**options))
    owner = getattr(function, "__self__", None)
    return judge_of_loss(owner) if isinstance(owner, Loss) and function == owner.per_sample else None


def loss_factors(loss: Loss, shape: tuple[int, ...], y: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
    """What each value of a loss counts."""
    mask = loss.mask(y)
    values = np.broadcast_to(np.zeros((), np.float32), shape)
    factors = loss.factors(values, None if mask is None else mask.reshape(shape), sample_weight)
    return factors.sum() if not shape else factors  # one value may have a weight for each sample


def mean_factors(
    judge: Judge, shape: tuple[int, ...], y: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, float]:
    """What each value counts in a mean over samples of each one's mean; and the sum of the samples' weights."""
    factors = np.asarray(judge.sign / math.prod(shape[1:]))
    count = float(shape[0]) if shape else 1.0
    if sample_weight is not None:
        weights = fit_weights(np.asarray(sample_weight, np.float64), shape)
        factors, count = weights * factors, float(weights.reshape(len(weights), -1).mean(axis=1).sum())
    mask = None if judge.loss is None else judge.loss.mask(y)
    if mask is not None:  # such values are 0
        factors = factors * mask.reshape(shape)
    return factors.astype(np.float32), count


def _order(rank: int, axes: tuple[int, ...] | None) -> list[int]:
    """All axes of an array, those given last."""
    at_end = [] if axes is None else [axis % rank for axis in axes]
    return [axis for axis in range(rank) if axis not in at_end] + at_end
