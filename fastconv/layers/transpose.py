"""Conv2DTranspose: a convolution's gradient as a layer, which makes images larger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import activations
from fastconv.buffers import FRESH, Buffers
from fastconv.kernels import Conv2DProblem
from fastconv.layers.base import Shape
from fastconv.layers.convolution import ConvLayer, positive, refuse_strides_with_dilation
from fastconv.layers.layout import for_kernel, last
from fastconv.layers.windows import axis_sizes, plane, read_padding
from fastconv.ops.dispatch import run


class ConvTranspose(ConvLayer):
    """Base of Conv2DTranspose and Conv1DTranspose; arguments as there.

    Its problem is the convolution that would lead back: from this layer's output, x, to its input, y.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        output_padding: int | Sequence[int] | None = None,
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **options: Any,
    ) -> None:
        self.filters = positive(filters, "filters")
        read_padding(padding, 1)  # sides would have two meanings here
        self.output_padding = (
            None if output_padding is None else axis_sizes(output_padding, "output_padding", self.rank, 0)
        )
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
            algorithm="auto",
            **options,
        )
        refuse_strides_with_dilation(self)
        if any(more >= step for more, step in zip(self.output_padding or (), self.strides, strict=False)):
            raise ValueError(
                f"output_padding must be below strides; received output_padding={self.output_padding}, "
                f"strides={self.strides}."
            )

    def make_problem(self, x_shape: tuple[int, ...]) -> Conv2DProblem:
        N, *sizes, channels = x_shape
        more = (None,) * self.rank if self.output_padding is None else self.output_padding
        axes = [
            larger(*axis, self.padding == "same")
            for axis in zip(sizes[2 - self.rank :], self.window, self.strides, more, strict=True)
        ]
        output = plane([size for size, _ in axes], 1)
        sides = [side for _, side in axes]
        strides, dilation = plane(self.strides, 1), plane(self.dilation_rate, 1)
        padding = (sides[0], sides[1]) if self.rank == 2 else ((0, 0), sides[0])
        w_shape = (*plane(self.kernel_size, 1), self.filters, channels)
        return Conv2DProblem.of((N, *output, self.filters), w_shape, strides, padding, dilation, self.dtype)

    def output_sizes(self, problem: Any) -> tuple[int, int, int, int]:
        return problem.x_shape

    def make_weights(self, input_shape: Shape) -> None:
        channels = last(input_shape, self.data_format)[-1] or 0
        self.add_kernel((*self.kernel_size, self.filters, channels), self.filters)
        self.channels = channels

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        problem = self.as_problem(x.shape)
        images = for_kernel(self.as_images(x, problem.y_shape), self._dtype, buffers, self, "input")
        output = buffers.empty(self, "output", problem.x_shape, self.dtype)
        run("conv2d_backward_data", problem, images, self.kernel.value.reshape(problem.w_shape), output)
        if self.bias is not None:
            output += self.bias.value
        y, before = self.activated(self.from_images(output, x.shape[:-1]), False, buffers)
        self._saved = (y, before, images, problem, x.shape)
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
        y, before, images, problem, input_shape = self._recall(grad)
        grad = self.before_activation(grad, y, before, buffers, through_activation)
        gy = for_kernel(self.as_images(grad, problem.x_shape), self._dtype, buffers, self, "grad")
        if need_weight_grad:
            gw = self.gradient_array(self.kernel).reshape(problem.w_shape)
            run("conv2d_backward_filter", problem, gy, images, gw, None)
            if self.bias is not None:
                gy.sum(axis=(1, 2)).sum(axis=0, out=self.gradient_array(self.bias))
            self.add_penalty_gradients()
        if not need_input_grad:
            return None
        gx = buffers.empty(self, "input_grad", problem.y_shape, self.dtype)
        run("conv2d", problem, gy, self.kernel.value.reshape(problem.w_shape), None, gx)
        if through_input_relu:
            activations.relu.backward(gx, images, None, gx)
        return self.from_images(gx, input_shape[:-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "output_padding": self.output_padding}


class Conv2DTranspose(ConvTranspose):
    """The transpose of a convolution, which spreads each pixel over a window, `keras.layers.Conv2DTranspose`.

    Input (N, H, W, C), output (N, P, Q, filters), with data_format "channels_first" the channels after N. The kernel
    is (rows, columns, filters, C) in both. With padding "same" the output is strides times as large; with "valid" it
    has (H - 1) * strides + kernel_size rows, or H * strides for a smaller kernel.

    Args:
        filters: number of output channels.
        kernel_size, strides, dilation_rate: an integer or a (height, width) pair.
        padding: "valid" or "same".
        output_padding: below strides: rows and columns at the output's end, whose size is then (H - 1) * strides +
            kernel_size + output_padding for "valid" and, for "same", with kernel_size % 2 in place of kernel_size.
        activation, use_bias, *_initializer, *_regularizer, *_constraint: as `KernelLayer` says.
        options: as for `Layer`.

    Raises:
        ValueError: an option that makes no convolution; strides and dilation_rate both above 1.
    """


def larger(size: int, reach: int, step: int, more: int | None, same: bool) -> tuple[int, tuple[int, int]]:
    """The output's size along an axis, and the padding that would lead back, as Keras has them on JAX.

    reach: of the kernel, dilation included. more: the output padding.
    """
    if same:
        zeros = step + reach - 2 if more is None else reach + reach % 2 - 2 + more
        before = min(zeros - zeros // 2, reach - 1)
    else:
        zeros = 2 * (reach - 1) + (max(step - reach, 0) if more is None else more)
        before = reach - 1
    # Of an input with step - 1 zeros between its elements, and `zeros` more around it, the kernel makes:
    output = (size - 1) * step + zeros + 2 - reach
    return output, (reach - 1 - before, max(0, reach - 1 - (zeros - before)))
