"""Metrics that the host computes: those that a user wrote in Python. Each step's predictions are copied to the host."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv.gpu.memory import BLOCKS, Memory, Outlet
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
