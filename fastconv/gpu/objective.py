"""What losses and metrics add to a program: sums a step, counts over all steps, or predictions for the host.

A loss and each metric that is a mean leave a weighted sum in the step's row of a table (`judges`). Metrics that count
keep their sums over all steps on the device (`tallies`). Nothing of that is read until somebody asks. Metrics that a
user wrote in Python are computed on the host (`watched`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastconv.gpu.judges import Judge, judge_of_loss, judge_of_metric, loss_factors, mean_factors
from fastconv.gpu.memory import Memory
from fastconv.gpu.program import Recorder
from fastconv.gpu.tallies import Tally, counts_on_device, tally_of
from fastconv.gpu.watched import ByHand, Later, Watched, settle
from fastconv.kernels import cuda_strided, cuda_totals
from fastconv.kernels.cuda import Launch
from fastconv.metrics import Metric
from fastconv.models.objectives import Objectives, sample_weight_of_each
from fastconv.models.parts import each

_NONE = np.empty(0, np.float32)


class Row(NamedTuple):
    """Where a step's sums go.

    totals: the table on the device, (rows, columns). row: which one, a number there. first: its first free column.
    """

    totals: Any
    row: Any
    first: int = 0


class Kept:
    """What lasts over all steps of a model: the sums of metrics that count, and what the host has still to do."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.later: Later = Later()
        self._tallies: dict[tuple[int, str], Tally] = {}

    def tally(self, metric: Metric, columns: int) -> Tally:
        """That of a metric with its options as they are now, for predictions of so many columns."""
        key = id(metric), str(metric.get_config())
        if key not in self._tallies:
            self._tallies[key] = tally_of(metric, self.memory, columns)
        return self._tallies[key]

    def settle(self) -> None:
        """Take all into the metrics."""
        settle(self.later)
        for tally in self._tallies.values():
            tally.settle()


