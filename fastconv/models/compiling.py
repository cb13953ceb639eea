"""`Compiled`: what a model learns by and is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastconv import losses, metrics, optimizers
from fastconv.models.backward_plan import BackwardPlan
from fastconv.models.base import BaseModel
from fastconv.models.objective import Objective
from fastconv.models.objectives import Objectives


class Compiled(BaseModel):
    """The part of a model that `compile` sets.

    Attributes:
        optimizer, loss: as given to `compile`; the optimizer as an object.
        compiled: whether there was a `compile`.
    """

    optimizer: Any = None
    loss: Any = None
    compiled = False
    stop_training = False
    _plan: BackwardPlan | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._objective: Any = Objective(None, None, None)
        self._compile_arguments: dict[str, Any] = {}

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Say how the model learns and is judged.

        Args:
            optimizer, loss: a name, config or object; for a model with several outputs a list, or a dict by output,
                of losses; `metrics`, `weighted_metrics` and `loss_weights` likewise.
            metrics: a list of names, objects or functions of (y_true, y_pred); "accuracy" takes the kind
                that suits.
            weighted_metrics: as `metrics`, weighted by sample_weight and class_weight.
            loss_weights: for a model with several outputs: the model's loss is the sum of theirs times these.
            run_eagerly, steps_per_execution, jit_compile, auto_scale_loss: accepted without effect.

        Raises:
            ValueError, TypeError: one is unknown; the model is as before then.
        """
        objective: Any
        if self.built and len(self.outputs) > 1:
            objective = Objectives(self.output_names, loss, metrics, weighted_metrics, loss_weights)
        elif loss_weights is not None:
            raise ValueError(f"loss_weights is not supported: there is one output; received {loss_weights!r}.")
        else:
            objective = Objective(loss, metrics, weighted_metrics)
        self.optimizer = optimizers.get(optimizer)
        self.loss = loss
        self._objective = objective
        self._compile_arguments = {
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
        }
        self._plan = None
        self.stop_training = False
        self.compiled = True

    def get_compile_config(self) -> dict[str, Any] | None:
        """What `compile` was given in Keras 3's layout; None before it.

        Raises:
            TypeError: a metric is a function of the user's own.
        """
        if not self.compiled:
            return None
        given = self._compile_arguments
        return {
            "optimizer": optimizers.serialize(self.optimizer),
            "loss": _map_given(lambda entry: _describe(entry, losses), given["loss"]),
            "loss_weights": given["loss_weights"],
            **{
                key: _map_given(lambda entry: _describe(entry, metrics), given[key])
                for key in ("metrics", "weighted_metrics")
            },
            "run_eagerly": False,
            "steps_per_execution": 1,
            "jit_compile": False,
        }

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """`compile` with what `get_compile_config` described, and build the optimizer if the model is built."""
        lists = [
            _map_given(lambda entry: _restore(entry, metrics), config.get(key))
            for key in ("metrics", "weighted_metrics")
        ]
        loss = _map_given(lambda entry: _restore(entry, losses), config.get("loss"))
        self.compile(config.get("optimizer"), loss, config.get("loss_weights"), *lists)
        if self.built and self.optimizer is not None:
            self.optimizer.build(self.backward_plan.variables)

    @property
    def metrics(self) -> list[Any]:
        """The mean of the loss and the metrics; those that depend on the data's shape appear with the first batch."""
        return self._objective.metrics if self.compiled else []

    @property
    def metrics_names(self) -> list[str]:
        """Their names, in the order of what `evaluate` returns."""
        return self._objective.names if self.compiled else []

    def reset_metrics(self) -> None:
        """Begin all running values anew."""
        self._objective.reset()

    @property
    def backward_plan(self) -> BackwardPlan:
        """What a training step changes: decided at its first use after `compile` or a change of the layers."""
        if self._plan is None:
            self._plan = BackwardPlan.of(self.forward_plan, self.trainable_weights)
        return self._plan

    def _structure_changed(self) -> None:
        super()._structure_changed()
        self._plan = None


def _map_given(change: Any, given: Any) -> Any:
    """`change` of each loss or metric in what `compile` was given: one, or lists and dicts of such."""
    if isinstance(given, Mapping) and "class_name" not in given:
        return {key: _map_given(change, entry) for key, entry in given.items()}
    if isinstance(given, (list, tuple)):
        return [_map_given(change, entry) for entry in given]
    return None if given is None else change(given)


def _describe(identifier: Any, module: Any) -> Any:
    """A loss or metric as a name or config that `compile` takes."""
    if identifier is None or isinstance(identifier, str):
        return identifier
    if isinstance(identifier, losses.LossFunction):
        return identifier.__name__
    return module.serialize(identifier)


def _restore(described: Any, module: Any) -> Any:
    """The opposite of `_describe`: configs become objects, names stay."""
    return module.deserialize(described) if isinstance(described, Mapping) else described
