"""What a compiled model is judged by: its loss, its metrics, and their running values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import losses, metrics
from fastconv.loss_base import Loss
from fastconv.metrics import Mean, Metric

# What depends on the shapes of the data, which `compile` does not know.
_BY_SHAPE = ("accuracy", "acc", "crossentropy", "ce")
_ROWS_AT_ONCE = 4096


class Objective:
    """The loss and metrics of a model.

    Args:
        loss, metrics, weighted_metrics: as for `Sequential.compile`.

    Attributes:
        loss: the `Loss`, None before `prepare` or without one.

    Raises:
        ValueError, TypeError: one is unknown.
    """

    def __init__(self, loss: Any, metrics: Any, weighted_metrics: Any) -> None:
        self._identifiers = {
            "metrics": _entries(metrics, "metrics"),
            "weighted_metrics": _entries(weighted_metrics, "weighted_metrics"),
        }
        _check(loss, losses.get)
        self._loss_identifier = loss
        self.loss: Loss | None = None
        self.total = Mean(name="loss")
        self._plain: list[Metric] = []
        self._weighted: list[Metric] = []
        self._names: list[str] = []
        self._resolved = False

    @property
    def has_loss(self) -> bool:
        """Whether there is a loss."""
        return self._loss_identifier is not None

    @property
    def wanted(self) -> bool:
        """Whether there is anything that needs targets."""
        return self.has_loss or any(self._identifiers.values())

    @property
    def metrics(self) -> list[Metric]:
        """The mean of the loss, then the metrics; only the first before `prepare`."""
        return [self.total, *self._plain, *self._weighted]

    @property
    def all_metrics(self) -> list[tuple[Metric, bool]]:
        """The metrics beside the loss, and whether samples' weights count for each."""
        return [*((metric, False) for metric in self._plain), *((metric, True) for metric in self._weighted)]

    @property
    def fused_activation(self) -> str | None:
        """The activation whose gradient the loss takes together with its own, where that is known."""
        loss, given = self.loss, self._loss_identifier
        if loss is None and given is not None and not (isinstance(given, str) and given.lower() in _BY_SHAPE):
            loss = losses.get(given)
        return getattr(loss, "fused_activation", None)

    @property
    def names(self) -> list[str]:
        """Their names in the logs."""
        return ["loss", *self._names]

    def prepare(self, y: np.ndarray, y_pred_shape: Sequence[int | None], dtype: Any) -> None:
        """Choose, the first time, what depends on the shapes; find out now what the loss would refuse in
        some batch.

        Raises:
            ValueError: the shape of `y`, or a class number in it, does not suit predictions of that shape.
                Nothing is chosen then.
        """
        loss = self.loss or losses.resolve(self._loss_identifier, y.shape, y_pred_shape)
        if loss is not None:
            sizes = tuple(1 if size is None else size for size in y_pred_shape[1:])
            for start in range(0, len(y), _ROWS_AT_ONCE):
                rows = y[start : start + _ROWS_AT_ONCE]
                loss.prepare(rows, np.broadcast_to(np.zeros((), dtype), (len(rows), *sizes)))
        if not self._resolved:
            plain, weighted = (
                [metrics.resolve(entry, y.shape, y_pred_shape) for entry in entries if entry is not None]
                for entries in self._identifiers.values()
            )
            self._plain = [metric for metric in plain if metric is not None]
            self._weighted = [metric for metric in weighted if metric is not None]
            self._names = _unique_names(self._plain, self._weighted)
            self.loss = loss
            self._resolved = True

    def update(self, value: float, y: np.ndarray | None, y_pred: np.ndarray, sample_weight: np.ndarray | None) -> None:
        """Take a batch with that loss into account."""
        self.total.update_state(value, len(y_pred))
        for metric in self._plain:
            metric.update_state(y, y_pred)
        for metric in self._weighted:
            metric.update_state(y, y_pred, sample_weight)

    def reset(self) -> None:
        """Begin anew."""
        for metric in self.metrics:
            metric.reset_state()

    def logs(self) -> dict[str, float]:
        """The values so far by name, in alphabetical order as Keras has it."""
        values = {name: metric.result() for name, metric in zip(self.names, self.metrics, strict=True)}
        return {name: values[name] for name in sorted(values)}

    def in_order(self, logs: dict[str, float]) -> float | list[float]:
        """The values as `evaluate` returns them: the loss alone, or a list of it and the metrics."""
        values = [logs[name] for name in self.names]
        return values if len(values) > 1 else values[0]


def _entries(given: Any, argument: str) -> list[Any]:
    if given is None:
        return []
    if not isinstance(given, (list, tuple)):
        raise ValueError(f"{argument} must be a list such as ['accuracy']; received {given!r}.")
    for entry in given:
        _check(entry, metrics.get)
    return list(given)


def _check(identifier: Any, get: Any) -> None:
    if not (isinstance(identifier, str) and identifier.lower() in _BY_SHAPE):
        get(identifier)


def _unique_names(plain: Sequence[Metric], weighted: Sequence[Metric]) -> list[str]:
    """Keras's rule: a number behind a repeated name, "weighted_" before a weighted one's."""
    counts = {"loss": 1}
    names = []
    for is_weighted, metric in [*((False, m) for m in plain), *((True, m) for m in weighted)]:
        name = metric.name
        if is_weighted and name in counts:
            name = f"weighted_{name}"
        count = counts.get(name, 0)
        counts[name] = count + 1
        names.append(f"{name}_{count}" if count else name)
    return names
