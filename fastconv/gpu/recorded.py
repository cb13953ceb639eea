"""What stands for a layer in a program, and the error for what a GPU cannot run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from fastconv.gpu.penalties import Penalty
from fastconv.kernels import cuda_strided
from fastconv.layers.layout import from_last, to_last
from fastconv.models.plan import BackwardStep

if TYPE_CHECKING:
    from fastconv.gpu.network import Network


class Unsupported(ValueError):
    """A model that a GPU cannot run; the message names the layer and what stands in the way."""


class Recorded:
    """A layer in a program; a subclass defines `forward` and `backward`.

    numbers: how many numbers it reads anew in each step; `next_numbers` gives them.
    """

    numbers: ClassVar[int] = 0

    def __init__(self, layer: Any, network: Network) -> None:
        self.layer = layer
        self._network, self._recorder, self._parameters = network, network.recorder, network.parameters

    @staticmethod
    def unsupported(layer: Any) -> str | None:
        """Why this very layer cannot run on a GPU, or None."""
        return None

    @staticmethod
    def next_numbers(layer: Any) -> Sequence[float]:
        """The numbers of the next step, which counts as begun."""
        return ()

    def forward(self, x: Any, training: bool) -> Any:
        """The output, once the launches written down have run."""
        raise NotImplementedError

    def backward(self, gy: Any, step: BackwardStep, through_activation: bool) -> Any:
        """The input's gradient, or None if it is not needed; see `Layer.backward`. gy may be overwritten."""
        raise NotImplementedError

    def penalties(self) -> list[Penalty]:
        """What the layer adds to the loss, once `forward` has been written down."""
        return [self._network.penalty_of(weight) for weight in self.layer.trainable_weights if weight.regularizer]

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
        if x.flags.c_contiguous:
            return self.empty(x.shape)
        return from_last(self.empty(to_last(x, "channels_first").shape), "channels_first")
