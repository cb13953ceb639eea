"""Conv2D, and `ConvLayer`: what all layers that convolve share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastconv.kernels import Conv2DProblem
from fastconv.kernels.problem import Padding
from fastconv.layers.base import Shape
from fastconv.layers.layout import last, unlast
from fastconv.layers.weighted import KernelLayer
from fastconv.layers.windows import WindowLayer, axis_sizes, plane, read_padding
from fastconv.ops.arrays import resolve_data_format


class ConvLayer(WindowLayer, KernelLayer):
    """Base of the layers that convolve; a subclass says what its kernel looks like to a convolution: `filter_sizes`.

    Args:
        kernel_size, strides, dilation_rate: an integer or one for each axis.
        padding: "valid", "same" (TensorFlow's rule), for some layers "causal" or, beyond Keras and for images, ((top,
            bottom), (left, right)).
        data_format: "channels_last" or "channels_first"; None for `config.image_data_format()`.
        options: as for `KernelLayer`.

    Raises:
        ValueError: an option that makes no convolution. On build: images smaller than the kernel.
    """

    takes_causal = False  # whether padding may be "causal": zeros before a sequence, so that no output sees the future
    channels: int | None = None  # of the input, once the layer is built

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int],
        padding: Padding,
        data_format: str | None,
        dilation_rate: int | Sequence[int],
        **options: Any,
    ) -> None:
        self.kernel_size = axis_sizes(kernel_size, "kernel_size", self.rank)
        self.strides = axis_sizes(strides, "strides", self.rank)
        self.dilation_rate = axis_sizes(dilation_rate, "dilation_rate", self.rank)
        causal = self.takes_causal and isinstance(padding, str) and padding.lower() == "causal"
        self.padding = "causal" if causal else read_padding(padding, self.rank)
        self.data_format = resolve_data_format(data_format)
        taps = zip(self.kernel_size, self.dilation_rate, strict=True)
        self.window = tuple((size - 1) * gap + 1 for size, gap in taps)
        super().__init__(**options)

    def filter_sizes(self, channels: int) -> tuple[int, int]:
        """Channels of a group and filters, for inputs of that many channels; ValueError if they do not suit."""
        raise NotImplementedError

    def expected_shape(self) -> Shape:
        return unlast((None, *(None,) * self.rank, self.channels), self.data_format)

    def make_problem(self, x_shape: tuple[int, ...]) -> Conv2DProblem:
        w_shape = (*plane(self.kernel_size, 1), *self.filter_sizes(x_shape[3]))
        padding = self.padding
        if padding == "causal":
            padding = ((0, 0), (self.window[0] - 1, 0))
        strides, dilation = plane(self.strides, 1), plane(self.dilation_rate, 1)
        return Conv2DProblem.of(x_shape, w_shape, strides, padding, dilation, self.dtype)

    def make_weights(self, input_shape: Shape) -> None:
        channels = last(input_shape, self.data_format)[-1] or 0
        sizes = self.filter_sizes(channels)
        self.add_kernel((*self.kernel_size, *sizes), sizes[1])
        self.channels = channels

    def get_config(self) -> dict[str, Any]:
        config = {
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
        }
        return {**super().get_config(), **config}


class Conv(ConvLayer):
    """Base of Conv2D and Conv1D; arguments as there."""

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: Padding = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
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
        self.groups = positive(groups, "groups")
        if self.filters % self.groups:
            raise ValueError(f"groups must divide filters; received groups={groups}, filters={filters}.")
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
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
        refuse_strides_with_dilation(self)

    def filter_sizes(self, channels: int) -> tuple[int, int]:
        if channels % self.groups:
            raise ValueError(f"groups={self.groups} does not divide the {channels} channels.")
        return channels // self.groups, self.filters

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "groups": self.groups}


class Conv2D(Conv):
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


def refuse_strides_with_dilation(layer: ConvLayer) -> None:
    """ValueError for strides and a dilation_rate above 1 together, as in Keras."""
    if max(layer.strides) > 1 and max(layer.dilation_rate) > 1:
        raise ValueError(
            f"{type(layer).__name__} takes strides above 1 or dilation_rate above 1, not both; received "
            f"strides={layer.strides}, dilation_rate={layer.dilation_rate}."
        )


def positive(value: Any, name: str) -> int:
    """`value` as an integer above 0; ValueError for anything else."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise ValueError(f"{name} must be a positive integer; received {value!r}.")
    return int(value)
