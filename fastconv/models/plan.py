"""A model as one list of steps: `ForwardPlan` says how values go through it, `BackwardPlan` where gradients have to go.

Models within the model are taken apart: every step is a call of one layer. Values and gradients lie in lists; a step
knows the places of those that it takes and of the one that it makes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from fastconv.buffers import FRESH, Buffers
from fastconv.layers import Layer
from fastconv.layers.base import gradient_out
from fastconv.models import fusing
from fastconv.ops.dispatch import filters_are_fixed, many_batches
from fastconv.variable import Variable


class Step:
    """A call of a layer.

    Attributes:
        layer: the layer.
        source: the place of what it takes; a tuple of places where the layer takes a list.
        target: the place of what it makes.
        training: what the call was made with; None leaves it to the model.
        repeat: how many steps of the plan have the same layer before this one; None if it is the layer's only one.
    """

    def __init__(self, layer: Layer, source: int | tuple[int, ...], target: int, training: bool | None) -> None:
        self.layer, self.source, self.target, self.training = layer, source, target, training
        self.repeat: int | None = None
        self._saved: Any = None

    @property
    def sources(self) -> tuple[int, ...]:
        """The places of what it takes."""
        return (self.source,) if isinstance(self.source, int) else self.source

    @property
    def is_plain(self) -> bool:
        """Whether `forward` only calls the layer's."""
        return isinstance(self.source, int) and self.training is None and self.repeat is None

    def forward(self, values: list[Any], training: bool, buffers: Buffers) -> None:
        """Take from `values`, call the layer, and write into `values`."""
        x: Any = values[self.source] if isinstance(self.source, int) else [values[place] for place in self.source]
        training = training if self.training is None else self.training
        values[self.target] = self.layer.forward(x, training, self.own(buffers))
        if self.repeat is not None:
            self._saved = self.layer._saved

    def recall(self) -> None:
        """Make the layer's next `backward` that of this step."""
        if self.repeat is not None:
            self.layer._saved = self._saved

    def own(self, buffers: Buffers) -> Buffers:
        """The buffers as the layer gets them: apart from those of its other steps."""
        return buffers if self.repeat is None or buffers is FRESH else _OwnBuffers(buffers, self.repeat)


class _OwnBuffers:
    """Buffers of one among several steps of a layer."""

    def __init__(self, buffers: Buffers, repeat: int) -> None:
        self._buffers, self._repeat = buffers, repeat

    def empty(self, owner: object, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return self._buffers.empty(owner, f"{name} of call {self._repeat}", shape, dtype)


class ForwardPlan:
    """The steps of a model, each after those that it takes values from.

    Attributes:
        steps: the steps; none whose value no output needs.
        inputs: how many inputs there are; their places are the first.
        outputs: the places of the outputs.
        size: how many places there are.
    """

    def __init__(self, steps: Iterable[Step], inputs: int, outputs: Sequence[int]) -> None:
        needed = set(outputs)
        kept = []
        for step in reversed(list(steps)):
            if step.target in needed:
                needed.update(step.sources)
                kept.append(step)
        self.steps = tuple(reversed(kept))
        self.inputs, self.outputs = inputs, tuple(outputs)
        self.size = 1 + max([inputs - 1, *(step.target for step in self.steps)])
        calls = Counter(id(step.layer) for step in self.steps)
        counted: Counter[int] = Counter()
        for step in self.steps:
            step.repeat = counted[id(step.layer)] if calls[id(step.layer)] > 1 else None
            counted[id(step.layer)] += 1
        self.layers = list({id(step.layer): step.layer for step in self.steps}.values())
        self.consumers = Counter([*(place for step in self.steps for place in step.sources), *outputs])
        self.makers = {step.target: step for step in self.steps}
        self.calls: list[tuple[Step | None, Any, Any, int]] = [
            (None if step.is_plain else step, step.layer, step.source, step.target) for step in self.steps
        ]

    @cached_property
    def fused_calls(self) -> list[Any]:
        """The calls of inference alone: a convolution and the max pooling behind it are one."""
        return fusing.fused(self.calls, [(*pair, fused_step(*pair)) for pair in fusing.pairs(self).values()])

    @cached_property
    def _folded(self) -> list[Any]:
        from fastconv.models.folding import folded_calls

        return folded_calls(self)

    @classmethod
    def of(cls, model: Any) -> ForwardPlan:
        """The plan of a built model."""
        steps: list[Step] = []
        inputs = len(model.inputs)
        outputs = _take_apart(model, list(range(inputs)), steps, None, inputs)
        return cls(steps, inputs, outputs)

    @classmethod
    def chain(cls, layers: Sequence[Layer]) -> ForwardPlan:
        """The plan of layers one behind another."""
        return cls([Step(layer, i, i + 1, None) for i, layer in enumerate(layers)], 1, [len(layers)])

    def values(self, inputs: Sequence[Any]) -> list[Any]:
        """A list with the inputs at their places, for steps to work on."""
        return [*inputs, *[None] * (self.size - self.inputs)]

    def run(
        self, inputs: Sequence[np.ndarray], training: bool, buffers: Buffers, calls: Sequence[Any] | None = None
    ) -> list[np.ndarray]:
        """The outputs; see `Layer.forward`.

        calls: those of the backward plan that goes back afterwards; by default every layer's own, and within
            `fixed_filters`, where nobody goes back, fewer.
        """
        values = self.values(inputs)
        if calls is None:
            calls = self.calls
            if not training and filters_are_fixed():
                calls = self._folded if many_batches() else self.fused_calls
        for step, layer, source, target in calls:
            if step is None:
                values[target] = layer.forward(values[source], training, buffers)
            else:
                step.forward(values, training, buffers)
        return [values[place] for place in self.outputs]

    def shapes(self, inputs: Sequence[Any]) -> list[Any]:
        """The shape at each place for inputs of these shapes; ValueError if a layer cannot take what it would get."""
        shapes = self.values(inputs)
        for step in self.steps:
            shape = shapes[step.source] if isinstance(step.source, int) else [shapes[place] for place in step.source]
            shapes[step.target] = step.layer.compute_output_shape(shape)
        return shapes

    def ends_in(self, activation: str | None, output: int = 0) -> bool:
        """Whether an output is the activation of that name and nothing but an output."""
        place = self.outputs[output]
        maker = self.makers.get(place)
        alone = maker is not None and self.consumers[place] == 1
        return activation is not None and alone and maker.layer.output_activation == activation  # type: ignore[union-attr]


def fused_step(convolution: Step, pool: Step) -> Step:
    """One step in the place of two; see `fusing.ConvPool`."""
    return Step(fusing.ConvPool(convolution.layer, pool.layer), convolution.source, pool.target, None)  # type: ignore[arg-type]


def _take_apart(model: Any, sources: Sequence[int], steps: list[Step], training: bool | None, inputs: int) -> list[int]:
    """Add the steps of a model that takes what lies at `sources`; returns the places of its outputs."""
    graph = model._graph
    places = dict(zip(map(id, graph.inputs), sources, strict=True))
    for node in graph.nodes:
        if node.inputs is None:
            continue
        taken = tuple(places[id(tensor)] for tensor in node.sources)
        mode = training if node.training is None else node.training
        if hasattr(node.layer, "_graph"):
            made = _take_apart(node.layer, taken, steps, mode, inputs)
        else:
            made = [inputs + len(steps)]
            steps.append(Step(node.layer, taken if isinstance(node.inputs, list) else taken[0], made[0], mode))
        places.update(zip(map(id, node.outputs), made, strict=True))
    return [places[id(tensor)] for tensor in graph.outputs]


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
