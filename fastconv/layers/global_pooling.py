"""GlobalAveragePooling2D and GlobalMaxPooling2D: one number for each channel of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import activations
from fastconv.buffers import FRESH, Buffers
from fastconv.kernels import Pool2DProblem
from fastconv.layers.base import Shape
from fastconv.layers.layout import empty_like, last, unlast
from fastconv.layers.pooling import Pooling


class GlobalPooling(Pooling):
    """Base of the global pooling layers: a window as large as the image.

    Input (N, H, W, C) or (N, C, H, W), output (N, C); for layers of rank 1 without H.

    Args:
        data_format: "channels_last" or "channels_first"; None for `config.image_data_format()`.
        keepdims: whether the pooled axes stay, with size 1.
        options: as for `Layer`.
    """

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **options: Any) -> None:
        self.keepdims = bool(keepdims)
        super().__init__(1, data_format=data_format, **options)

    def make_problem(self, x_shape: tuple[int, ...]) -> Pool2DProblem:
        return Pool2DProblem.of(x_shape, x_shape[1:3], dtype=self.dtype)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        batch, *_, channels = last(self.check_input_shape(input_shape), self.data_format)
        return self._pooled(batch, channels)

    def _pooled(self, batch: Any, channels: Any) -> Any:
        sizes = (1,) * self.rank if self.keepdims else ()
        return unlast((batch, *sizes, channels), self.data_format) if self.keepdims else (batch, channels)

    def output_of(self, images: np.ndarray) -> np.ndarray:
        return images.reshape(self._pooled(len(images), images.shape[3]))

    def images_of(self, output: np.ndarray, shape: tuple[int, int, int, int]) -> np.ndarray:
        return output.reshape(shape)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for key in ("pool_size", "strides", "padding"):
            del config[key]
        return {**config, "keepdims": self.keepdims}


class GlobalAveragePooling(GlobalPooling):
    """Base of GlobalAveragePooling2D and GlobalAveragePooling1D."""

    op = "average_pool2d"

    def backward_arrays(self, images: np.ndarray, gy: np.ndarray) -> tuple[np.ndarray, ...]:
        return (gy,)


class GlobalMaxPooling(GlobalPooling):
    """Base of GlobalMaxPooling2D and GlobalMaxPooling1D."""

    takes_input_relu = True

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        problem = self.as_problem(x.shape)
        images = self.as_images(x, problem.x_shape)
        largest = buffers.empty(self, "output", problem.y_shape, self.dtype)
        images.max(axis=(1, 2), keepdims=True, out=largest)
        y = self.output_of(largest)
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
        y, images, problem, input_shape = self._recall(grad)
        if not need_input_grad:
            return None
        gx = empty_like(images, buffers, self, "input_grad")
        is_largest = buffers.empty(self, "is_largest", images.shape, np.bool_)
        np.equal(images, self.images_of(y, problem.y_shape), out=is_largest)
        winners = is_largest.sum(axis=(1, 2), keepdims=True, dtype=gx.dtype)
        np.multiply(is_largest, self.images_of(grad, problem.y_shape) / winners, out=gx)
        if through_input_relu:
            activations.relu.backward(gx, images, None, gx)
        return self.from_images(gx, input_shape[:-1])


class GlobalAveragePooling2D(GlobalAveragePooling):
    """The mean of each channel, `keras.layers.GlobalAveragePooling2D`. Arguments as `GlobalPooling`."""


class GlobalMaxPooling2D(GlobalMaxPooling):
    """The largest element of each channel, `keras.layers.GlobalMaxPooling2D`; NaN gives NaN.

    As in Keras equal maxima share the gradient. Arguments as `GlobalPooling`.
    """


GlobalAvgPool2D = GlobalAveragePooling2D
GlobalMaxPool2D = GlobalMaxPooling2D
