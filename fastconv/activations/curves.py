"""Smooth activations: the logistic function and the tangent, and x times such a function."""

from __future__ import annotations

import math

import numpy as np

from fastconv.activations.base import Activation, write

_GELU_CUBIC = 0.044715
_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


class Sigmoid(Activation):
    """y = 1 / (1 + exp(-x))."""

    name = "sigmoid"

    def forward(self, x, out):
        return write(out, logistic(x))

    def backward(self, grad, y, x, out):
        return np.multiply(grad, y * (1 - y), out=out)


class Tanh(Activation):
    """y = tanh(x)."""

    name = "tanh"

    def forward(self, x, out):
        return np.tanh(x, out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, 1 - y * y, out=out)


class Softplus(Activation):
    """y = log(1 + exp(x))."""

    name = "softplus"

    def forward(self, x, out):
        return write(out, _log1p_exp(x))

    def backward(self, grad, y, x, out):
        return np.multiply(grad, -np.expm1(-y), out=out)


class Softsign(Activation):
    """y = x / (1 + |x|)."""

    name = "softsign"

    def forward(self, x, out):
        return np.divide(x, 1 + np.abs(x), out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, (1 - np.abs(y)) ** 2, out=out)


class Exponential(Activation):
    """y = exp(x); infinite where that overflows."""

    name = "exponential"

    @np.errstate(over="ignore")
    def forward(self, x, out):
        return np.exp(x, out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, y, out=out)


class HardSigmoid(Activation):
    """y = x / 6 + 1/2 clipped to [0, 1]."""

    name = "hard_sigmoid"

    def forward(self, x, out):
        return np.clip(x / 6 + 0.5, 0, 1, out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, ((y > 0) & (y < 1)) * y.dtype.type(1 / 6), out=out)


class SiLU(Activation):
    """y = x * sigmoid(x)."""

    name = "silu"
    needs_input = True

    def forward(self, x, out):
        return np.multiply(x, logistic(x), out=out)

    def backward(self, grad, y, x, out):
        gate = logistic(x)
        return np.multiply(grad, gate + y * (1 - gate), out=out)


class HardSiLU(Activation):
    """y = x * hard_sigmoid(x)."""

    name = "hard_silu"
    needs_input = True

    def forward(self, x, out):
        return np.multiply(x, np.clip(x / 6 + 0.5, 0, 1), out=out)

    def backward(self, grad, y, x, out):
        slope = np.where(np.abs(x) < 3, x / 3 + 0.5, x > 0).astype(x.dtype, copy=False)
        return np.multiply(grad, slope, out=out)


class GELU(Activation):
    """y = x * P(standard normal < x); `approximate` uses a tanh in place of the normal distribution."""

    name = "gelu"
    needs_input = True
    config_keys = ("approximate",)

    def __init__(self, approximate: bool = False) -> None:
        self.approximate = approximate

    def forward(self, x, out):
        return np.multiply(x, self._gate(x), out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, self._gate(x) + x * self._gate_slope(x), out=out)

    def _gate(self, x: np.ndarray) -> np.ndarray:
        """The factor on x."""
        if self.approximate:
            return (1 + _gelu_tanh(x)) / 2
        return 0.5 * _erfc(-x * math.sqrt(0.5)).astype(x.dtype)

    def _gate_slope(self, x: np.ndarray) -> np.ndarray:
        """The derivative of the factor on x."""
        x = _gelu_range(x)
        if self.approximate:
            return (1 - _gelu_tanh(x) ** 2) * _SQRT_2_OVER_PI * (0.5 + 1.5 * _GELU_CUBIC * x * x)
        return np.exp(-0.5 * x * x) * math.sqrt(0.5 / math.pi)


def _gelu_range(x: np.ndarray) -> np.ndarray:
    """x without the values whose square would overflow; beyond 40 GELU is x or 0 to the last bit."""
    return np.clip(x, -40, 40)


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    x = _gelu_range(x)
    return np.tanh(_SQRT_2_OVER_PI * x * (1 + _GELU_CUBIC * x * x))


class Mish(Activation):
    """y = x * tanh(softplus(x))."""

    name = "mish"
    needs_input = True

    def forward(self, x, out):
        return np.multiply(x, np.tanh(_log1p_exp(x)), out=out)

    def backward(self, grad, y, x, out):
        gate = np.tanh(_log1p_exp(x))
        return np.multiply(grad, gate + x * (1 - gate * gate) * logistic(x), out=out)


class LogSigmoid(Activation):
    """y = log(1 / (1 + exp(-x)))."""

    name = "log_sigmoid"

    def forward(self, x, out):
        return np.negative(_log1p_exp(-x), out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, -np.expm1(y), out=out)


class SparseSigmoid(Activation):
    """y = (x + 1) / 2 clipped to [0, 1]."""

    name = "sparse_sigmoid"

    def forward(self, x, out):
        return np.clip((x + 1) / 2, 0, 1, out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, ((y > 0) & (y < 1)) * y.dtype.type(0.5), out=out)


class TanhShrink(Activation):
    """y = x - tanh(x)."""

    name = "tanh_shrink"
    needs_input = True

    def forward(self, x, out):
        return np.subtract(x, np.tanh(x), out=out)

    def backward(self, grad, y, x, out):
        return np.multiply(grad, np.tanh(x) ** 2, out=out)


def logistic(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) as a new array, with exp of negative numbers only."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, x.dtype.type(1)) / (1 + small)


def _log1p_exp(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)) as a new array, with exp of negative numbers only."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


# NumPy has no error function.
_erfc = np.vectorize(math.erfc, otypes=[np.float64])
