"""A model as one list of steps: `ForwardPlan` says how values go through it, and backward_plan.py how gradients do.

Models within the model are taken apart: every step is a call of one layer. Values and gradients lie in lists; a step
knows the places of those that it takes and of the one that it makes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from fastconv.buffers import FRESH, Buffers
from fastconv.layers import Layer
from fastconv.models import fusing
from fastconv.ops.dispatch import filters_are_fixed, many_batches


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
