"""SeparableConv2D: a depthwise convolution, then one of 1x1 that mixes the channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fastconv.buffers import FRESH, Buffers
from fastconv.layers.base import Layer, Shape
from fastconv.layers.convolution import Conv, Conv2D
from fastconv.layers.depthwise import DepthwiseConv, DepthwiseConv2D
from fastconv.variable import Variable


class SeparableConv(Layer):
    """Base of SeparableConv2D and SeparableConv1D; arguments as there. Its parts are two layers with its weights."""

    by_sample = True
    takes_input_relu = True
    parts: ClassVar[tuple[type[DepthwiseConv], type[Conv]]]

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        common: dict[str, Any] = {"data_format": data_format, "name": self.name, "dtype": self.dtype}
        self.depthwise = self.parts[0](
            kernel_size,
            strides,
            padding,
            depth_multiplier,
            dilation_rate=dilation_rate,
            use_bias=False,
            depthwise_initializer=depthwise_initializer,
            depthwise_regularizer=depthwise_regularizer,
            depthwise_constraint=depthwise_constraint,
            **common,
        )
        self.pointwise = self.parts[1](
            filters,
            1,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=pointwise_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=pointwise_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=pointwise_constraint,
            bias_constraint=bias_constraint,
            **common,
        )
        self.output_activation = self.pointwise.output_activation

    def expected_shape(self) -> Shape:
        return self.depthwise.expected_shape()

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        return self.pointwise.compute_output_shape(self.depthwise.compute_output_shape(input_shape))

    def make_weights(self, input_shape: Shape) -> None:
        between = self.depthwise.compute_output_shape(input_shape)
        self._build(self.depthwise, "depthwise_", input_shape)
        self._build(self.pointwise, "pointwise_", between)

    def _build(self, part: Layer, prefix: str, shape: Shape) -> None:
        """Build a part with weights of this layer, of which it has its share."""

        def add_weight(*arguments: Any, name: str, **options: Any) -> Variable:
            variable = self.add_weight(*arguments, name=name if name == "bias" else prefix + name, **options)
            part._weights.append(variable)
            return variable

        part.add_weight = add_weight  # type: ignore[method-assign, assignment]
        try:
            part.build(shape)
        finally:
            del part.add_weight

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        between = self.depthwise.forward(x, training, buffers)
        y = self.pointwise.forward(between, training, buffers)
        self._saved = (y,)
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
        self._recall(grad)
        between = self.pointwise.backward(
            grad, buffers, need_weight_grad=need_weight_grad, through_activation=through_activation
        )
        return self.depthwise.backward(
            between,  # type: ignore[arg-type]
            buffers,
            need_input_grad=need_input_grad,
            need_weight_grad=need_weight_grad,
            through_input_relu=through_input_relu,
        )

    @property
    def losses(self) -> list[float]:
        """The penalties of the regularizers, that on the activity first."""
        return self.pointwise.activity_losses + super().losses

    @property
    def has_losses(self) -> bool:
        return self.pointwise.activity_regularizer is not None or super().has_losses

    def get_config(self) -> dict[str, Any]:
        depthwise, pointwise = self.depthwise.get_config(), self.pointwise.get_config()
        config = {key: value for key, value in depthwise.items() if "bias" not in key and key != "use_bias"}
        for key, value in pointwise.items():
            if key.startswith("kernel_") and key != "kernel_size":
                config[key.replace("kernel_", "pointwise_")] = value
            elif "bias" in key or key in ("filters", "activation", "activity_regularizer"):
                config[key] = value
        return {**config, **super().get_config()}


class SeparableConv2D(SeparableConv):
    """Each channel convolved by itself, then the channels mixed pixel by pixel, `keras.layers.SeparableConv2D`.

    Input (N, H, W, C), output (N, P, Q, filters), with data_format "channels_first" the channels after N. The kernels
    are (rows, columns, C, depth_multiplier) and (1, 1, C * depth_multiplier, filters).

    Args:
        filters: number of output channels.
        kernel_size, strides, padding, dilation_rate, depth_multiplier: as for `DepthwiseConv2D`.
        depthwise_*, pointwise_*, bias_*, activation, use_bias, activity_regularizer: as `KernelLayer` says.
        options: as for `Layer`.

    Raises:
        ValueError: an option that makes no convolution. On build: images smaller than the kernel.
    """

    parts = (DepthwiseConv2D, Conv2D)
