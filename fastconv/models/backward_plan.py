"""A model's plan gone back: `BackwardPlan` says which steps a backward pass goes through, and for which weights."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from fastconv.buffers import Buffers
from fastconv.layers import Layer
from fastconv.layers.base import gradient_out
from fastconv.models import fusing
from fastconv.models.plan import ForwardPlan, Step, fused_step
from fastconv.variable import Variable


class BackwardStep:
    """A step of a forward plan gone back.

    Attributes:
        step: that step.
        need_input_grad, need_weight_grad: whether its input's gradient is needed, and its weights' are; the first a
            tuple for a layer that takes a list.
        through_activation: False if the layer behind it applies the gradient of its activation, a ReLU.
        through_input_relu: whether it is the layer that does so for the one before it.
        adds: whether there is a gradient already where it writes; for each place that it takes.
        again: whether an earlier step has written the gradients of its weights.
    """

    def __init__(self, step: Step, need_input_grad: Any = True, need_weight_grad: bool = True) -> None:
        self.step = step
        self.need_input_grad, self.need_weight_grad = need_input_grad, need_weight_grad
        self.through_activation, self.through_input_relu = True, False
        self.adds: tuple[bool, ...] = (False,) * len(step.sources)
        self.again = False
        self._gradients: list[np.ndarray] | None = None

    @property
    def layer(self) -> Layer:
        """The layer."""
        return self.step.layer

    def run(self, gradients: list[Any], buffers: Buffers, through_activation: bool = True) -> None:
        """Take the gradient for what the step made from `gradients`, and write those for what it took into it."""
        step = self.step
        step.recall()
        run = self._add_to_weights if self.again else step.layer.backward
        grad: Any = run(
            gradients[step.target],
            step.own(buffers),
            need_input_grad=self.need_input_grad,
            need_weight_grad=self.need_weight_grad,
            through_activation=through_activation and self.through_activation,
            **({"through_input_relu": True} if self.through_input_relu else {}),
        )
        if not self.need_input_grad:
            return
        if isinstance(step.source, int):
            put(gradients, step.source, grad, self.adds[0], buffers)
            return
        for place, part, needed, adds in zip(step.source, grad, self.need_input_grad, self.adds, strict=True):
            if needed:
                put(gradients, place, part, adds, buffers)

    def _add_to_weights(self, grad: np.ndarray, buffers: Buffers, **options: Any) -> Any:
        """The layer's `backward`, whose weights' gradients are added to those that are there.

        A weight's penalty counts once: it is in what is there.
        """
        weights = [weight for weight in self.layer.weights if weight.gradient is not None]
        if self._gradients is None:
            self._gradients = [np.empty_like(weight.unmirrored) for weight in weights]
        kept = [(weight.gradient, weight.regularizer) for weight in weights]
        for weight, own in zip(weights, self._gradients, strict=True):
            weight.gradient, weight.regularizer = own, None
        try:
            return self.layer.backward(grad, buffers, **options)
        finally:
            for weight, (gradient, regularizer) in zip(weights, kept, strict=True):
                np.add(gradient, weight.gradient, out=gradient)  # type: ignore[arg-type]
                weight.gradient, weight.regularizer = gradient, regularizer


def put(gradients: list[Any], place: int, grad: Any, adds: bool, buffers: Buffers) -> None:
    """Write a gradient into its place, or add it to what is there."""
    there = gradients[place]
    gradients[place] = np.add(there, grad, out=gradient_out(there, buffers)) if adds else grad


class BackwardPlan:
    """Which steps a backward pass goes through, last first, and the weights that it is for.

    Attributes:
        steps: none that leads to no trained weight.
        variables: the weights that training changes.
        calls: the forward plan's calls that the steps go back through.
        penalised: the layers whose `losses` belong to the model's loss.
    """

    def __init__(
        self,
        forward: ForwardPlan,
        steps: Sequence[BackwardStep],
        variables: Sequence[Variable] = (),
        calls: Sequence[Any] | None = None,
    ) -> None:
        self.forward, self.steps, self.variables = forward, tuple(steps), tuple(variables)
        self.calls = forward.calls if calls is None else calls
        self.penalised = tuple(layer for layer in forward.layers if layer.has_losses)
        written = set(forward.outputs)
        trained: set[int] = set()
        for step in self.steps:
            adds = []
            for place, needed in zip(step.step.sources, _each(step.need_input_grad, step.step), strict=True):
                adds.append(needed and place in written)
                if needed:
                    written.add(place)
            step.adds = tuple(adds)
            if step.need_weight_grad and step.layer.weights:
                step.again = id(step.layer) in trained
                trained.add(id(step.layer))

    @classmethod
    def of(cls, forward: ForwardPlan, variables: Sequence[Variable] | None = None) -> BackwardPlan:
        """The plan for the gradients of `variables`, by default of all that training changes: nothing is computed that
        leads to none of them."""
        if variables is None:
            every = {id(weight): weight for step in forward.steps for weight in step.layer.trainable_weights}
            variables = list(every.values())
        wanted = {id(variable) for variable in variables}
        needs = [False] * forward.size
        trains: list[bool] = []
        for step in forward.steps:
            trains.append(any(id(weight) in wanted for weight in step.layer.weights))
            needs[step.target] = trains[-1] or any(needs[place] for place in step.sources)
        by_target: dict[int, BackwardStep] = {}
        steps = []
        for step, trained in reversed(list(zip(forward.steps, trains, strict=True))):
            if not needs[step.target]:
                continue
            lists = isinstance(step.source, tuple)
            needed: Any = tuple(needs[place] for place in step.sources)
            back = BackwardStep(step, (needed if any(needed) else False) if lists else needed[0], trained)
            by_target[step.target] = back
            steps.append(back)
        for back in steps:
            source = back.step.source
            if isinstance(source, int) and back.need_input_grad and back.layer.takes_input_relu:
                before = by_target[source]
                if before.layer.output_activation == "relu" and forward.consumers[source] == 1:
                    back.through_input_relu, before.through_activation = True, False
        found = {id(weight) for back in steps if back.need_weight_grad for weight in back.step.layer.trainable_weights}
        return cls(forward, steps, [variable for variable in variables if id(variable) in found])

    @cached_property
    def fused(self) -> BackwardPlan:
        """The same with a convolution that needs no gradient for its input, and the max pooling behind it, in one."""
        back = {id(step.step): step for step in self.steps}
        replaced: dict[int, BackwardStep | None] = {}
        found = []
        for convolution, pool in fusing.pairs(self.forward).values():
            ends = back.get(id(convolution)), back.get(id(pool))
            if ends[0] is None or ends[1] is None or ends[0].need_input_grad or not ends[0].need_weight_grad:
                continue
            made = fused_step(convolution, pool)
            replaced[id(pool)] = BackwardStep(made, need_input_grad=False)
            replaced[id(convolution)] = None
            found.append((convolution, pool, made))
        steps = [replaced.get(id(step.step), step) for step in self.steps]
        calls = fusing.fused(self.forward.calls, found)
        return BackwardPlan(self.forward, [step for step in steps if step is not None], self.variables, calls)

    @classmethod
    def full(cls, forward: ForwardPlan) -> BackwardPlan:
        """The plan for all gradients there are, the inputs' too."""
        steps = []
        for step in reversed(forward.steps):
            every = True if isinstance(step.source, int) else (True,) * len(step.source)
            steps.append(BackwardStep(step, every))
        return cls(forward, steps)

    def start(self, grads: Sequence[Any], buffers: Buffers) -> list[Any]:
        """A list with the outputs' gradients at their places, for steps to work on."""
        gradients: list[Any] = [None] * self.forward.size
        for place, grad in zip(self.forward.outputs, grads, strict=True):
            put(gradients, place, grad, gradients[place] is not None, buffers)
        return gradients

    def run(self, grads: Sequence[Any], buffers: Buffers, combined: Collection[int] = ()) -> list[Any]:
        """Fill the gradients from those of the outputs; returns the inputs' gradients, None where not computed.

        Args:
            grads: for each output; see `Layer.backward`.
            combined: the numbers of the outputs whose gradient is for the input of their activation already.
        """
        gradients = self.start(grads, buffers)
        past = [self.forward.outputs[index] for index in combined]
        for step in self.steps:
            step.run(gradients, buffers, step.step.target not in past)
        return gradients[: self.forward.inputs]

    @property
    def penalty(self) -> float:
        """What regularizers add to the loss."""
        return sum(loss for layer in self.penalised for loss in layer.losses)


def _each(need_input_grad: Any, step: Step) -> tuple[bool, ...]:
    """`need_input_grad` for each place that the step takes."""
    return need_input_grad if isinstance(need_input_grad, tuple) else (need_input_grad,) * len(step.sources)
