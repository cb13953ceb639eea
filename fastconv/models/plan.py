"""`BackwardPlan`: where gradients have to go in a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastconv.buffers import Buffers
from fastconv.layers import Layer
from fastconv.variable import Variable


@dataclass(frozen=True)
class BackwardStep:
    """One layer of a backward pass.

    need_input_grad, need_weight_grad: whether its input's gradient is needed, and its weights' are.
    through_activation: False if the layer behind it applies the gradient of its activation, a ReLU.
    through_input_relu: whether it is the layer that does so for the one before it.
    """

    layer: Layer
    need_input_grad: bool = True
    need_weight_grad: bool = True
    through_activation: bool = True
    through_input_relu: bool = False

    def run(self, grad: Any, buffers: Buffers, through_activation: bool) -> Any:
        """The layer's `backward`."""
        return self.layer.backward(
            grad,
            buffers,
            need_input_grad=self.need_input_grad,
            need_weight_grad=self.need_weight_grad,
            through_activation=through_activation,
            **({"through_input_relu": True} if self.through_input_relu else {}),
        )


@dataclass(frozen=True)
class BackwardPlan:
    """Which layers a backward pass goes through, last first, and the weights that it is for.

    variables: the weights that training changes.
    penalised: the layers whose `losses` belong to the model's loss.
    """

    steps: tuple[BackwardStep, ...]
    variables: tuple[Variable, ...]
    penalised: tuple[Layer, ...]

    @classmethod
    def of(cls, layers: Sequence[Layer]) -> BackwardPlan:
        """The plan for the trainable weights of these layers: nothing goes below the first that has any."""
        trained = [index for index, layer in enumerate(layers) if layer.trainable_weights]
        first = trained[0] if trained else len(layers)
        takes_relu = [
            index > first and layer.takes_input_relu and layers[index - 1].output_activation == "relu"
            for index, layer in enumerate(layers)
        ]
        steps = [
            BackwardStep(layers[i], i > first, i in trained, not any(takes_relu[i + 1 : i + 2]), takes_relu[i])
            for i in range(len(layers) - 1, first - 1, -1)
        ]
        variables = [weight for i in trained for weight in layers[i].trainable_weights]
        return cls(tuple(steps), tuple(variables), tuple(layer for layer in layers if layer.has_losses))

    @classmethod
    def full(cls, layers: Sequence[Layer]) -> BackwardPlan:
        """The plan for all gradients there are, the input's too."""
        return cls(tuple(BackwardStep(layer) for layer in reversed(layers)), (), ())

    def run(self, grad: Any, buffers: Buffers, through_activation: bool) -> Any:
        """Fill the gradients from that of the last layer's output; see `Layer.backward`."""
        for step in self.steps:
            grad = step.run(grad, buffers, through_activation and step.through_activation)
            through_activation = True
        return grad

    @property
    def penalty(self) -> float:
        """What regularizers add to the loss."""
        return sum(loss for layer in self.penalised for loss in layer.losses)
