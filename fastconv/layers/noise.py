"""GaussianNoise, GaussianDropout, AlphaDropout and ActivityRegularization: training made harder on purpose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import regularizers
from fastconv.buffers import FRESH, Buffers
from fastconv.layers.base import WeightlessLayer, gradient_out
from fastconv.layers.layout import empty_like, in_memory
from fastconv.layers.regularization import Dropout, RandomLayer, share

_BELOW_1 = math.nextafter(1, 0)
# What a SELU gives for minus infinity: its scale times its alpha.
_LOWEST_OF_SELU = -1.0507009873554805 * 1.6732632423543772


class GaussianNoise(RandomLayer):
    """In training adds normally distributed numbers, `keras.layers.GaussianNoise`.

    Args:
        stddev: their standard deviation, from 0 to 1.
        seed, options: as for `RandomLayer`.

    Raises:
        ValueError: `stddev` is out of range.
    """

    def __init__(self, stddev: float, seed: int | None = None, **options: Any) -> None:
        self.stddev = share(stddev, "stddev")
        super().__init__(seed, **options)

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        if not training or self.stddev == 0:
            self._saved = (x,)
            return x
        y = normal_like(x, self, buffers, "output", self.stddev)
        y += x
        self._saved = (y,)
        return y

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        return grad

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stddev": self.stddev}


class GaussianDropout(RandomLayer):
    """In training multiplies by numbers of mean 1 and variance rate / (1 - rate), `keras.layers.GaussianDropout`.

    Args:
        rate: from 0 to below 1: a `Dropout` of that rate has the same variance.
        seed, options: as for `RandomLayer`.

    Raises:
        ValueError: `rate` is out of range.
    """

    def __init__(self, rate: float, seed: int | None = None, **options: Any) -> None:
        self.rate = share(rate, "rate", _BELOW_1)
        super().__init__(seed, **options)

    @property
    def deviation(self) -> float:
        """The numbers' standard deviation."""
        return math.sqrt(self.rate / (1 - self.rate))

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        if not training or self.rate == 0:
            self._saved = (x, None)
            return x
        factors = normal_like(x, self, buffers, "factors", self.deviation, 1.0)
        y = np.multiply(x, factors, out=empty_like(x, buffers, self, "output"))
        self._saved = (y, factors)
        return y

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        return grad if saved[1] is None else np.multiply(grad, saved[1], out=gradient_out(grad, buffers))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


class AlphaDropout(Dropout):
    """In training sets elements to the lowest value of a SELU and scales and shifts all, so that mean 0 and variance 1
    stay, `keras.layers.AlphaDropout`.

    Args:
        rate: share of the elements, from 0 to below 1.
        noise_shape, seed, options: as for `Dropout`.

    Raises:
        ValueError: `rate` is out of range.
    """

    def __init__(
        self, rate: float, noise_shape: Sequence[int | None] | None = None, seed: int | None = None, **options: Any
    ) -> None:
        super().__init__(share(rate, "rate", _BELOW_1), noise_shape, seed, **options)

    @property
    def numbers(self) -> tuple[float, float, float]:
        """What elements that are kept are multiplied by, what is added to them, and what the dropped become."""
        scale = ((1 - self.rate) * (1 + self.rate * _LOWEST_OF_SELU**2)) ** -0.5
        shift = -scale * _LOWEST_OF_SELU * self.rate
        return scale, shift, scale * _LOWEST_OF_SELU + shift

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        if not training or self.rate == 0:
            self._saved = (x, None)
            return x
        scale, shift, dropped = self.numbers
        factors = self.draw(x, buffers)
        factors *= scale * (1 - self.rate)  # now 0 or the scale
        y = np.multiply(x, factors, out=empty_like(x, buffers, self, "output"))
        shifts = np.multiply(factors, (shift - dropped) / scale, out=empty_like(factors, buffers, self, "shifts"))
        shifts += dropped
        y += shifts
        self._saved = (y, factors)
        return y


class ActivityRegularization(WeightlessLayer):
    """The input as it is, with a penalty on it, `keras.layers.ActivityRegularization`.

    Args:
        l1, l2: factors of the sums of |x| and of x**2 over the batch, divided by its size.
        options: as for `Layer`.
    """

    has_losses = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **options: Any) -> None:
        self.l1, self.l2 = l1, l2
        self.regularizer = regularizers.L1L2(l1, l2)
        self._loss = 0.0
        super().__init__(**options)

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        self._loss = self.regularizer(x) / max(len(x), 1)
        self._saved = (x,)
        return x

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        x = saved[0]
        return np.add(grad, self.regularizer.gradient(x) / max(len(x), 1), out=gradient_out(grad, buffers))

    @property
    def losses(self) -> list[float]:
        """The penalty on the last `forward`'s input."""
        return [self._loss]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "l1": self.l1, "l2": self.l2}


def normal_like(
    x: np.ndarray, layer: RandomLayer, buffers: Buffers, name: str, deviation: float, mean: float = 0.0
) -> np.ndarray:
    """Normally distributed numbers in x's shape, drawn in the order of its memory, so that a layout changes no bit."""
    from fastconv.kernels import cpu_normal

    numbers = empty_like(x, buffers, layer, name)
    cpu_normal.draw(in_memory(numbers), layer.key, layer.next_call(), deviation, mean)
    return numbers
