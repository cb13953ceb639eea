"""Layers that are an activation: Activation, ReLU, Softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import activations
from fastconv.buffers import FRESH, Buffers
from fastconv.layers.base import Layer, gradient_out
from fastconv.layers.layout import empty_like


class Activation(Layer):
    """An activation as a layer, `keras.layers.Activation`: input and output of one shape.

    Args:
        activation: a name, config or object of `fastconv.activations`.
        options: as for `Layer`.
    """

    by_sample = True

    def __init__(self, activation: Any, **options: Any) -> None:
        self.activation = activations.get(activation)
        super().__init__(**options)
        named = activations.serialize(self.activation)
        self.output_activation = named if isinstance(named, str) else None

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        y = self.activation.forward(x, empty_like(x, buffers, self, "output"))
        self._saved = (y, x)
        return y

    def backward(
        self,
        grad: np.ndarray,
        buffers: Buffers = FRESH,
        *,
        need_input_grad: bool = True,
        need_weight_grad: bool = True,
        through_activation: bool = True,
    ) -> np.ndarray | None:
        y, x = self._recall(grad)
        if not through_activation:
            return grad
        return self.activation.backward(grad, y, x, gradient_out(grad, buffers))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class ReLU(Activation):
    """Rectifier, `keras.layers.ReLU`: x up to `max_value` above `threshold`, else negative_slope * (x -
    threshold).

    Raises:
        ValueError: one of the three is negative, or None but for max_value.
    """

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **options: Any,
    ) -> None:
        for key, value in (("negative_slope", negative_slope), ("threshold", threshold)):
            if value is None:
                raise ValueError(f"ReLU: {key} must be a number of at least 0; received None.")
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold
        super().__init__(activations.ReLU(negative_slope, max_value, threshold), **options)

    def get_config(self) -> dict[str, Any]:
        keys = ("max_value", "negative_slope", "threshold")
        return {**Layer.get_config(self), **{key: getattr(self, key) for key in keys}}


class Softmax(Activation):
    """Softmax along `axis`, an integer or several, `keras.layers.Softmax`."""

    def __init__(self, axis: int | Sequence[int] = -1, **options: Any) -> None:
        self.axis = axis if isinstance(axis, int) else tuple(axis)
        super().__init__(activations.Softmax(self.axis), **options)  # type: ignore[arg-type]

    def get_config(self) -> dict[str, Any]:
        return {**Layer.get_config(self), "axis": self.axis}
