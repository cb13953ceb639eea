"""MaxPooling2D and AveragePooling2D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import activations, kernels
from fastconv.buffers import FRESH, Buffers
from fastconv.kernels import Pool2DProblem
from fastconv.kernels.problem import Padding, pair
from fastconv.layers.base import Shape
from fastconv.layers.layout import for_kernel, from_last, to_last
from fastconv.layers.windows import WindowLayer, read_padding
from fastconv.ops.arrays import resolve_data_format
from fastconv.ops.dispatch import kernel_for, run


class Pooling2D(WindowLayer):
    """Base of the two pooling layers: input (N, H, W, C), output (N, P, Q, C), or both channels first.

    Args:
        pool_size, strides: an integer or a (height, width) pair; strides None means pool_size.
        padding: "valid", "same" (TensorFlow's rule) or, beyond Keras, ((top, bottom), (left, right)).
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
        pool_size: int | Sequence[int] = (2, 2),
        strides: int | Sequence[int] | None = None,
        padding: Padding = "valid",
        data_format: str | None = None,
        name: str | None = None,
        *,
        algorithm: str = "auto",
        **options: Any,
    ) -> None:
        self.pool_size = self.window = pair(pool_size, "pool_size")
        self.strides = self.pool_size if strides is None else pair(strides, "strides")
        self.padding = read_padding(padding)
        self.data_format = resolve_data_format(data_format)
        self.algorithm = self._backward_algorithm = algorithm
        super().__init__(name=name, **options)
        self._dtype = np.dtype(self.dtype)

    def make_problem(self, x_shape: tuple[int, ...]) -> Pool2DProblem:
        return Pool2DProblem.of(x_shape, self.pool_size, self.strides, self.padding, self.dtype)

    def make_weights(self, input_shape: Shape) -> None:
        if self.algorithm != "auto":
            device = kernels.get(self.op, self.algorithm).device
            known = [variant.name for variant in kernels.variants(f"{self.op}_backward", device)]
            self._backward_algorithm = self.algorithm if self.algorithm in known else "auto"

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        problem = self.as_problem(x.shape)
        images = for_kernel(to_last(x, self.data_format), self._dtype, buffers, self, "input")
        output = buffers.empty(self, "output", problem.y_shape, self.dtype)
        run(self.op, problem, images, output, algorithm=self.algorithm)
        y = from_last(output, self.data_format)
        self._saved = (y, images, problem)
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
        _, images, problem = self._recall(grad)
        if not need_input_grad:
            return None
        gy = for_kernel(to_last(grad, self.data_format), self._dtype, buffers, self, "grad")
        op, arrays = f"{self.op}_backward", self.backward_arrays(images, gy)
        kernel = kernel_for(op, problem, self._backward_algorithm)
        fuse = through_input_relu and "relu" in kernel.fuses
        if fuse and buffers is not FRESH and kernel.in_place(problem):
            gx = images  # the layer before has no use for its output any more: half the memory to go through
        else:
            gx = buffers.empty(self, "input_grad", problem.x_shape, self.dtype)
        run(op, problem, *arrays, gx, algorithm=self._backward_algorithm, **({"relu": True} if fuse else {}))
        if through_input_relu and not fuse:
            activations.relu.backward(gx, images, None, gx)
        return from_last(gx, self.data_format)

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


class MaxPooling2D(Pooling2D):
    """The largest element of each window, `keras.layers.MaxPooling2D`; NaN in a window gives NaN.

    The gradient goes to the first of equal maxima. Arguments as `Pooling2D`.
    """

    op = "max_pool2d"
    takes_input_relu = True

    def backward_arrays(self, images: np.ndarray, gy: np.ndarray) -> tuple[np.ndarray, ...]:
        return images, gy


class AveragePooling2D(Pooling2D):
    """The mean of each window, `keras.layers.AveragePooling2D`. Arguments as `Pooling2D`."""

    op = "average_pool2d"

    def backward_arrays(self, images: np.ndarray, gy: np.ndarray) -> tuple[np.ndarray, ...]:
        return (gy,)


MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
