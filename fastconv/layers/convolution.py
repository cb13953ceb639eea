"""Conv2D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.kernels import Conv2DProblem
from fastconv.kernels.problem import Padding, pair
from fastconv.layers.base import Shape
from fastconv.layers.layout import from_last, last, to_last
from fastconv.layers.weighted import KernelLayer
from fastconv.layers.windows import WindowLayer, read_padding
from fastconv.ops.arrays import resolve_data_format


class Conv2D(WindowLayer, KernelLayer):
    """2-D convolution of images with `filters` kernels, `keras.layers.Conv2D`.

    Input (N, H, W, C), output (N, P, Q, filters); with data_format "channels_first" (N, C, H, W) and (N,
    filters, P, Q). The kernel is (rows, columns, C / groups, filters) in both.

    Args:
        filters: number of output channels.
        kernel_size, strides, dilation_rate: an integer or a (height, width) pair.
        padding: "valid", "same" (TensorFlow's rule) or, beyond Keras, ((top, bottom), (left, right)).
        groups: into how many groups channels and filters are split; each is convolved by itself.
        activation, use_bias, *_initializer, *_regularizer, *_constraint: as `KernelLayer` says.
        algorithm: beyond Keras: "auto" or the name of a variant of conv2d.
        options: as for `Layer`.

    Raises:
        ValueError: an option that makes no convolution; as in Keras also strides and dilation_rate both
            above 1, which `ops.conv` allows. On build: channels that `groups` does not divide, images
            smaller than the kernel.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: Padding = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = (1, 1),
        groups: int = 1,
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
        self.filters = positive(filters, "filters")
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.strides = pair(strides, "strides")
        self.padding = read_padding(padding)
        self.data_format = resolve_data_format(data_format)
        self.dilation_rate = pair(dilation_rate, "dilation_rate")
        self.groups = positive(groups, "groups")
        taps = zip(self.kernel_size, self.dilation_rate, strict=True)
        self.window = tuple((size - 1) * gap + 1 for size, gap in taps)
        if self.filters % self.groups:
            raise ValueError(f"groups must divide filters; received groups={groups}, filters={filters}.")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                "Conv2D takes strides above 1 or dilation_rate above 1, not both; received "
                f"strides={self.strides}, dilation_rate={self.dilation_rate}."
            )
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

    def expected_shape(self) -> Shape:
        channels = self.kernel.shape[2] * self.groups if self._weights else None
        return (None, channels, None, None) if self.data_format == "channels_first" else (None, None, None, channels)

    def make_problem(self, x_shape: tuple[int, ...]) -> Conv2DProblem:
        channels = x_shape[3]
        if channels % self.groups:
            raise ValueError(f"groups={self.groups} does not divide the {channels} channels.")
        w_shape = (*self.kernel_size, channels // self.groups, self.filters)
        return Conv2DProblem.of(x_shape, w_shape, self.strides, self.padding, self.dilation_rate, self.dtype)

    def make_weights(self, input_shape: Shape) -> None:
        channels = last(input_shape, self.data_format)[3] or 0
        self.add_kernel((*self.kernel_size, channels // self.groups, self.filters))

    def as_images(self, array: np.ndarray, shape: tuple[int, int, int, int]) -> np.ndarray:
        return to_last(array, self.data_format)

    def from_images(self, images: np.ndarray, leading: tuple[int, ...]) -> np.ndarray:
        return from_last(images, self.data_format)

    def get_config(self) -> dict[str, Any]:
        config = {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
        }
        return {**super().get_config(), **config}


def positive(value: Any, name: str) -> int:
    """`value` as an integer above 0; ValueError for anything else."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise ValueError(f"{name} must be a positive integer; received {value!r}.")
    return int(value)
