"""`Stepping`: what a model does with one batch, on the CPU or with a GPU's runner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastconv.buffers import ReusedBuffers
from fastconv.models.backward_plan import BackwardPlan
from fastconv.models.compiling import Compiled
from fastconv.models.data import Batch
from fastconv.models.later import LaterLogs
from fastconv.models.objectives import Objectives, sample_weight_of_each
from fastconv.models.parts import each
from fastconv.models.placement import runner_for
from fastconv.ops.dispatch import filters_are_fixed


class Stepping(Compiled):
    """The part of a model that takes steps."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._buffers = ReusedBuffers()
        self._stepped = False  # whether a training step was made
        self._runner: Any = None
        self._kept_on_cpu: Any = None

    def __getstate__(self) -> dict[str, Any]:
        if self._runner is not None:
            self._runner.settle()  # a copy's metrics have seen the same batches
        return super().__getstate__()

    def _predict(self, x: Any) -> list[np.ndarray]:
        """The outputs for a batch, in memory that the next one may use again."""
        runner = runner_for(self, "predict", x)
        if runner is not None:
            return runner.predict(x)
        calls = None if filters_are_fixed() else self.forward_plan.fused_calls
        return self._run(each(x), False, self._buffers, calls)

    def _train_step(self, batch: Batch, plan: BackwardPlan) -> None:
        x, y, sample_weight = batch
        runner = runner_for(self, "train", x, y, sample_weight)
        if runner is not None:
            runner.train(x, y, sample_weight)
            return
        if isinstance(self._objective, Objectives):
            self._train_outputs(self._objective, batch, plan)
            return
        loss: Any = self._objective.loss
        (y_pred,) = self._forward(x, plan)
        fused = self._combines_loss_and_activation
        gradient = loss.value_and_logits_gradient if fused else loss.value_and_gradient
        out = self._buffers.empty(self, "loss_gradient", y_pred.shape, self.dtype)
        value, grad = gradient(y, y_pred, sample_weight, out)
        self._objective.update(value + plan.penalty, y, y_pred, sample_weight)
        self._change_weights(plan, [grad], (0,) if fused else ())

    def _forward(self, x: Any, plan: BackwardPlan) -> list[np.ndarray]:
        """The outputs in training."""
        inputs, fused = each(x), plan.fused
        if not self._stepped:
            from fastconv.ahead import compile_ahead

            self._stepped = True
            compile_ahead(fused, [part.shape for part in inputs])
        return self._run(inputs, True, self._buffers, fused.calls)

    def _train_outputs(self, objectives: Objectives, batch: Batch, plan: BackwardPlan) -> None:
        """A step of a model with several outputs."""
        x, y, sample_weight = batch
        found = self._forward(x, plan)
        grads, values, combined = [], [], []
        for index, (y_pred, weight) in enumerate(zip(found, objectives.weights, strict=True)):
            loss = objectives.loss[index]
            grad = self._buffers.empty(self, f"loss_gradient {index}", y_pred.shape, self.dtype)
            of_samples = sample_weight_of_each(sample_weight, len(found))[index]
            if loss is None or weight == 0:
                grad.fill(0)
                values.append(0.0 if loss is None else float(np.sum(loss(each(y)[index], y_pred, of_samples))))
            else:
                fused = self.forward_plan.ends_in(objectives.fused(index), index)
                gradient = loss.value_and_logits_gradient if fused else loss.value_and_gradient
                values.append(gradient(each(y)[index], y_pred, of_samples, grad)[0])
                combined += [index] if fused else []
                if weight != 1:
                    grad *= grad.dtype.type(weight)
            grads.append(grad)
        total = sum(weight * value for weight, value in zip(objectives.weights, values, strict=True))
        objectives.update(total + plan.penalty, values, y, found, sample_weight)
        self._change_weights(plan, grads, combined)

    def _change_weights(self, plan: BackwardPlan, grads: list[np.ndarray], combined: Sequence[int]) -> None:
        """Go backward from the outputs' gradients, and let the optimizer make its step."""
        plan.fused.run(grads, self._buffers, combined)
        if plan.variables:
            self.optimizer.apply([variable.gradient for variable in plan.variables], plan.variables, scaled=False)

    def _logs(self) -> dict[str, float]:
        """The loss and metrics so far."""
        if self._runner is not None:
            self._runner.settle()
        return self._objective.logs()

    def _batch_logs(self) -> Mapping[str, float]:
        """`_logs` for a batch's callbacks: on a GPU read, and the steps before waited for, where one looks at them."""
        return self._logs() if self._runner is None else LaterLogs(self._logs)

    @property
    def metrics(self) -> list[Any]:
        """As of `Compiled`: all steps so far count, those under way on a GPU, too."""
        if self._runner is not None:
            self._runner.settle()
        return super().metrics

    def reset_metrics(self) -> None:
        """Begin all running values anew."""
        if self._runner is not None:
            self._runner.settle()  # what is under way belongs to the old ones
        super().reset_metrics()

    @property
    def _combines_loss_and_activation(self) -> bool:
        """Whether the loss's gradient goes past the last activation, as softmax and cross-entropy allow."""
        return self.forward_plan.ends_in(self._objective.fused_activation)

    def _test_step(self, batch: Batch) -> None:
        x, y, sample_weight = batch
        runner = runner_for(self, "test", x, y, sample_weight)
        if runner is not None:
            runner.test(x, y, sample_weight)
            return
        loss: Any = self._objective.loss
        if isinstance(self._objective, Objectives):
            found = self._run(each(x), False, self._buffers)
            weights = sample_weight_of_each(sample_weight, len(found))
            given = zip(loss, each(y), found, weights, strict=True)
            values = [0.0 if one is None else float(np.sum(one(*arrays))) for one, *arrays in given]
            total = sum(weight * value for weight, value in zip(self._objective.weights, values, strict=True))
            self._objective.update(total + self.backward_plan.penalty, values, y, found, sample_weight)
            return
        y_pred = self.forward(x, False, self._buffers)
        value = float(np.sum(loss(y, y_pred, sample_weight)))
        self._objective.update(value + self.backward_plan.penalty, y, y_pred, sample_weight)
