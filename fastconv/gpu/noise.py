"""Dropout and the layers of random noise in a program: what they draw on the CPU, drawn anew in each step.

The device draws for itself: of a step it is told the number of the layer's call, two numbers of 16 bits, and its key is
part of the launch. A layer that has nothing to draw, with a rate of 0, counts no calls, as on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.gpu.penalties import Penalty
from fastconv.gpu.recorded import Recorded
from fastconv.kernels import cuda_dropout, cuda_normal
from fastconv.kernels.cuda_strided import ADD, MULTIPLY, combine
from fastconv.layers import ActivityRegularization, AlphaDropout, GaussianDropout, GaussianNoise, Layer
from fastconv.layers.layout import in_memory
from fastconv.layers.regularization import Dropout
from fastconv.models.backward_plan import BackwardStep


class _Noise(Recorded):
    """Base: a layer whose `rate`, or `stddev`, says whether it does anything; a subclass writes `drawn` down."""

    @staticmethod
    def _is_idle(layer: Any) -> bool:
        return layer.rate == 0

    @classmethod
    def numbers(cls, layer: Any, shape: Any) -> int:
        return 0 if cls._is_idle(layer) else 2

    @classmethod
    def next_numbers(cls, layer: Any, shape: Any) -> Sequence[float]:
        if cls._is_idle(layer):
            return ()
        call = layer.next_call()
        return call & 0xFFFF, call >> 16 & 0xFFFF

    def forward(self, x: Any, training: bool) -> Any:
        self._draws = training and not self._is_idle(self.layer)
        return self.drawn(x) if self._draws else x

    def drawn(self, x: Any) -> Any:
        """The output in training."""
        y = self.like(x)
        self.change(in_memory(x), in_memory(y))
        return y

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        if self._draws:
            self.change_back(in_memory(gy))
        return gy

    def change(self, x: Any, y: Any) -> None:
        """Write down: y from x, which may be one."""
        raise NotImplementedError

    def change_back(self, gy: Any) -> None:
        """Write down: the input's gradient, in gy's memory."""
        self.change(gy, gy)

    @property
    def row(self) -> tuple[int, Any]:
        """The layer's key, and the number of its call on the device."""
        return self.layer.key, self._network.numbers[id(self.step)]


class _GaussianNoise(_Noise):
    """GaussianNoise."""

    @staticmethod
    def _is_idle(layer: GaussianNoise) -> bool:
        return layer.stddev == 0

    def change(self, x: Any, y: Any) -> None:
        self._recorder.add(cuda_normal.add_noise(x, y, *self.row, self.layer.stddev))

    def change_back(self, gy: Any) -> None:
        pass


class _GaussianDropout(_Noise):
    """GaussianDropout."""

    def change(self, x: Any, y: Any) -> None:
        self._recorder.add(cuda_normal.times_noise(x, y, *self.row, self.layer.deviation))


class _Dropout(_Noise):
    """Dropout and SpatialDropout: what is kept is multiplied and shifted, the rest becomes a number: `kept`."""

    @property
    def kept(self) -> tuple[float, float, float]:
        """Scale, shift, and what is put in place of the dropped."""
        rate = self.layer.rate
        return (1 / (1 - rate) if rate < 1 else 0.0), 0.0, 0.0

    def drawn(self, x: Any) -> Any:
        self._factors: Any = None
        if self.layer.noise_shape is None:
            return super().drawn(x)
        scale, shift, dropped = self.kept
        y, self._factors = self.like(x), self._spread(x, scale, 0.0, 0.0)
        self._recorder.add(combine(MULTIPLY, x, self._factors, y))
        if shift or dropped:
            self._recorder.add(combine(ADD, y, self._spread(x, 0.0, shift, dropped), y))
        return y

    def change(self, x: Any, y: Any) -> None:
        self._replace(x, y, *self.kept)

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        if self._draws and self._factors is not None:
            self._recorder.add(combine(MULTIPLY, gy, self._factors, gy))
            return gy
        return super().backward(gy, back, through_activation)

    def change_back(self, gy: Any) -> None:
        self._replace(gy, gy, self.kept[0], 0.0, 0.0)

    def _spread(self, x: Any, *numbers: float) -> Any:
        """Numbers of the mask's shape, to be broadcast to x: drawn where it is ones that are dropped."""
        shape = self.layer.mask_shape(x.shape)
        ones, made = self._recorder.memory.copied(np.ones(shape, np.float32)), self.empty(shape)
        self._replace(ones, made, *numbers)
        return made

    def _replace(self, x: Any, y: Any, *numbers: float) -> None:
        self._recorder.add(cuda_dropout.replace(x, y, *self.row, self.layer.rate, numbers))  # type: ignore[arg-type]


class _AlphaDropout(_Dropout):
    """AlphaDropout."""

    @property
    def kept(self) -> tuple[float, float, float]:
        return self.layer.numbers


class _ActivityRegularization(Recorded):
    """ActivityRegularization."""

    def forward(self, x: Any, training: bool) -> Any:
        self._penalty = Penalty(self._recorder, self.layer.regularizer, in_memory(x), len(x))
        return x

    def penalties(self) -> list[Penalty]:
        return [self._penalty]

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        self._penalty.add_slope(in_memory(gy))
        return gy


CLASSES: dict[type[Layer], type[Recorded]] = {
    ActivityRegularization: _ActivityRegularization,
    AlphaDropout: _AlphaDropout,
    Dropout: _Dropout,
    GaussianDropout: _GaussianDropout,
    GaussianNoise: _GaussianNoise,
}
