"""`Compiled`: what a model learns by and is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastconv import losses, metrics, optimizers
from fastconv.models.base import BaseModel
from fastconv.models.objective import Objective
from fastconv.models.plan import BackwardPlan


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
        self._objective = Objective(None, None, None)
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
            optimizer, loss: a name, config or object.
            metrics: a list of names, objects or functions of (y_true, y_pred); "accuracy" takes the kind
                that suits.
            weighted_metrics: as `metrics`, weighted by sample_weight and class_weight.
            loss_weights: must be None: there is one output.
            run_eagerly, steps_per_execution, jit_compile, auto_scale_loss: accepted without effect.

        Raises:
            ValueError, TypeError: one is unknown; the model is as before then.
        """
        if loss_weights is not None:
            raise ValueError(f"loss_weights is not supported: there is one output; received {loss_weights!r}.")
        objective = Objective(loss, metrics, weighted_metrics)
        self.optimizer = optimizers.get(optimizer)
        self.loss = loss
        self._objective = objective
        self._compile_arguments = {"loss": loss, "metrics": metrics, "weighted_metrics": weighted_metrics}
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
            "loss": _describe(given["loss"], losses),
            "loss_weights": None,
            **{
                key: None if given[key] is None else [_describe(entry, metrics) for entry in given[key]]
                for key in ("metrics", "weighted_metrics")
            },
            "run_eagerly": False,
            "steps_per_execution": 1,
            "jit_compile": False,
        }

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """`compile` with what `get_compile_config` described, and build the optimizer if the model is built."""
        lists = [
            None if config.get(key) is None else [_restore(entry, metrics) for entry in config[key]]
            for key in ("metrics", "weighted_metrics")
        ]
        loss = _restore(config.get("loss"), losses)
        self.compile(config.get("optimizer"), loss, metrics=lists[0], weighted_metrics=lists[1])
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
