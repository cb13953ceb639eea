"""GLU, the only activation whose output is smaller than its input."""

from __future__ import annotations

import numpy as np

from fastconv.activations.base import Activation
from fastconv.activations.curves import logistic


class GLU(Activation):
    """y = a * sigmoid(b), where a and b are the halves of x along `axis` (Dauphin et al. 2017)."""

    name = "glu"
    config_keys = ("axis",)
    needs_input = True
    keeps_shape = False

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def output_shape(self, shape):
        size = shape[self.axis] if -len(shape) <= self.axis < len(shape) else None
        if size is None or size % 2:
            raise ValueError(f"glu halves axis {self.axis}, whose size must be even; received shape {shape}.")
        place = self.axis % len(shape)
        return (*shape[:place], size // 2, *shape[place + 1 :])

    def forward(self, x, out):
        values, gates = np.split(x, 2, self.axis)
        return np.multiply(values, logistic(gates), out=out)

    def backward(self, grad, y, x, out):
        values, gates = np.split(x, 2, self.axis)
        to_values, to_gates = np.split(out, 2, self.axis)  # views
        share = logistic(gates)
        np.multiply(grad, share, out=to_values)
        np.multiply(to_values, values * (1 - share), out=to_gates)
        return out
