"""MaxPooling2D, AveragePooling2D, and what all pooling layers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import activations, kernels
from fastconv.buffers import FRESH, Buffers
from fastconv.kernels import Pool2DProblem
from fastconv.kernels.problem import Padding
from fastconv.layers.base import Shape
from fastconv.layers.layout import for_kernel
from fastconv.layers.windows import WindowLayer, axis_sizes, plane, read_padding
from fastconv.ops.arrays import resolve_data_format
from fastconv.ops.dispatch import kernel_for, run


class Pooling(WindowLayer):
    """Base of the pooling layers: input (N, H, W, C), output (N, P, Q, C), or both channels first; for the layers of
    rank 1 without H and P.

    Args:
        pool_size, strides: an integer or one for each axis; strides None means pool_size.
        padding: "valid", "same" (TensorFlow's rule) or, beyond Keras and for images, ((top, bottom), (left, right)).
            Padding is never part of a window.
        data_format: "channels_last" or "channels_first"; None for `config.image_data_format()`.
        algorithm: beyond Keras: "auto" or the name of a variant of the op.
        options: as for `Layer`.

    Raises:
        ValueError: an option that makes no pooling; on build, images smaller than a window.
    """

    op = ""

    def __init__(
        self,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: Padding = "valid",
        data_format: str | None = None,
        name: str | None = None,
        *,
        algorithm: str = "auto",
        **options: Any,
    ) -> None:
        self.pool_size = self.window = axis_sizes(pool_size, "pool_size", self.rank)
        self.strides = self.pool_size if strides is None else axis_sizes(strides, "strides", self.rank)
        self.padding = read_padding(padding, self.rank)
        self.data_format = resolve_data_format(data_format)
        self.algorithm = self._backward_algorithm = algorithm
        super().__init__(name=name, **options)
        self._dtype = np.dtype(self.dtype)

    def make_problem(self, x_shape: tuple[int, ...]) -> Pool2DProblem:
        return Pool2DProblem.of(x_shape, plane(self.pool_size, 1), plane(self.strides, 1), self.padding, self.dtype)

    def make_weights(self, input_shape: Shape) -> None:
        if self.algorithm != "auto":
            device = kernels.get(self.op, self.algorithm).device
            known = [variant.name for variant in kernels.variants(f"{self.op}_backward", device)]
            self._backward_algorithm = self.algorithm if self.algorithm in known else "auto"

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        problem = self.as_problem(x.shape)
        images = for_kernel(self.as_images(x, problem.x_shape), self._dtype, buffers, self, "input")
        output = buffers.empty(self, "output", problem.y_shape, self.dtype)
        run(self.op, problem, images, output, algorithm=self.algorithm)
        y = self.output_of(output)
        self._saved = (y, images, problem, x.shape)
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
        _, images, problem, input_shape = self._recall(grad)
        if not need_input_grad:
            return None
        gy = for_kernel(self.images_of(grad, problem.y_shape), self._dtype, buffers, self, "grad")
        op, arrays = f"{self.op}_backward", self.backward_arrays(images, gy)
        kernel = kernel_for(op, problem, self._backward_algorithm)
        fuse = through_input_relu and "relu" in kernel.fuses
        if fuse and buffers is not FRESH and kernel.in_place(problem):
            gx = images  # the layer before has no use for its output any more: half the memory to go through
        else:
            gx = buffers.empty(self, "input_grad", problem.x_shape, self.dtype)
        relu = True if through_input_relu else None
        if not run(op, problem, *arrays, gx, algorithm=self._backward_algorithm, relu=relu) and through_input_relu:
            activations.relu.backward(gx, images, None, gx)
        return self.from_images(gx, input_shape[:-1])

    def output_of(self, images: np.ndarray) -> np.ndarray:
        """The layer's output, a view of the pooled images (N, P, Q, C)."""
        return self.from_images(images, ())

    def images_of(self, output: np.ndarray, shape: tuple[int, int, int, int]) -> np.ndarray:
        """The opposite view."""
        return self.as_images(output, shape)

    def backward_arrays(self, images: np.ndarray, gy: np.ndarray) -> tuple[np.ndarray, ...]:
        """What the backward op takes before its output."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
        }
        # Keras would refuse a key that it does not know.
        return config if self.algorithm == "auto" else {**config, "algorithm": self.algorithm}


class MaxPooling(Pooling):
    """Base of MaxPooling2D and MaxPooling1D."""

    op = "max_pool2d"
    takes_input_relu = True

    def backward_arrays(self, images: np.ndarray, gy: np.ndarray) -> tuple[np.ndarray, ...]:
        return images, gy


class AveragePooling(Pooling):
    """Base of AveragePooling2D and AveragePooling1D."""

    op = "average_pool2d"

    def backward_arrays(self, images: np.ndarray, gy: np.ndarray) -> tuple[np.ndarray, ...]:
        return (gy,)


class MaxPooling2D(MaxPooling):
    """The largest element of each window, `keras.layers.MaxPooling2D`; NaN in a window gives NaN.

    The gradient goes to the first of equal maxima. Arguments as `Pooling`.
    """


class AveragePooling2D(AveragePooling):
    """The mean of each window, `keras.layers.AveragePooling2D`. Arguments as `Pooling`."""


MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