class Scores:
    """The loss and metrics of one output in a program.

    Args:
        objective: of the output; prepared. scale: what its loss counts in the model's.
        shape: of a batch's predictions.

    Attributes:
        width: how many sums there are in the row of a step.
        given: how many arrays `of_batch` gives.
        objective: as given.
    """

    def __init__(self, objective: Any, scale: float, shape: tuple[int, ...], kept: Kept) -> None:
        self.objective, self._scale, self._kept = objective, scale, kept
        self._of_loss: Judge | None = None
        self._by_hand: ByHand | None = None
        # A judge, and whether samples' weights count; the loss comes first.
        self._judges: list[tuple[Judge, bool]] = []
        self._means: list[Any] = []
        self._tallies: list[tuple[Tally, bool]] = []
        self._watched: list[tuple[Metric, bool]] = []
        self._y_pred = np.broadcast_to(np.zeros((), np.float32), shape)
        if objective.loss is not None:
            judge = self._of_loss = judge_of_loss(objective.loss)
            if judge is None:
                self._by_hand = ByHand(objective.loss, scale, kept.memory)
            else:
                self._judges.append((judge, True))
        for metric, is_weighted in objective.all_metrics:
            judge = judge_of_metric(metric)
            if judge is not None:
                self._judges.append((judge, is_weighted))
                self._means.append(metric)
            elif counts_on_device(metric):
                self._tallies.append((kept.tally(metric, shape[-1]), is_weighted))
            else:
                self._watched.append((metric, is_weighted))
        self.width = len(self._judges)
        self.given = 2 * (self.width + len(self._tallies))
        self._watcher: Watched | None = None

    def of_batch(self, y: np.ndarray, sample_weight: np.ndarray | None) -> tuple[list[np.ndarray], list[float]]:
        """What the device needs of a batch, for all that it computes; and each sum's sum of weights.

        Raises:
            ValueError: `y` or `sample_weight` does not suit the predictions.
        """
        arrays, counts = [], []
        if self._by_hand is not None:
            self._by_hand.batch = y, sample_weight
        for judge, is_weighted in self._judges:
            weights = sample_weight if is_weighted else None
            target, shape = judge.prepare(y, self._y_pred, weights)
            if judge is self._of_loss:
                factors, count = loss_factors(self.objective.loss, shape, y, weights), float(len(y))
            else:
                factors, count = mean_factors(judge, shape, y, weights)
            arrays += [target, np.broadcast_to(factors, shape)]
            counts.append(count)
        for tally, is_weighted in self._tallies:
            target, factors_of_tally = tally.of_batch(y, self._y_pred, sample_weight if is_weighted else None)
            arrays += [target, _NONE if factors_of_tally is None else factors_of_tally]
        return arrays, counts

    def record(
        self, recorder: Recorder, y_pred: Any, given: Sequence[Any], to: Row, gradient: Any, fused: bool
    ) -> None:
        """Write down all sums and counts, and the gradient of the loss unless it is None.

        Args:
            given: what `of_batch` gave, on the device.
            to: where sums go.
            fused: whether the gradient is by the input of the last activation.
        """
        memory, slopes = recorder.memory, gradient
        if self._by_hand is not None:
            self._by_hand.record(recorder, y_pred, gradient, fused)
        elif gradient is not None and (self._of_loss is None or self._scale == 0):
            recorder.add(_clear(memory, gradient))
            slopes = None
        pairs = iter(zip(given[::2], given[1::2], strict=True))
        for column, (judge, _) in enumerate(self._judges):
            of_loss, pair = judge is self._of_loss, next(pairs)
            values = judge.record(recorder, y_pred, pair, slopes if of_loss else None, fused and of_loss, self._scale)
            shares = memory.zeros((cuda_totals.SHARES,))
            recorder.add(cuda_totals.weighted_sum(values, pair[1], shares, to.totals, to.row, to.first + column))
        for tally, _ in self._tallies:
            targets, weights = next(pairs)
            tally.record(recorder, y_pred, targets, weights if weights.size else None)

    def watch(self, y_pred: Any, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        """Prepare for batches like this one to be sent to the host, where it computes metrics."""
        if self._watched:
            self._watcher = Watched(self._kept.memory, self._watched, y_pred, y, sample_weight, self._kept.later)

    def queued(self, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        """A step with this batch has been queued."""
        for tally, is_weighted in self._tallies:
            tally.begin(y, self._y_pred, sample_weight if is_weighted else None)
        if self._watcher is not None:
            self._watcher.send(y, sample_weight)

    @property
    def by_hand(self) -> list[float]:
        """The loss of the last step, where the host has computed it."""
        return [] if self._by_hand is None else [self._by_hand.value]

    def take(self, sums: Sequence[float], counts: Sequence[float], by_hand: Iterator[float]) -> float:
        """Take a batch's sums, read from the device, into the metrics; returns the loss."""
        first = int(self._of_loss is not None)
        for metric, value, count in zip(self._means, sums[first:], counts[first:], strict=True):
            metric.add(value, count)
        if self._by_hand is not None:
            return next(by_hand)
        return sums[0] if first else 0.0


class AllScores:
    """The losses and metrics of all outputs in a program.

    Args:
        objective: of the model; prepared.
        shapes: of the outputs for a batch. y: a batch's targets.

    Attributes:
        width: as of `Scores`.
    """

    def __init__(self, objective: Any, shapes: Sequence[tuple[int, ...]], y: Any, kept: Kept) -> None:
        self._objective = objective
        parts, self._scales = [objective], [1.0]
        if isinstance(objective, Objectives):
            parts, self._scales = objective.parts, objective.weights
        self._scores = [
            None if one is None else Scores(part, scale, shape, kept)
            for part, scale, shape, one in zip(parts, self._scales, shapes, each(y), strict=True)
        ]
        self.width = sum(scores.width for scores in self._scores if scores is not None)

    def of_batch(self, y: Any, sample_weight: Any) -> tuple[list[np.ndarray], list[float]]:
        """As `Scores.of_batch`, one output after another."""
        arrays: list[np.ndarray] = []
        counts = [float(len(y))]
        for scores, *batch in self._each(y, sample_weight):
            of_output, counts_of_output = scores.of_batch(*batch)
            arrays += of_output
            counts += counts_of_output
        return arrays, counts

    def record(
        self,
        recorder: Recorder,
        y_preds: Sequence[Any],
        given: Sequence[Any],
        to: Row,
        gradients: Sequence[Any],
        fused: Collection[int],
    ) -> None:
        """As `Scores.record`; gradients: of each output, or None for none; fused: the numbers of such outputs."""
        given, first = list(given), to.first
        for index, (scores, y_pred, gradient) in enumerate(zip(self._scores, y_preds, gradients, strict=True)):
            if scores is not None:
                own, given = given[: scores.given], given[scores.given :]
                scores.record(recorder, y_pred, own, to._replace(first=first), gradient, index in fused)
                first += scores.width
            elif gradient is not None:
                recorder.add(_clear(recorder.memory, gradient))

    def watch(self, y_preds: Sequence[Any], y: Any, sample_weight: Any) -> None:
        """As `Scores.watch`."""
        judged = [y_pred for y_pred, scores in zip(y_preds, self._scores, strict=True) if scores is not None]
        for (scores, *batch), y_pred in zip(self._each(y, sample_weight), judged, strict=True):
            scores.watch(y_pred, *batch)

    def queued(self, y: Any, sample_weight: Any) -> None:
        """As `Scores.queued`."""
        for scores, *batch in self._each(y, sample_weight):
            scores.queued(*batch)

    @property
    def by_hand(self) -> list[float]:
        """The losses of the last step that the host has computed."""
        return [value for scores in self._scores if scores is not None for value in scores.by_hand]

    def take(self, sums: Sequence[float], counts: Sequence[float], by_hand: Sequence[float]) -> None:
        """Take a batch's sums, read from the device, into the losses and metrics; behind the scores' are penalties.

        counts, by_hand: as `of_batch` gave, and as they were after the step.
        """
        total, first, others = float(sum(sums[self.width :])), 0, iter(by_hand)
        for scores, scale in zip(self._scores, self._scales, strict=True):
            if scores is None:
                continue
            columns = slice(first, first + scores.width)
            loss = scores.take(sums[columns], counts[1:][columns], others)
            if isinstance(self._objective, Objectives):
                scores.objective.total.update_state(loss, counts[0])
            total += scale * loss
            first += scores.width
        self._objective.total.update_state(total, counts[0])

    def _each(self, y: Any, sample_weight: Any) -> Iterator[tuple[Any, Any, Any]]:
        """The scores of each output that has targets, and its part of a batch."""
        weights = sample_weight_of_each(sample_weight, len(self._scores))
        for scores, one, weight in zip(self._scores, each(y), weights, strict=True):
            if scores is not None:
                yield scores, one, weight


def _clear(memory: Memory, array: Any) -> list[Launch]:
    """Launches that make an array 0."""
    return cuda_strided.copy(memory.zeros((1,) * array.ndim), array)
