"""BatchNormalization."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import constraints, initializers, regularizers
from fastconv.buffers import FRESH, Buffers
from fastconv.layers.base import Layer, Shape
from fastconv.layers.layout import for_kernel
from fastconv.variable import Variable


class ScaledLayer(Layer):
    """Base of layers that end with a factor, gamma, and a summand, beta, along one or several axes.

    Args:
        epsilon: added to a variance, so that no division is by 0.
        center, scale: whether there is a beta, a gamma.
        *_initializer, *_regularizer, *_constraint: names, configs or objects of the modules of those names.
        options: as for `Layer`.
    """

    gamma: Variable | None = None
    beta: Variable | None = None

    def __init__(
        self,
        *,
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: Any,
        gamma_initializer: Any,
        beta_regularizer: Any,
        gamma_regularizer: Any,
        beta_constraint: Any,
        gamma_constraint: Any,
        **options: Any,
    ) -> None:
        self.epsilon = float(epsilon)
        self.center, self.scale = bool(center), bool(scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        super().__init__(**options)

    def add_gamma_and_beta(self, shape: tuple[int, ...]) -> None:
        """Create those of the two that the layer has, in Keras's order."""
        if self.scale:
            self.gamma = self.add_weight(
                shape,
                self.gamma_initializer,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
                name="gamma",
            )
        if self.center:
            self.beta = self.add_weight(
                shape,
                self.beta_initializer,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
                name="beta",
            )

    def write_gradients(self, gamma: np.ndarray, beta: np.ndarray) -> None:
        """Make these, of any shape, the gradients of those of the two that there are, penalties included."""
        for weight, values in ((self.gamma, gamma), (self.beta, beta)):
            if weight is not None:
                self.gradient_array(weight)[...] = values.reshape(weight.shape)
        self.add_penalty_gradients()

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
            "beta_regularizer": regularizers.serialize(self.beta_regularizer),
            "gamma_regularizer": regularizers.serialize(self.gamma_regularizer),
            "beta_constraint": constraints.serialize(self.beta_constraint),
            "gamma_constraint": constraints.serialize(self.gamma_constraint),
        }


