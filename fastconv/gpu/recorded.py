"""What stands for a layer in a program, and the error for what a GPU cannot run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastconv.gpu.penalties import Penalty
from fastconv.kernels import cuda_strided
from fastconv.layers.layout import from_last, in_memory
from fastconv.models.backward_plan import BackwardStep
from fastconv.models.plan import Step
from fastconv.variable import Variable

if TYPE_CHECKING:
    from fastconv.gpu.network import Network


class Unsupported(ValueError):
    """A model that a GPU cannot run; the message names the layer and what stands in the way."""


class Recorded:
    """A step of a model in a program; a subclass defines `forward` and `backward`."""

    def __init__(self, step: Step, network: Network) -> None:
        self.step = step
        self.layer: Any = step.layer
        self._network, self._recorder, self._parameters = network, network.recorder, network.parameters

    @staticmethod
    def unsupported(layer: Any) -> str | None:
        """Why this very layer cannot run on a GPU, or None."""
        return None

    @classmethod
    def numbers(cls, layer: Any, shape: Any) -> int:
        """How many numbers it reads anew in each step in training, for an input of that shape."""
        return 0

    @classmethod
    def next_numbers(cls, layer: Any, shape: Any) -> Sequence[float]:
        """The numbers of the next step, which counts as begun."""
        return ()

    def forward(self, x: Any, training: bool) -> Any:
        """The output, once the launches written down have run."""
        raise NotImplementedError

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        """The input's gradient, or None if it is not needed; see `Layer.backward`. gy may be overwritten.

        A layer that takes a list gives one, of gradients that share no memory.
        """
        raise NotImplementedError

    def penalties(self) -> list[Penalty]:
        """What the layer adds to the loss, once `forward` has been written down."""
        return [self._network.penalty_of(weight) for weight in self.layer.trainable_weights if weight.regularizer]

    def add_penalty_slopes(self, back: BackwardStep) -> None:
        """The regularizers' part of the weights' gradients; a weight's counts once, however often a layer is used."""
        for weight in self.layer.weights:
            if weight.regularizer is not None and self._parameters.trains(weight) and not back.again:
                self._network.penalty_of(weight).add_slope(self.gradient_of(weight))

    def gradient_of(self, weight: Variable) -> Any:
        """Where `backward` writes a weight's gradient."""
        return self._network.gradient_of(weight)

    def empty(self, shape: tuple[int, ...]) -> Any:
        """An array of the program."""
        return self._recorder.memory.zeros(shape)

    def contiguous(self, x: Any) -> Any:
        """x where it lies in the order of its axes, else a copy that does."""
        if x.flags.c_contiguous:
            return x
        y = self.empty(x.shape)
        self._recorder.add(cuda_strided.copy(x, y))
        return y

    def like(self, x: Any) -> Any:
        """An array of the program with x's shape and order in memory."""
        memory = in_memory(x)
        y = self.empty(memory.shape)
        return y if memory is x else from_last(y, "channels_first")
