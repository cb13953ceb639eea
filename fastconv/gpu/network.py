"""The layers of a model in a program, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastconv.gpu.layers import CLASSES
from fastconv.gpu.parameters import Parameters
from fastconv.gpu.penalties import Penalty
from fastconv.gpu.program import Recorder
from fastconv.gpu.recorded import Recorded, Unsupported
from fastconv.kernels import cuda_strided
from fastconv.layers import Layer
from fastconv.models.plan import BackwardPlan
from fastconv.variable import Variable


class Network:
    """The layers of a model, written down with a recorder.

    Args:
        parameters: where the weights are.
        numbers: layer -> two numbers on the device that a layer reads anew in each step; see `Recorded.numbers`.
    """

    def __init__(self, recorder: Recorder, parameters: Parameters, numbers: dict[int, Any]) -> None:
        self.recorder, self.parameters, self.numbers = recorder, parameters, numbers
        self._recorded: dict[int, Recorded] = {}
        self._outputs: dict[int, Any] = {}
        self._penalties: dict[int, Penalty] = {}

    def forward(self, layers: Sequence[Layer], x: Any, training: bool) -> Any:
        """The output for `x`, in the order of its axes."""
        for layer in layers:
            made = self._recorded[id(layer)] = recorded_class(layer)(layer, self)
            x = self._outputs[id(layer)] = made.forward(x, training)
        if not x.flags.c_contiguous:
            x, turned = self.recorder.memory.zeros(x.shape), x
            self.recorder.add(cuda_strided.copy(turned, x))
        return x

    def backward(self, plan: BackwardPlan, gy: Any, through_activation: bool) -> None:
        """The gradients of the weights, from that of the output."""
        for step in plan.steps:
            made, y = self._recorded[id(step.layer)], self._outputs[id(step.layer)]
            if gy.strides != y.strides:  # the layer behind it has another data_format
                gy, turned = made.like(y), gy
                self.recorder.add(cuda_strided.copy(turned, gy))
            gy = made.backward(gy, step, through_activation and step.through_activation)
            through_activation = True

    def penalties(self, plan: BackwardPlan) -> list[Penalty]:
        """What regularizers add to the loss."""
        return [penalty for layer in plan.penalised for penalty in self._recorded[id(layer)].penalties()]

    def penalty_of(self, weight: Variable) -> Penalty:
        """That of a weight which has a regularizer."""
        if id(weight) not in self._penalties:
            value = self.parameters.of(weight)
            self._penalties[id(weight)] = Penalty(self.recorder, weight.regularizer, value)
        return self._penalties[id(weight)]


def recorded_class(layer: Layer) -> type[Recorded]:
    """What writes a layer down.

    Raises:
        Unsupported: there is nothing for its class, or the layer has an option that only the CPU knows.
    """
    definer = next(cls for cls in type(layer).__mro__ if "forward" in cls.__dict__)
    backward = next(cls for cls in type(layer).__mro__ if "backward" in cls.__dict__)
    found = CLASSES.get(definer) if definer is backward else None
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
