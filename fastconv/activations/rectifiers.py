"""Activations made of straight pieces, and their smooth relatives: ReLU and its like, shrinking functions."""

from __future__ import annotations

import numpy as np

from fastconv.activations.base import Activation, non_negative, write

_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772


class Linear(Activation):
    """y = x."""

    name = "linear"

    def forward(self, x, out):
        return out if out is x else write(out, x)

    def backward(self, grad, y, x, out):
        return out if out is grad else write(out, grad)


class ReLU(Activation):
    """y = min(x, max_value) above `threshold`, negative_slope * (x - threshold) up to it; NaN stays NaN.

    Raises:
        ValueError: one of the three is negative.
    """

    name = "relu"
    config_keys: tuple[str, ...] = ("negative_slope", "max_value", "threshold")

    def __init__(self, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> None:
        non_negative("negative_slope", negative_slope)
        non_negative("max_value", max_value)
        non_negative("threshold", threshold)
        self.negative_slope = negative_slope
        self.max_value = max_value
        self.threshold = threshold

    def forward(self, x, out):
        if self.threshold == 0 and self.negative_slope == 0:
            np.maximum(x, 0, out=out)
        else:
            # Without a slope the low side must be 0 even for an infinite x.
            low = self.negative_slope * (x - self.threshold) if self.negative_slope else x.dtype.type(0)
            write(out, np.where(x <= self.threshold, low, x))
        return out if self.max_value is None else np.minimum(out, self.max_value, out=out)

    def backward(self, grad, y, x, out):
        # y > 0 exactly where x > threshold, because no parameter is negative.
        if self.negative_slope == 0 and self.max_value is None:
            return np.multiply(grad, y > 0, out=out)
        slope = np.where(y > 0, y.dtype.type(1), y.dtype.type(self.negative_slope))
        if self.max_value is not None:
            slope *= y < self.max_value
        return np.multiply(grad, slope, out=out)


class ReLU6(ReLU):
    """y = x clipped to [0, 6]."""

    name = "relu6"
    config_keys = ()

    def __init__(self) -> None:
        super().__init__(max_value=6.0)


class LeakyReLU(ReLU):
    """y = x where positive, else negative_slope * x."""

    name = "leaky_relu"
    config_keys = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.2) -> None:
        super().__init__(negative_slope)


class ELU(Activation):
    """y = x where positive, else alpha * (exp(x) - 1); ValueError for a negative alpha."""

    name = "elu"
    config_keys: tuple[str, ...] = ("alpha",)
    scale = 1.0

    def __init__(self, alpha: float = 1.0) -> None:
        non_negative("alpha", alpha)
        self.alpha = alpha

    def forward(self, x, out):
        low = self.scale * self.alpha * np.expm1(np.minimum(x, 0))
        return write(out, np.where(x <= 0, low, self.scale * x))

    def backward(self, grad, y, x, out):
        slope = np.where(y > 0, y.dtype.type(self.scale), y + self.scale * self.alpha)
        return np.multiply(grad, slope, out=out)


class SELU(ELU):
    """`ELU` with the alpha and scale that keep activations at zero mean and unit variance."""

    name = "selu"
    config_keys = ()
    scale = _SELU_SCALE

    def __init__(self) -> None:
        super().__init__(_SELU_ALPHA)


class CELU(Activation):
    """y = x where positive, else alpha * (exp(x / alpha) - 1), whose slope has no jump; ValueError for alpha 0."""

    name = "celu"
    config_keys = ("alpha",)

    def __init__(self, alpha: float = 1.0) -> None:
        if not alpha > 0:
            raise ValueError(f"alpha must be above 0, not {alpha!r}.")
        self.alpha = alpha

    def forward(self, x, out):
        low = self.alpha * np.expm1(np.minimum(x, 0) / self.alpha)
        return write(out, np.where(x <= 0, low, x))

    def backward(self, grad, y, x, out):
        return np.multiply(grad, np.where(y > 0, y.dtype.type(1), y / self.alpha + 1), out=out)


class HardTanh(Activation):
    """y = x clipped to [-1, 1]."""

    name = "hard_tanh"
    needs_input = True

    def forward(self, x, out):
        return np.clip(x, -1, 1, out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, np.abs(x) <= 1, out=out)


class HardShrink(Activation):
    """y = x where |x| is above `threshold`, else 0; ValueError for a negative threshold."""

    name = "hard_shrink"
    config_keys = ("threshold",)

    def __init__(self, threshold: float = 0.5) -> None:
        non_negative("threshold", threshold)
        self.threshold = threshold

    def forward(self, x, out):
        return np.multiply(x, np.abs(x) > self.threshold, out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, y != 0, out=out)


class SoftShrink(Activation):
    """y = x, brought nearer to 0 by `threshold`, at most to 0; ValueError for a negative threshold."""

    name = "soft_shrink"
    config_keys = ("threshold",)

    def __init__(self, threshold: float = 0.5) -> None:
        non_negative("threshold", threshold)
        self.threshold = threshold

    def forward(self, x, out):
        return np.subtract(x, np.clip(x, -self.threshold, self.threshold), out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, y != 0, out=out)


class Threshold(Activation):
    """y = x above `threshold`, else `default_value`."""

    name = "threshold"
    needs_input = True
    config_keys = ("threshold", "default_value")

    def __init__(self, threshold: float = 0.0, default_value: float = 0.0) -> None:
        self.threshold, self.default_value = threshold, default_value

    def forward(self, x, out):
        return write(out, np.where(x <= self.threshold, x.dtype.type(self.default_value), x))

    def backward(self, grad, y, x, out):
        return np.multiply(grad, x > self.threshold, out=out)


class SparsePlus(Activation):
    """y = 0 up to -1, x from 1 on, and (x + 1)**2 / 4 between."""

    name = "sparse_plus"

    def forward(self, x, out):
        middle = np.clip(x, -1, 1) + 1
        return np.add(middle * middle / 4, np.maximum(x - 1, 0), out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, np.minimum(np.sqrt(y), 1), out=out)


class SquarePlus(Activation):
    """y = (x + sqrt(x**2 + b)) / 2; ValueError for a negative b."""

    name = "squareplus"
    needs_input = True
    config_keys = ("b",)

    def __init__(self, b: float = 4) -> None:
        non_negative("b", b)
        self.b = b

    def forward(self, x, out):
        return np.multiply(x + np.sqrt(x * x + self.b), x.dtype.type(0.5), out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, y / np.sqrt(x * x + self.b), out=out)
