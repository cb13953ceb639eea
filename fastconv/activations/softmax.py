"""Activations that turn numbers along an axis into shares of 1: Softmax, LogSoftmax, Sparsemax."""

from __future__ import annotations

import numpy as np

from fastconv.activations.base import Activation


class Softmax(Activation):
    """y = exp(x) / sum(exp(x)) along `axis`, computed so that it cannot overflow."""

    name = "softmax"
    config_keys = ("axis",)

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    @np.errstate(invalid="ignore")
    def forward(self, x, out):
        np.subtract(x, x.max(axis=self.axis, keepdims=True), out=out)
        np.exp(out, out=out)
        out /= out.sum(axis=self.axis, keepdims=True)
        return out

    def backward(self, grad, y, x, out):
        mean = (grad * y).sum(axis=self.axis, keepdims=True)
        np.subtract(grad, mean, out=out)
        out *= y
        return out


class LogSoftmax(Activation):
    """y = x - log(sum(exp(x))) along `axis`."""

    name = "log_softmax"
    config_keys = ("axis",)

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    @np.errstate(invalid="ignore")
    def forward(self, x, out):
        np.subtract(x, x.max(axis=self.axis, keepdims=True), out=out)
        out -= np.log(np.exp(out).sum(axis=self.axis, keepdims=True))
        return out

    def backward(self, grad, y, x, out):
        total = grad.sum(axis=self.axis, keepdims=True)
        return np.subtract(grad, np.exp(y) * total, out=out)


class Sparsemax(Activation):
    """The shares nearest to x along `axis`: max(x - t, 0), with t such that they sum to 1; many are exactly 0."""

    name = "sparsemax"
    config_keys = ("axis",)

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x, out):
        largest_first = -np.sort(-x, axis=self.axis)
        excess = np.cumsum(largest_first, axis=self.axis) - 1
        ranks = np.arange(1, x.shape[self.axis] + 1, dtype=x.dtype)
        ranks = ranks.reshape([-1 if axis == self.axis % x.ndim else 1 for axis in range(x.ndim)])
        chosen = (largest_first * ranks > excess).sum(axis=self.axis, keepdims=True)
        limit = np.take_along_axis(excess, chosen - 1, axis=self.axis) / chosen.astype(x.dtype)
        return np.maximum(x - limit, 0, out=out)

    def backward(self, grad, y, x, out):
        chosen = y > 0
        mean = np.sum(grad * chosen, axis=self.axis, keepdims=True) / chosen.sum(axis=self.axis, keepdims=True)
        return np.multiply(grad - mean.astype(grad.dtype), chosen, out=out)
