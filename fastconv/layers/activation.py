"""Layers that are an activation: Activation, ReLU, LeakyReLU, ELU, Softmax; and PReLU, which learns its slope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import activations, constraints, initializers, regularizers
from fastconv.buffers import FRESH, Buffers
from fastconv.layers.base import Layer, Shape, gradient_out
from fastconv.layers.layout import empty_like
from fastconv.variable import Variable


class Activation(Layer):
    """An activation as a layer, `keras.layers.Activation`: input and output of one shape.

    Args:
        activation: a name, config or object of `fastconv.activations`.
        options: as for `Layer`.
    """

    by_sample = True

    def __init__(self, activation: Any, **options: Any) -> None:
        self.activation = activations.get(activation)
        self._keeps_shape = getattr(self.activation, "keeps_shape", True)
        super().__init__(**options)
        named = activations.serialize(self.activation)
        self.output_activation = named if isinstance(named, str) else None

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = self.check_input_shape(input_shape)
        return shape if self._keeps_shape else self.activation.output_shape(shape)

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        if self._keeps_shape:
            out = empty_like(x, buffers, self, "output")
        else:
            out = buffers.empty(self, "output", self.activation.output_shape(x.shape), self.dtype)
        y = self.activation.forward(x, out)
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
        if self._keeps_shape:
            out = gradient_out(grad, buffers)
        else:
            out = buffers.empty(self, "input_grad", x.shape, self.dtype)
        return self.activation.backward(grad, y, x, out)

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


class LeakyReLU(Activation):
    """x where positive, else negative_slope * x, `keras.layers.LeakyReLU`; ValueError for a negative slope or None.

    `alpha`, Keras 2's name of the slope, is understood too.
    """

    def __init__(self, negative_slope: float = 0.3, **options: Any) -> None:
        negative_slope = options.pop("alpha", negative_slope)
        if negative_slope is None:
            raise ValueError("LeakyReLU: negative_slope must be a number of at least 0; received None.")
        self.negative_slope = negative_slope
        super().__init__(activations.LeakyReLU(negative_slope), **options)

    def get_config(self) -> dict[str, Any]:
        return {**Layer.get_config(self), "negative_slope": self.negative_slope}


class ELU(Activation):
    """x where positive, else alpha * (exp(x) - 1), `keras.layers.ELU`; ValueError for a negative alpha."""

    def __init__(self, alpha: float = 1.0, **options: Any) -> None:
        self.alpha = alpha
        super().__init__(activations.ELU(alpha), **options)

    def get_config(self) -> dict[str, Any]:
        return {**Layer.get_config(self), "alpha": self.alpha}


class Softmax(Activation):
    """Softmax along `axis`, an integer or several, `keras.layers.Softmax`."""

    def __init__(self, axis: int | Sequence[int] = -1, **options: Any) -> None:
        self.axis = axis if isinstance(axis, int) else tuple(axis)
        super().__init__(activations.Softmax(self.axis), **options)  # type: ignore[arg-type]

    def get_config(self) -> dict[str, Any]:
        return {**Layer.get_config(self), "axis": self.axis}


class PReLU(Layer):
    """x where positive, else alpha * x with a learnt alpha for each element of a sample, `keras.layers.PReLU`.

    Args:
        alpha_initializer, alpha_regularizer, alpha_constraint: names, configs or objects of the modules of those names.
        shared_axes: axes, counted from 1, along which all elements share one alpha: [1, 2] for images, channels last.
        options: as for `Layer`.

    Raises:
        ValueError: on build, an axis that the input has not, or one of unknown size that is not shared.
    """

    by_sample = True
    alpha: Variable

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: int | Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        self.shared_axes = [shared_axes] if isinstance(shared_axes, int) else shared_axes and list(shared_axes)
        super().__init__(**options)

    def expected_shape(self) -> Shape | None:
        built = self.input_shape
        return built and tuple(None if i in (0, *(self.shared_axes or ())) else size for i, size in enumerate(built))

    def make_weights(self, input_shape: Shape) -> None:
        shared = self.shared_axes or ()
        if any(not 1 <= axis < len(input_shape) for axis in shared):
            raise ValueError(f"{self._who}: inputs of shape {input_shape} have not all of shared_axes={shared}.")
        sizes = [1 if axis in shared else size for axis, size in enumerate(input_shape)][1:]
        if None in sizes:
            raise ValueError(f"{self._who}: axes that are not shared must have known sizes; received {input_shape}.")
        self.alpha = self.add_weight(
            sizes,  # type: ignore[arg-type]
            self.alpha_initializer,
            regularizer=self.alpha_regularizer,
            constraint=self.alpha_constraint,
            name="alpha",
        )

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        self.require_built()
        y = np.minimum(x, 0, out=empty_like(x, buffers, self, "output"))
        y *= self.alpha.value
        y += np.maximum(x, 0, out=empty_like(x, buffers, self, "positive"))
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
        _, x = self._recall(grad)
        if need_weight_grad:
            products = np.minimum(x, 0, out=empty_like(x, buffers, self, "positive"))
            products *= grad
            shared = (0, *(self.shared_axes or ()))
            products.sum(axis=shared, keepdims=True, out=self.gradient_array(self.alpha)[np.newaxis])
            self.add_penalty_gradients()
        if not need_input_grad:
            return None
        slope = np.where(x > 0, x.dtype.type(1), np.where(x < 0, self.alpha.value, x.dtype.type(0)))
        return np.multiply(grad, slope, out=gradient_out(grad, buffers))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "alpha_initializer": initializers.serialize(self.alpha_initializer),
            "alpha_regularizer": regularizers.serialize(self.alpha_regularizer),
            "alpha_constraint": constraints.serialize(self.alpha_constraint),
            "shared_axes": self.shared_axes,
        }