class BatchNormalization(ScaledLayer):
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta for each channel, `keras.layers.BatchNormalization`.

    In training mean and variance are the batch's, and the moving ones go a little of the way towards them: moving =
    moving * momentum + batch's * (1 - momentum), with the biased variance. Otherwise, and where the layer is not
    `trainable`, they are the moving ones, which stay.

    Args:
        axis: of the channels: -1, or 1 for channels_first images.
        momentum: weight of the old moving values.
        epsilon, center, scale, beta_*, gamma_*: as `ScaledLayer` says.
        moving_mean_initializer, moving_variance_initializer: what inference would use before any training.
        renorm, renorm_clipping, renorm_momentum, synchronized: as in Keras, but renorm and synchronized must be False.
        options: as for `Layer`.

    Raises:
        ValueError: an option that is not supported; on build, an axis that the input has not, or of unknown size.
    """

    by_sample = True  # without training
    takes_input_relu = True
    moving_mean: Variable
    moving_variance: Variable

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **options: Any,
    ) -> None:
        if renorm or synchronized:
            raise ValueError(
                f"BatchNormalization does not support renorm and synchronized; {renorm=}, {synchronized=}."
            )
        if isinstance(axis, Sequence) and len(axis) == 1:
            axis = axis[0]  # as files of Keras 2 have it
        try:
            self.axis = operator.index(axis)
        except TypeError:
            raise ValueError(f"axis must be an integer; received {axis!r}.") from None
        self.momentum = float(momentum)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.renorm_clipping, self.renorm_momentum = renorm_clipping, renorm_momentum
        super().__init__(
            epsilon=epsilon,
            center=center,
            scale=scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
            **options,
        )
        self._dtype = np.dtype(self.dtype)

    def check_input_shape(self, shape: Sequence[int | None]) -> Shape:
        sizes = super().check_input_shape(shape)
        built = self.input_shape
        if built is not None:
            axis = self.axis % len(built)
            if len(sizes) != len(built) or sizes[axis] not in (None, built[axis]):
                wanted = tuple(size if i == axis else None for i, size in enumerate(built))
                raise ValueError(f"{self._who} expects inputs of shape {wanted}; received shape {sizes}.")
        if not -len(sizes) <= self.axis < len(sizes):
            raise ValueError(f"{self._who}: inputs of shape {sizes} have no axis {self.axis}.")
        return sizes

    def make_weights(self, input_shape: Shape) -> None:
        channels = input_shape[self.axis]
        if channels is None:
            raise ValueError(f"{self._who}: axis {self.axis} must have a known size; received shape {input_shape}.")
        self.add_gamma_and_beta((channels,))
        fixed = {"trainable": False}
        self.moving_mean = self.add_weight((channels,), self.moving_mean_initializer, name="moving_mean", **fixed)
        self.moving_variance = self.add_weight(
            (channels,), self.moving_variance_initializer, name="moving_variance", **fixed
        )

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        from fastconv.kernels import cpu_batch_norm

        self.require_built()
        self.check_input_shape(x.shape)
        rows = self._rows(x, buffers, "input")
        mean, variance, factor = (self._vector(buffers, name) for name in ("mean", "variance", "factor"))
        in_training = training and self.trainable
        if in_training and len(rows):
            cpu_batch_norm.moments(rows, self._partial(rows, buffers), mean, variance)
            for moving, now in ((self.moving_mean.value, mean), (self.moving_variance.value, variance)):
                moving *= self.momentum
                moving += now * (1 - self.momentum)
        else:
            mean[...], variance[...] = self.moving_mean.value, self.moving_variance.value
        inverse = np.sqrt(variance + self.epsilon, out=variance)
        np.divide(1, inverse, out=inverse)
        np.multiply(inverse, 1 if self.gamma is None else self.gamma.value, out=factor)
        shift: Any = self._zeros(buffers) if self.beta is None else self.beta.value
        y_rows = buffers.empty(self, "output", rows.shape, self.dtype)
        cpu_batch_norm.normalize(rows, mean, factor, shift, y_rows)
        y = self._from_rows(y_rows, x.shape)
        self._saved = (y, rows, mean, inverse, factor, in_training)
        return y

    def backward(
        self,
        grad: np.ndarray,
        buffers: Buffers = FRESH,
        *,
        need_input_grad: bool = True,
        need_weight_grad: bool = True,
        through_activation: bool = True,
        through_input_relu: bool = False,
    ) -> np.ndarray | None:
        from fastconv.kernels import cpu_batch_norm

        y, rows, mean, inverse, factor, in_training = self._recall(grad)
        gy = self._rows(grad, buffers, "grad")
        total, product = self._vector(buffers, "total"), self._vector(buffers, "product")
        if need_weight_grad or in_training:
            cpu_batch_norm.gradient_sums(gy, rows, mean, self._partial(rows, buffers), total, product)
        if need_weight_grad:
            self.write_gradients(product * inverse, total)
        if not need_input_grad:
            return None
        # The mean and the variance are the input's, too: gx = factor * (gy - mean(gy) - x^ * mean(gy * x^)).
        if in_training:
            np.multiply(total, factor, out=total)
            total /= -max(len(rows), 1)
            np.multiply(product, factor, out=product)
            product *= inverse
            product *= inverse
            product /= -max(len(rows), 1)
        else:
            total[...] = product[...] = 0
        gx = gy if buffers is not FRESH else np.empty_like(gy)
        cpu_batch_norm.input_gradient(gy, rows, mean, (factor, product, total), through_input_relu, gx)
        return self._from_rows(gx, grad.shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
            "synchronized": False,
            "renorm": False,
            "renorm_clipping": self.renorm_clipping,
            "renorm_momentum": self.renorm_momentum,
        }

    def _rows(self, x: np.ndarray, buffers: Buffers, name: str) -> np.ndarray:
        """An input or output as (M, C), a copy only where memory has another order."""
        ordered = for_kernel(np.moveaxis(x, self.axis, -1), self._dtype, buffers, self, name)
        return ordered.reshape(-1, ordered.shape[-1])

    def _from_rows(self, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The opposite view, for an input or output of that shape."""
        axis = self.axis % len(shape)
        return np.moveaxis(rows.reshape(*shape[:axis], *shape[axis + 1 :], shape[axis]), -1, axis)

    def _vector(self, buffers: Buffers, name: str) -> np.ndarray:
        return buffers.empty(self, name, self.moving_mean.shape, self.dtype)

    def _zeros(self, buffers: Buffers) -> np.ndarray:
        zeros = self._vector(buffers, "zeros")
        zeros[...] = 0
        return zeros

    def _partial(self, rows: np.ndarray, buffers: Buffers) -> np.ndarray:
        from fastconv.kernels import cpu_batch_norm

        return buffers.empty(self, "partial", cpu_batch_norm.partial_shape(*rows.shape), np.float64)
