"""`Objectives`: what a compiled model with several outputs is judged by: an `Objective` for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastconv.metrics import Mean
from fastconv.models.objective import Objective
from fastconv.models.parts import Parts, each


class Objectives:
    """The losses and metrics of a model with several outputs; the interface is that of `Objective`.

    Args:
        outputs: the names of the outputs.
        loss: one for all, or a list, or a dict by name of the output.
        metrics, weighted_metrics: a list with an entry, or a list of entries, for each output; or a dict.
        loss_weights: numbers, as a list or a dict; the model's loss is the sum of the outputs' times these.

    Raises:
        ValueError, TypeError: a list of another length, a name that is no output's, or an unknown loss or metric.
    """

    fused_activation = None

    def __init__(
        self, outputs: Sequence[str], loss: Any, metrics: Any, weighted_metrics: Any, loss_weights: Any
    ) -> None:
        self._outputs = list(outputs)
        if isinstance(loss, Mapping) and set(loss) < set(outputs):
            raise ValueError(f"loss must have an entry for each of the outputs {self._outputs}; received {list(loss)}.")
        losses = self._of_each(loss if isinstance(loss, (list, tuple, Mapping)) else [loss] * len(outputs), "loss")
        entries = [
            [_as_list(entry) for entry in self._of_each(given, argument)]
            for given, argument in ((metrics, "metrics"), (weighted_metrics, "weighted_metrics"))
        ]
        weights = self._of_each(loss_weights, "loss_weights")
        self.weights = [1.0 if weight is None else float(weight) for weight in weights]
        self.parts = [Objective(*given) for given in zip(losses, *entries, strict=True)]
        self.total = Mean(name="loss")
        self._shows_parts = sum(loss is not None for loss in losses) > 1

    @property
    def loss(self) -> list[Any]:
        """The losses."""
        return [part.loss for part in self.parts]

    @property
    def metrics(self) -> list[Any]:
        """The mean of the loss, those of the outputs' losses, then the metrics."""
        return list(self._by_name().values())

    @property
    def all_metrics(self) -> list[Any]:
        """The metrics beside the losses, and whether samples' weights count for each."""
        return [metric for part in self.parts for metric in part.all_metrics]

    @property
    def names(self) -> list[str]:
        """Their names in the logs, in the order of what `evaluate` returns."""
        return list(self._by_name())

    def prepare(self, y: Any, y_pred_shape: Any, dtype: Any) -> None:
        """As `Objective.prepare`, for each output that has a loss or metrics."""
        for name, part, array, shape in zip(self._outputs, self.parts, each(y), y_pred_shape, strict=True):
            if array is not None:
                part.prepare(array, shape, dtype)
            elif part.wanted:
                raise ValueError(f"y is missing for the output {name!r}, which has a loss or metrics.")

    def fused(self, index: int) -> str | None:
        """The activation whose gradient the loss of an output takes together with its own."""
        return self.parts[index].fused_activation

    def update(self, value: float, values: Sequence[float], y: Any, y_pred: Any, sample_weight: Any) -> None:
        """Take a batch with that loss, and those of its outputs, into account."""
        self.total.update_state(value, len(y_pred[0]))
        weights = sample_weight_of_each(sample_weight, len(self.parts))
        for part, one, truth, found, weight in zip(self.parts, values, each(y), y_pred, weights, strict=True):
            part.update(one, truth, found, weight)

    def reset(self) -> None:
        """Begin anew."""
        self.total.reset_state()
        for part in self.parts:
            part.reset()

    def logs(self) -> dict[str, float]:
        """The values so far by name, in alphabetical order as Keras has it."""
        found = self._by_name()
        return {name: found[name].result() for name in sorted(found)}

    def in_order(self, logs: dict[str, float]) -> float | list[float]:
        """The values as `evaluate` returns them: the loss alone, or a list."""
        values = [logs[name] for name in self.names]
        return values if len(values) > 1 else values[0]

    def _by_name(self) -> dict[str, Any]:
        """All values by name: the loss, the outputs' losses, then the metrics in alphabetical order."""
        found: dict[str, Any] = {"loss": self.total}
        if self._shows_parts:
            with_loss = [(name, part) for name, part in zip(self._outputs, self.parts, strict=True) if part.has_loss]
            found.update({f"{name}_loss": part.total for name, part in with_loss})
        metrics = {}
        for output, part in zip(self._outputs, self.parts, strict=True):
            metrics.update({f"{output}_{name}": m for name, m in zip(part.names[1:], part.metrics[1:], strict=True)})
        return {**found, **dict(sorted(metrics.items()))}

    def _of_each(self, given: Any, argument: str) -> list[Any]:
        """What is given for each output."""
        if given is None:
            return [None] * len(self._outputs)
        if isinstance(given, Mapping):
            unknown = set(given) - set(self._outputs)
            if unknown:
                raise ValueError(f"{argument} names {sorted(unknown)}, but the outputs are {self._outputs}.")
            return [given.get(name) for name in self._outputs]
        if not isinstance(given, (list, tuple)) or len(given) != len(self._outputs):
            raise ValueError(
                f"{argument} must have an entry for each of the outputs {self._outputs}, as a list or a dict; received "
                f"{given!r}."
            )
        return list(given)


def sample_weight_of_each(sample_weight: Any, count: int) -> list[Any]:
    """The weights for each output: one array counts for all."""
    return sample_weight.arrays if isinstance(sample_weight, Parts) else [sample_weight] * count


def _as_list(entry: Any) -> Any:
    return entry if entry is None or isinstance(entry, (list, tuple)) else [entry]
