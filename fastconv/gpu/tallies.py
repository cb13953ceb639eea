"""Metrics that count on the device: what each adds to a program, and how its counts come back.

The sums stay on the device over all steps; `settle` reads them, which is once an epoch unless a callback asks. What is
known of the targets alone is the host's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.gpu.memory import Memory
from fastconv.gpu.program import Recorder
from fastconv.kernels import cuda_places, cuda_strided, cuda_tallies
from fastconv.loss_base import fit_weights
from fastconv.metric_confusion import ConfusionMetric
from fastconv.metrics import AUC, BinaryIoU, FBetaScore, IoU, Metric, R2Score, same_rank


class Tally:
    """A metric whose sums the device keeps, those of each group by themselves.

    Args:
        groups, places: of the sums; see `cuda_tallies`.
    """

    def __init__(self, metric: Any, memory: Memory, groups: int, places: int) -> None:
        self._metric, self._memory = metric, memory
        self._sums = memory.zeros((groups, places, 2))
        self._is_settled = True

    def of_batch(
        self, y: np.ndarray, y_pred: np.ndarray, sample_weight: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The targets and the weights of a batch as the device takes them.

        Raises:
            ValueError: `y` or `sample_weight` does not suit y_pred.
        """
        raise NotImplementedError

    def places(self, recorder: Recorder, y_pred: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        """Write down the places of all items, and what they count; returns both, (items of a group, groups)."""
        raise NotImplementedError

    def add(self, sums: np.ndarray) -> None:
        """Take sums, (groups, places), into the metric."""
        raise NotImplementedError

    def begin(self, y: np.ndarray, y_pred: np.ndarray, sample_weight: np.ndarray | None) -> None:
        """A step with this batch is queued."""
        self._is_settled = False

    def record(self, recorder: Recorder, y_pred: Any, targets: Any, weights: Any) -> None:
        """Write down: the batch is counted. targets, weights: what `of_batch` gave, on the device."""
        places, counted = self.places(recorder, y_pred, targets, weights)
        rows = places.shape[0]
        shares = recorder.memory.zeros((cuda_tallies.shares_of(rows), *self._sums.shape[:2]))
        recorder.add(cuda_tallies.tally(places, counted, shares, self._sums))

    def settle(self) -> None:
        """Read the sums of the steps so far into the metric, and begin anew."""
        if not self._is_settled:
            self._is_settled = True
            sums = self._memory.download(self._sums)
            self._memory.upload(self._sums, np.zeros_like(sums))
            self.add(cuda_tallies.total(sums))


class _Thresholds(Tally):
    """Confusion counts at thresholds, of all predictions together or of each column."""

    def __init__(self, metric: ConfusionMetric | AUC, memory: Memory, columns: int) -> None:
        self._cuts, self._by_label = metric.cuts, bool(getattr(metric, "multi_label", False))
        super().__init__(metric, memory, columns if self._by_label else 1, 2 * len(self._cuts) + 2)
        of_columns = None if self._by_label else getattr(metric, "label_weights", None)
        self._class = getattr(metric, "class_id", None)
        if self._class is not None:
            of_columns = np.zeros(columns)
            of_columns[self._class] = 1
        if of_columns is not None:
            of_columns = memory.copied(np.broadcast_to(np.asarray(of_columns, np.float32), (columns,)))
        self._of_columns, self._ascending = of_columns, memory.copied(self._cuts.ascending)

    def of_batch(
        self, y: np.ndarray, y_pred: np.ndarray, sample_weight: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        metric = self._metric
        y, y_pred = same_rank(y, y_pred)
        shape = y_pred.shape
        if self._class is not None:
            if len(shape) == 1:
                raise ValueError(f"{metric.name}: class_id needs y_pred of shape (samples, classes), not {shape}.")
            shape = shape[:-1]
        if self._by_label:
            columns = metric.num_labels or shape[-1]
            if len(shape) != 2 or shape[-1] != columns:
                raise ValueError(f"{metric.name}: y_pred must have shape (samples, {columns}), not {shape}.")
        return y != 0, _few(sample_weight, shape)

    def places(self, recorder: Recorder, y_pred: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        cuts, metric = self._cuts, self._metric
        top, sigmoid = getattr(metric, "top_k", None) or 0, int(getattr(metric, "from_logits", False))
        how = cuda_places.Cuts(len(cuts), int(cuts.even), cuts.least, top, sigmoid)
        groups = self._sums.shape[0]
        places, counted = _pair(recorder, (y_pred.size // groups, groups))
        arrays = y_pred, targets, weights, self._of_columns, self._ascending
        recorder.add(cuda_places.by_threshold(*arrays, how, places, counted))
        return places, counted

    def add(self, sums: np.ndarray) -> None:
        ones, zeros = np.split(sums.T, 2)
        counts = self._cuts.counts_of(ones, zeros)
        self._metric.add(counts if self._by_label else counts[..., 0])


class _Classes(Tally):
    """A confusion matrix."""

    def __init__(self, metric: IoU, memory: Memory, columns: int) -> None:
        super().__init__(metric, memory, 1, metric.num_classes**2)
        self._kind = cuda_places.CLASS if metric.sparse_y_pred else cuda_places.LARGEST
        if type(metric).update_state is BinaryIoU.update_state:
            self._kind = cuda_places.REACHES

    def of_batch(
        self, y: np.ndarray, y_pred: np.ndarray, sample_weight: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        metric = self._metric
        classes = (y if metric.sparse_y_true else y.argmax(metric.axis)).reshape(-1).astype(np.int64)
        rows = y_pred.size if self._kind != cuda_places.LARGEST else y_pred.size // y_pred.shape[metric.axis]
        if classes.size != rows:
            raise ValueError(f"{metric.name}: {classes.size} true classes do not fit {rows} predicted ones.")
        counts = (0 <= classes) & (classes < metric.num_classes)
        if metric.ignore_class is not None:
            counts &= classes != metric.ignore_class
        weights = None
        if sample_weight is not None:
            weights = sample_weight.reshape(-1)
            np.broadcast_to(weights, classes.shape)  # refuses what does not fit
        return np.where(counts, classes, -1), weights

    def places(self, recorder: Recorder, y_pred: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        metric, columns = self._metric, 1
        if self._kind == cuda_places.LARGEST:
            axis = metric.axis % y_pred.ndim
            columns = y_pred.shape[axis]
            if axis != y_pred.ndim - 1:
                order = [other for other in range(y_pred.ndim) if other != axis]
                turned = y_pred.transpose(*order, axis)
                y_pred = recorder.memory.zeros(turned.shape)
                recorder.add(cuda_strided.copy(turned, y_pred))
        rows = y_pred.reshape(y_pred.size // columns, columns)
        places, counted = _pair(recorder, (len(rows), 1))
        number, threshold = metric.num_classes, getattr(metric, "threshold", 0.0)
        arrays = rows, targets, weights
        recorder.add(cuda_places.by_class(*arrays, number, self._kind, threshold, places, counted))
        return places, counted

    def add(self, sums: np.ndarray) -> None:
        self._metric.add(sums)


class _Choices(Tally):
    """How often each class is chosen rightly, chosen wrongly, or missed."""

    def __init__(self, metric: FBetaScore, memory: Memory, columns: int) -> None:
        super().__init__(metric, memory, 1 if metric.average == "micro" else columns, 3)

    def of_batch(
        self, y: np.ndarray, y_pred: np.ndarray, sample_weight: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        self._metric.check(y, y_pred)
        return y, _few(sample_weight, y_pred.shape)

    def places(self, recorder: Recorder, y_pred: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        groups = self._sums.shape[0]
        places, counted = _pair(recorder, (2 * y_pred.size // groups, groups))
        arrays = y_pred, targets, weights
        recorder.add(cuda_places.by_choice(*arrays, self._metric.threshold, places, counted))
        return places, counted

    def add(self, sums: np.ndarray) -> None:
        self._metric.add(sums[0] if self._metric.average == "micro" else sums.T)


class _Errors(Tally):
    """Squared errors of each output; sums of targets are the host's, in float64."""

    def __init__(self, metric: R2Score, memory: Memory, columns: int) -> None:
        super().__init__(metric, memory, columns, 1)

    def of_batch(
        self, y: np.ndarray, y_pred: np.ndarray, sample_weight: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        y, y_pred = self._metric.check(y, y_pred)
        return y, _few(sample_weight, y_pred.shape)

    def begin(self, y: np.ndarray, y_pred: np.ndarray, sample_weight: np.ndarray | None) -> None:
        super().begin(y, y_pred, sample_weight)
        y, y_pred = self._metric.check(y, y_pred)
        weights = fit_weights(np.float64(1) if sample_weight is None else sample_weight, y_pred.shape)
        known = self._metric.of_targets(y.astype(np.float64), weights)
        self._metric.add(np.stack([*known, np.zeros(len(known[0]))]), y.size)

    def places(self, recorder: Recorder, y_pred: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        places, counted = _pair(recorder, y_pred.shape)
        recorder.add(cuda_places.squared_errors(y_pred, targets, weights, places, counted))
        return places, counted

    def add(self, sums: np.ndarray) -> None:
        self._metric.add(np.stack([*np.zeros((3, len(sums))), sums[:, 0]]), 0)


# By what a class counts with: where one of the user's own has another `update_state`, nothing is known of it.
_KINDS: dict[Callable[..., None], type[Any]] = {
    ConfusionMetric.update_state: _Thresholds,
    AUC.update_state: _Thresholds,
    IoU.update_state: _Classes,
    BinaryIoU.update_state: _Classes,
    FBetaScore.update_state: _Choices,
    R2Score.update_state: _Errors,
}


def counts_on_device(metric: Metric) -> bool:
    """Whether the device can keep the metric's sums."""
    return type(metric).update_state in _KINDS


def tally_of(metric: Metric, memory: Memory, columns: int) -> Tally:
    """How the device keeps its sums, for predictions of so many columns."""
    tally: Tally = _KINDS[type(metric).update_state](metric, memory, columns)
    return tally


def _pair(recorder: Recorder, shape: tuple[int, ...]) -> tuple[Any, Any]:
    return recorder.memory.zeros(shape), recorder.memory.zeros(shape)


def _few(sample_weight: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """The weights for values of that shape, without the last axes along which they are equal."""
    if sample_weight is None:
        return None
    weights = fit_weights(sample_weight, shape)
    while weights.ndim > 1 and (weights.shape[-1] == 1 or weights.strides[-1] == 0):
        weights = weights[..., 0]
    return weights
