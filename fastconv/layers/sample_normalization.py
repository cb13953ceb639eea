"""LayerNormalization, GroupNormalization, UnitNormalization: each sample is normalized by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.buffers import FRESH, Buffers
from fastconv.layers.base import Shape, WeightlessLayer, gradient_out
from fastconv.layers.layout import empty_like, for_kernel
from fastconv.layers.normalization import ScaledLayer

LEAST_NORM = 1e-12


class SampleNormalization(ScaledLayer):
    """Base of LayerNormalization and GroupNormalization: (x - mean) / sqrt(variance + epsilon) * gamma + beta.

    A subclass says over which axes mean and variance are taken, and how gamma and beta lie, on a view of its own:
    `view`, `back`, `axes`.
    """

    by_sample = True

    def view(self, x: np.ndarray, buffers: Buffers, name: str) -> np.ndarray:
        """An input or output as it is normalized."""
        return x

    def back(self, view: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The opposite view."""
        return view

    def axes(self, view: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Axes of the view over which means are taken, and those along which gamma and beta lie."""
        raise NotImplementedError

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        self.require_built()
        self.check_input_shape(x.shape)
        view = self.view(x, buffers, "input")
        over, kept = self.axes(view)
        shape = tuple(size if axis in kept else 1 for axis, size in enumerate(view.shape))
        normal = np.subtract(view, view.mean(axis=over, keepdims=True), out=empty_like(view, buffers, self, "normal"))
        output = empty_like(view, buffers, self, "output")
        variance = np.square(normal, out=output).mean(axis=over, keepdims=True)
        inverse = 1 / np.sqrt(variance + view.dtype.type(self.epsilon))
        normal *= inverse
        np.multiply(normal, 1 if self.gamma is None else self.gamma.value.reshape(shape), out=output)
        if self.beta is not None:
            output += self.beta.value.reshape(shape)
        y = self.back(output, x.shape)
        self._saved = (y, normal, inverse, over, kept, shape)
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
        _, normal, inverse, over, kept, shape = self._recall(grad)
        gy = self.view(grad, buffers, "grad")
        products = np.multiply(gy, normal, out=empty_like(normal, buffers, self, "products"))
        if need_weight_grad:
            others = tuple(axis for axis in range(gy.ndim) if axis not in kept)
            self.write_gradients(products.sum(axis=others), gy.sum(axis=others))
        if not need_input_grad:
            return None
        gx = empty_like(normal, buffers, self, "input_grad")
        np.multiply(gy, 1 if self.gamma is None else self.gamma.value.reshape(shape), out=gx)
        # The mean and the variance are the input's, too.
        along = np.multiply(gx, normal, out=products).mean(axis=over, keepdims=True)
        gx -= gx.mean(axis=over, keepdims=True)
        gx -= np.multiply(normal, along, out=products)
        gx *= inverse
        return self.back(gx, grad.shape)


class LayerNormalization(SampleNormalization):
    """Each sample normalized along `axis`, `keras.layers.LayerNormalization`.

    Args:
        axis: an integer or several: where gamma and beta lie, too.
        epsilon, center, scale, beta_*, gamma_*: as `ScaledLayer` says.
        options: as for `Layer`.

    Raises:
        ValueError: on build, an axis that the input has not, or of unknown size.
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **options: Any,
    ) -> None:
        if options.pop("rms_scaling", False):
            raise ValueError("LayerNormalization does not support rms_scaling, which Keras has deprecated.")
        self.axis = axis if isinstance(axis, int) else list(axis)
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

    def expected_shape(self) -> Shape | None:
        built = self.input_shape
        return built and tuple(size if i in self._kept(len(built)) else None for i, size in enumerate(built))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = self.check_input_shape(input_shape)
        if any(not -len(shape) <= axis < len(shape) for axis in self._given):
            raise ValueError(f"{self._who}: inputs of shape {shape} have not all of axis={self.axis}.")
        return shape

    def make_weights(self, input_shape: Shape) -> None:
        # As in Keras in the order of the numbers given: -1 comes before 1.
        sizes: Any = tuple(input_shape[axis] for axis in sorted(self._given))
        if None in sizes:
            raise ValueError(f"{self._who}: axis={self.axis} must have known sizes; received shape {input_shape}.")
        self.add_gamma_and_beta(sizes)

    def axes(self, view: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
        kept = self._kept(view.ndim)
        return kept, kept

    def _kept(self, rank: int) -> tuple[int, ...]:
        return tuple(sorted(axis % rank for axis in self._given))

    @property
    def _given(self) -> list[int]:
        return [self.axis] if isinstance(self.axis, int) else self.axis

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis, "rms_scaling": False}


