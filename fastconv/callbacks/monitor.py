"""What the callbacks share that watch one value of the logs and ask whether it got better."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from fastconv.callbacks.callback import Callback, Logs


class MonitorCallback(Callback):
    """Base class of callbacks that watch `monitor`.

    Args:
        monitor: a name in the logs: "loss" or a compiled metric, or either with "val_" before it.
        mode: "min", "max", or "auto", which asks the loss or metric of that name.
        min_delta: how much better than the best a value must be to count; the sign is ignored.

    Raises:
        ValueError: `mode` is something else; at the end of the first epoch, "auto" with a `monitor` that is
            neither a loss nor a compiled metric whose direction is known.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f'{type(self).__name__}: mode must be "auto", "min" or "max", not {mode!r}.')
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(min_delta)
        self.best: float | None = None
        self._direction: str | None = None if mode == "auto" else mode

    def find_direction(self) -> None:
        """Decide what "auto" means; only possible once the model's metrics exist."""
        if self._direction is None:
            self._direction = self._automatic_direction()

    def is_improvement(self, value: float, reference: float | None) -> bool:
        """Whether `value` is better than `reference` by more than `min_delta`.

        Everything but NaN is better than None.
        """
        self.find_direction()
        if math.isnan(value):
            return False
        if reference is None:
            return True
        if self._direction == "min":
            return value + self.min_delta < reference
        return value - self.min_delta > reference

    def monitored(self, logs: Logs, consequence: str) -> Any:
        """The watched number, or None after a warning that says what there is instead."""
        value = logs.get(self.monitor)
        if value is None:
            warnings.warn(
                f"{type(self).__name__}: there is no {self.monitor!r} to monitor, so {consequence}. "
                f"Available: {', '.join(logs) or 'nothing'}.",
                stacklevel=2,
            )
        elif np.ndim(value):
            warnings.warn(
                f"{type(self).__name__}: {self.monitor!r} is an array of shape {np.shape(value)}, no number to "
                f"monitor, so {consequence}.",
                stacklevel=2,
            )
            return None
        return value

    def _automatic_direction(self) -> str:
        name = self.monitor.removeprefix("val_")
        if name == "loss":
            return "min"
        for known, metric in zip(self.model.metrics_names, self.model.metrics, strict=True):
            if known == name and metric.direction is not None:
                return "max" if metric.direction == "up" else "min"
        raise ValueError(
            f"{type(self).__name__} cannot tell whether {self.monitor!r} should grow or shrink. Pass "
            f'mode="max" or mode="min", or monitor a loss or a compiled metric.'
        )
