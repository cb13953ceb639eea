"""DepthwiseConv2D: each channel is convolved by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastconv.kernels.problem import Padding
from fastconv.layers.base import Shape
from fastconv.layers.convolution import ConvLayer, positive
from fastconv.layers.layout import last

_PARTS = ("initializer", "regularizer", "constraint")


class DepthwiseConv(ConvLayer):
    """Base of DepthwiseConv2D and DepthwiseConv1D; arguments as there."""

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: Padding = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        *,
        algorithm: str = "auto",
        **options: Any,
    ) -> None:
        self.depth_multiplier = positive(depth_multiplier, "depth_multiplier")
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=depthwise_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=depthwise_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=depthwise_constraint,
            bias_constraint=bias_constraint,
            algorithm=algorithm,
            **options,
        )

    def filter_sizes(self, channels: int) -> tuple[int, int]:
        return 1, channels * self.depth_multiplier

    def make_weights(self, input_shape: Shape) -> None:
        channels = last(input_shape, self.data_format)[-1] or 0
        # The same memory as a grouped convolution's kernel (..., 1, channels * depth_multiplier).
        self.add_kernel((*self.kernel_size, channels, self.depth_multiplier), channels * self.depth_multiplier)
        self.channels = channels

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update({f"depthwise_{part}": config.pop(f"kernel_{part}") for part in _PARTS})
        return {**config, "depth_multiplier": self.depth_multiplier}


class DepthwiseConv2D(DepthwiseConv):
    """Each channel of images convolved with `depth_multiplier` kernels of its own, `keras.layers.DepthwiseConv2D`.

    Input (N, H, W, C), output (N, P, Q, C * depth_multiplier), the outputs of a channel side by side; with
    data_format "channels_first" the channels come after N. The kernel is (rows, columns, C, depth_multiplier) in both.

    Args:
        kernel_size, strides, dilation_rate: an integer or a (height, width) pair.
        padding: "valid", "same" (TensorFlow's rule) or, beyond Keras, ((top, bottom), (left, right)).
        depth_multiplier: outputs of each channel.
        activation, use_bias, bias_*: as `KernelLayer` says; depthwise_* are for the kernel.
        algorithm: beyond Keras: "auto" or the name of a variant of conv2d.
        options: as for `Layer`.

    Raises:
        ValueError: an option that makes no convolution. On build: images smaller than the kernel.
    """
