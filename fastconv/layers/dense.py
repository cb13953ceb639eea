"""Dense."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.kernels import Conv2DProblem
from fastconv.layers.base import Shape
from fastconv.layers.convolution import positive
from fastconv.layers.weighted import KernelLayer


class Dense(KernelLayer):
    """y = activation(x @ kernel + bias) over the last axis, `keras.layers.Dense`.

    Input (N, ..., C), output (N, ..., units); the kernel is (C, units). It runs as a 1x1 convolution over a
    row of
    samples: the library's own kernels give the same bits at any number of threads, which a BLAS may not.

    Args:
        units: size of the output's last axis.
        activation, use_bias, *_initializer, *_regularizer, *_constraint: as `KernelLayer` says.
        algorithm: beyond Keras: "auto" or the name of a variant of conv2d.
        options: as for `Layer`.

    Raises:
        ValueError: an option that makes no layer; on build, an input of rank 1 or of unknown last size.
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        *,
        algorithm: str = "auto",
        **options: Any,
    ) -> None:
        self.units = positive(units, "units")
        self._problems: dict[int, Conv2DProblem] = {}
        super().__init__(
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            algorithm=algorithm,
            **options,
        )

    def check_input_shape(self, shape: Sequence[int | None]) -> Shape:
        sizes = super().check_input_shape(shape)
        wanted = self.kernel.shape[0] if self._weights else None
        if len(sizes) < 2 or sizes[-1] is None or wanted not in (None, sizes[-1]):
            expected = f"(batch, ..., {wanted or 'features'})"
            raise ValueError(f"{self._who} expects inputs of shape {expected}; received shape {sizes}.")
        return sizes

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        return (*self.check_input_shape(input_shape)[:-1], self.units)

    def make_weights(self, input_shape: Shape) -> None:
        self.add_kernel((input_shape[-1] or 0, self.units), self.units)

    def as_problem(self, input_shape: tuple[int, ...]) -> Conv2DProblem:
        rows = math.prod(input_shape[:-1])
        problem = self._problems.get(rows)
        if problem is None or problem.C != input_shape[-1]:
            self.require_built()
            self.check_input_shape(input_shape)
            x_shape = (1, 1, rows, input_shape[-1]) if rows else (0, 1, 1, input_shape[-1])
            problem = Conv2DProblem.of(x_shape, (1, 1, *self.kernel.shape), dtype=self.dtype)
            self._problems[rows] = problem
        return problem

    def as_images(self, array: np.ndarray, shape: tuple[int, int, int, int]) -> np.ndarray:
        return array.reshape(shape)

    def from_images(self, images: np.ndarray, leading: tuple[int, ...]) -> np.ndarray:
        return images.reshape(*leading, images.shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
