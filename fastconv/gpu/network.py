"""The layers of a model in a program, forward and backward: a model's plans gone through with launches for values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from fastconv.gpu import elementwise, images, layers, merging, noise, normalization, reshaping, sample_normalization
from fastconv.gpu.parameters import Parameters
from fastconv.gpu.penalties import Penalty
from fastconv.gpu.program import Recorder
from fastconv.gpu.recorded import Recorded, Unsupported
from fastconv.kernels import cuda_strided
from fastconv.layers import Layer
from fastconv.models.backward_plan import BackwardPlan, BackwardStep
from fastconv.models.plan import ForwardPlan, Step
from fastconv.variable import Variable

_PARTS = elementwise, images, layers, merging, noise, normalization, reshaping, sample_normalization
_CLASSES = {layer: recorded for part in _PARTS for layer, recorded in part.CLASSES.items()}
# What computes in a layer: where a subclass has one of these of its own, what is known of the class does not hold.
_METHODS = {"forward", "backward", "input_gradient", "merge", "merge_gradient", "draw", "change", "change_back"}
_METHODS |= {"view", "axes"}


class Network:
    """The layers of a model, written down with a recorder.

    Args:
        plan: of the model.
        parameters: where the weights are.
        numbers: id of a step -> what it reads anew each time, on the device; see `Recorded.numbers`.
    """

    def __init__(self, plan: ForwardPlan, recorder: Recorder, parameters: Parameters, numbers: dict[int, Any]) -> None:
        self.recorder, self.parameters, self.numbers = recorder, parameters, numbers
        self._plan = plan
        self._recorded: dict[int, Recorded] = {}
        self._of_layer: dict[int, Recorded] = {}
        self._values: list[Any] = []
        self._penalties: dict[int, Penalty] = {}
        self._again: dict[int, Any] = {}

    def forward(self, inputs: Sequence[Any], training: bool) -> list[Any]:
        """The outputs, each in the order of its axes."""
        values = self._values = self._plan.values(inputs)
        for step in self._plan.steps:
            made = recorded_class(step.layer)(step, self)
            self._recorded[id(step)] = self._of_layer[id(step.layer)] = made
            taken = values[step.source] if isinstance(step.source, int) else [values[place] for place in step.source]
            values[step.target] = made.forward(taken, in_training(step, training))
        return [self._in_order(values[place]) for place in self._plan.outputs]

    def _in_order(self, y: Any) -> Any:
        if y.flags.c_contiguous:
            return y
        turned = self.recorder.memory.zeros(y.shape)
        self.recorder.add(cuda_strided.copy(y, turned))
        return turned

    def backward(self, plan: BackwardPlan, grads: Sequence[Any], combined: Collection[int]) -> None:
        """The gradients of the weights, from those of the outputs; see `BackwardPlan.run`."""
        gradients: list[Any] = [None] * self._plan.size
        for place, gy in zip(self._plan.outputs, grads, strict=True):
            if gradients[place] is None:
                gradients[place] = gy
            else:  # an output that the model gives twice
                self.recorder.add(cuda_strided.combine(cuda_strided.ADD, gradients[place], gy, gradients[place]))
        past = [self._plan.outputs[index] for index in combined]
        for back in plan.steps:
            self._step_back(back, gradients, back.through_activation and back.step.target not in past)

    def _step_back(self, back: BackwardStep, gradients: list[Any], through_activation: bool) -> None:
        step = back.step
        made, y, gy = self._recorded[id(step)], self._values[step.target], gradients[step.target]
        if gy.strides != y.strides:  # the layer behind it has another data_format
            gy, turned = made.like(y), gy
            self.recorder.add(cuda_strided.copy(turned, gy))
        weights = [weight for weight in step.layer.weights if back.again and self.parameters.trains(weight)]
        self._again = {id(weight): self.recorder.memory.zeros(weight.shape) for weight in weights}
        given = made.backward(gy, back, through_activation)
        self._again, again = {}, self._again
        for weight in weights:
            gradient = self.parameters.gradient_of(weight)
            self.recorder.add(cuda_strided.combine(cuda_strided.ADD, gradient, again[id(weight)], gradient))
        if isinstance(step.source, int):
            given = [given]
        for place, grad, adds in zip(step.sources, given or (), back.adds, strict=bool(given)):
            if adds:
                self.recorder.add(cuda_strided.combine(cuda_strided.ADD, gradients[place], grad, gradients[place]))
            elif grad is not None:
                gradients[place] = grad

    def gradient_of(self, weight: Variable) -> Any:
        """Where a layer that goes back writes a weight's gradient."""
        if id(weight) in self._again:
            return self._again[id(weight)]
        if self.parameters.trains(weight):
            return self.parameters.gradient_of(weight)
        return self.recorder.memory.zeros(weight.shape)  # one beside a trained weight: nobody reads it

    def penalties(self, plan: BackwardPlan) -> list[Penalty]:
        """What regularizers add to the loss."""
        return [penalty for layer in plan.penalised for penalty in self._of_layer[id(layer)].penalties()]

    def penalty_of(self, weight: Variable) -> Penalty:
        """That of a weight which has a regularizer."""
        if id(weight) not in self._penalties:
            value = self.parameters.of(weight)
            self._penalties[id(weight)] = Penalty(self.recorder, weight.regularizer, value)
        return self._penalties[id(weight)]


def in_training(step: Step, training: bool) -> bool:
    """Whether a step of a model, in training or not, runs as in training."""
    return training if step.training is None else step.training


def check(model: Any) -> None:
    """Raise `Unsupported` unless there are kernels for all layers of the model."""
    for layer in model.forward_plan.layers:
        recorded_class(layer)


def recorded_class(layer: Layer) -> type[Recorded]:
    """What writes a layer down.

    Raises:
        Unsupported: there is nothing for its class, or the layer has an option that only the CPU knows.
    """
    first = next((cls for cls in type(layer).__mro__ if cls in _CLASSES or _METHODS & cls.__dict__.keys()), Layer)
    found = _CLASSES.get(first)
    if found is None:
        raise Unsupported(
            f'the layer "{layer.name}" ({type(layer).__name__}) has no kernels for a GPU: train and predict with this '
            "model on the device 'cpu'."
        )
    reason = found.unsupported(layer)
    if layer.dtype != "float32":
        reason = f"it computes in {layer.dtype}, kernels for a GPU in float32"
    if reason is not None:
        raise Unsupported(f'the layer "{layer.name}" ({type(layer).__name__}) cannot run on a GPU: {reason}.')
    return found
