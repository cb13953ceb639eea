"""Losses and metrics that the host computes: those that a user wrote in Python.

For metrics each step's predictions are copied to the host while later steps run. A loss has to be known before the step
can go on: the host waits for the predictions, and the device for their gradient.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv.gpu.memory import BLOCKS, Memory, Outlet
from fastconv.gpu.program import Recorder
from fastconv.loss_base import Loss
from fastconv.metrics import Metric

# What is left to do for steps that were queued, in their order; a number says for which block it is.
Later = deque[tuple["Watched", int]]


class Watched:
    """The metrics of one output that the host updates, one step behind the device or more.

    Args:
        metrics: and whether samples' weights count for each.
        y_pred: the predictions on the device; y, sample_weight: arrays of a batch's shapes and dtypes.
        later: shared by all steps.
    """

    def __init__(
        self,
        memory: Memory,
        metrics: Sequence[tuple[Metric, bool]],
        y_pred: Any,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        later: Later,
    ) -> None:
        self._metrics, self._later = metrics, later
        self._outlet = Outlet(memory, y_pred)
        # A batch's arrays are used again for the next one.
        self._y = [np.empty_like(y) for _ in range(BLOCKS)]
        self._weights = [None if sample_weight is None else np.empty_like(sample_weight) for _ in range(BLOCKS)]
        self._turn = 0

    def send(self, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        """A step with this batch has been queued: let its predictions come."""
        turn = self._turn
        self._turn = (turn + 1) % BLOCKS
        while (self, turn) in self._later:
            settle(self._later, 1)
        np.copyto(self._y[turn], y)
        weights = self._weights[turn]
        if weights is not None and sample_weight is not None:
            np.copyto(weights, sample_weight)
        self._outlet.send(turn)
        self._later.append((self, turn))

    def update(self, turn: int) -> None:
        """Take a block's batch into the metrics."""
        y, y_pred, weights = self._y[turn], self._outlet.take(turn), self._weights[turn]
        for metric, is_weighted in self._metrics:
            update: Callable[..., None] = metric.update_state
            update(y, y_pred, weights) if is_weighted else update(y, y_pred)


def settle(later: Later, count: int | None = None) -> None:
    """Do what is left to do for the first `count` steps, or all."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for _ in range(len(later) if count is None else count):
            watched, turn = later.popleft()
            watched.update(turn)


class ByHand:
    """A loss that the host computes in the middle of a step.

    Args:
        scale: what it counts in the model's loss.

    Attributes:
        batch: targets and weights of the next step.
        value: of the last step.
    """

    def __init__(self, loss: Loss, scale: float, memory: Memory) -> None:
        self._loss, self._scale, self._memory = loss, scale, memory
        self.batch: tuple[Any, Any] = (None, None)
        self.value = 0.0

    def record(self, recorder: Recorder, y_pred: Any, gradient: Any, fused: bool) -> None:
        """Write down: the host computes the value and, unless it is None, the gradient."""
        recorder.interrupt(lambda: self._compute(y_pred, gradient, fused))

    def _compute(self, y_pred: Any, gradient: Any, fused: bool) -> None:
        loss, (y, sample_weight), found = self._loss, self.batch, self._memory.download(y_pred)
        if gradient is None or self._scale == 0:
            self.value = float(np.sum(loss(y, found, sample_weight)))
            slopes = np.zeros_like(found)
        else:
            compute = loss.value_and_logits_gradient if fused else loss.value_and_gradient
            self.value, slopes = compute(y, found, sample_weight)
            slopes *= slopes.dtype.type(self._scale)
        if gradient is not None:
            self._memory.upload(gradient, slopes)