class GroupNormalization(SampleNormalization):
    """The channels of each sample normalized in groups, `keras.layers.GroupNormalization`.

    Args:
        groups: how many; -1 for one for each channel.
        axis: of the channels.
        epsilon, center, scale, beta_*, gamma_*: as `ScaledLayer` says.
        options: as for `Layer`.

    Raises:
        ValueError: on build, an axis that the input has not, or whose size is unknown or not divided by `groups`.
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **options: Any,
    ) -> None:
        if not hasattr(groups, "__index__") or (groups < 1 and groups != -1):
            raise ValueError(f"groups must be a positive integer or -1; received {groups!r}.")
        self.groups, self.axis = int(groups), int(axis)
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

    def expected_shape(self) -> Shape | None:
        built = self.input_shape
        return built and tuple(size if i == self.axis % len(built) else None for i, size in enumerate(built))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = self.check_input_shape(input_shape)
        if not -len(shape) <= self.axis < len(shape):
            raise ValueError(f"{self._who}: inputs of shape {shape} have no axis {self.axis}.")
        return shape

    def make_weights(self, input_shape: Shape) -> None:
        channels = input_shape[self.axis]
        if channels is None or channels % self.groups:
            raise ValueError(
                f"{self._who}: groups={self.groups} must divide the size of axis {self.axis}; received shape "
                f"{input_shape}."
            )
        self.add_gamma_and_beta((channels,))

    def view(self, x: np.ndarray, buffers: Buffers, name: str) -> np.ndarray:
        """(N, others, groups, channels of a group)."""
        ordered = for_kernel(np.moveaxis(x, self.axis, -1), x.dtype, buffers, self, name)
        channels = ordered.shape[-1]
        groups = channels if self.groups == -1 else self.groups
        return ordered.reshape(len(x), math.prod(ordered.shape[1:-1]), groups, channels // groups)

    def back(self, view: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        axis = self.axis % len(shape)
        return np.moveaxis(view.reshape(*shape[:axis], *shape[axis + 1 :], shape[axis]), -1, axis)

    def axes(self, view: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (1, 3), (2, 3)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "groups": self.groups, "axis": self.axis}


class UnitNormalization(WeightlessLayer):
    """Each sample divided by its Euclidean norm along `axis`, an integer or several, `keras.layers.UnitNormalization`.

    Raises:
        ValueError: an input without such an axis.
    """

    def __init__(self, axis: int | Sequence[int] = -1, **options: Any) -> None:
        self.axis = axis if isinstance(axis, int) else list(axis)
        super().__init__(**options)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = self.check_input_shape(input_shape)
        if any(not -len(shape) <= axis < len(shape) for axis in self._over):
            raise ValueError(f"{self._who}: inputs of shape {shape} have not all of axis={self.axis}.")
        return shape

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        y = np.square(x, out=empty_like(x, buffers, self, "output"))
        norm = np.sqrt(y.sum(axis=self._over, keepdims=True))
        inverse = 1 / np.maximum(norm, x.dtype.type(LEAST_NORM))
        np.multiply(x, inverse, out=y)
        self._saved = (y, inverse, norm > LEAST_NORM)
        return y

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        y, inverse, depends = saved
        products = np.multiply(grad, y, out=empty_like(y, buffers, self, "products"))
        along = products.sum(axis=self._over, keepdims=True) * depends
        gx = np.subtract(grad, np.multiply(y, along, out=products), out=gradient_out(grad, buffers))
        gx *= inverse
        return gx

    @property
    def _over(self) -> tuple[int, ...]:
        return (self.axis,) if isinstance(self.axis, int) else tuple(self.axis)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
