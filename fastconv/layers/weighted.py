"""`KernelLayer`: kernel, bias, activation. What Conv2D and Dense share, whose work is one convolution."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import activations, constraints, initializers, kernels, regularizers
from fastconv.buffers import FRESH, Buffers
from fastconv.kernels import Conv2DProblem
from fastconv.layers.base import Layer, gradient_out
from fastconv.layers.layout import empty_like, for_kernel
from fastconv.ops.dispatch import run
from fastconv.variable import Variable

_BACKWARD = ("conv2d_backward_data", "conv2d_backward_filter")


class KernelLayer(Layer):
    """Base of Conv2D and Dense: y = activation(convolution(x, kernel) + bias).

    A subclass makes its weights with `add_kernel` and says how its input and output look to a convolution:
    `as_problem`, `as_images` and `from_images`.

    Args:
        activation, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint: names, configs or objects of the modules of those names.
        use_bias: whether there is a bias.
        algorithm: the variant of conv2d to use, also backward where the backward ops have one of that name.
        options: as for `Layer`.
    """

    by_sample = True
    takes_input_relu = True
    kernel: Variable
    bias: Variable | None = None

    def __init__(
        self,
        *,
        activation: Any,
        use_bias: bool,
        kernel_initializer: Any,
        bias_initializer: Any,
        kernel_regularizer: Any,
        bias_regularizer: Any,
        activity_regularizer: Any,
        kernel_constraint: Any,
        bias_constraint: Any,
        algorithm: str,
        **options: Any,
    ) -> None:
        self.activation = activations.get(activation)
        if not getattr(self.activation, "keeps_shape", True):
            raise ValueError(
                f"activation={self.activation.name!r} halves an axis: put layers.Activation({self.activation.name!r}) "
                f"behind the {type(self).__name__} instead."
            )
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.algorithm = algorithm
        super().__init__(**options)
        self._dtype = np.dtype(self.dtype)
        self._activity_loss = 0.0
        self._algorithms = dict.fromkeys(_BACKWARD, "auto")
        named = activations.serialize(self.activation)
        self._is_relu = named == "relu"
        # A penalty on the output needs the output's gradient, which a combined loss and activation never
        # form.
        self.output_activation = named if isinstance(named, str) and not self.activity_regularizer else None

    def as_problem(self, input_shape: tuple[int, ...]) -> Conv2DProblem:
        """The convolution that an input of that shape needs."""
        raise NotImplementedError

    def as_images(self, array: np.ndarray, shape: tuple[int, int, int, int]) -> np.ndarray:
        """An input or output of the layer as (N, H, W, C) or (N, P, Q, K); a view where that can be."""
        raise NotImplementedError

    def from_images(self, images: np.ndarray, leading: tuple[int, ...]) -> np.ndarray:
        """The opposite view of `as_images`; `leading` are the layer's input sizes without the last."""
        raise NotImplementedError

    def add_kernel(self, shape: tuple[int, ...], outputs: int) -> None:
        """Create the kernel, of that shape, and the bias, an element for each of the output's channels."""
        if self.algorithm != "auto":
            device = kernels.get("conv2d", self.algorithm).device
            for op in _BACKWARD:
                if self.algorithm in [variant.name for variant in kernels.variants(op, device)]:
                    self._algorithms[op] = self.algorithm
        self.kernel = self.add_weight(
            shape,
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            name="kernel",
        )
        if self.use_bias:
            self.bias = self.add_weight(
                (outputs,),
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                name="bias",
            )

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        problem = self.as_problem(x.shape)
        images = for_kernel(self.as_images(x, problem.x_shape), self._dtype, buffers, self, "input")
        bias = self.bias.value if self.bias is not None else None
        output, fused = self.convolve(problem, images, self.kernel.value, bias, self._is_relu, not training, buffers)
        y, before = self.activated(self.from_images(output, x.shape[:-1]), fused, buffers)
        self._saved = (y, before, images, problem, x.shape)
        return y

    def convolve(
        self,
        problem: Conv2DProblem,
        images: np.ndarray,
        kernel: np.ndarray,
        bias: np.ndarray | None,
        relu: bool,
        fixed: bool,
        buffers: Buffers,
    ) -> tuple[np.ndarray, bool]:
        """The convolution's output (N, P, Q, K), and whether the ReLU asked for is in it; see `dispatch.run`."""
        output = buffers.empty(self, "output", problem.y_shape, self.dtype)
        w, algorithm = kernel.reshape(problem.w_shape), self.algorithm
        wanted = True if relu else None
        fused = run("conv2d", problem, images, w, bias, output, algorithm=algorithm, fixed=fixed, relu=wanted)
        return output, fused

    def activated(self, y: np.ndarray, fused: bool, buffers: Buffers) -> tuple[np.ndarray, np.ndarray | None]:
        """The layer's output from what the convolution wrote, and that itself if `backward` needs it.

        fused: whether the activation, a ReLU, is in it already.
        """
        before = None
        if self.activation.needs_input:
            before, y = y, empty_like(y, buffers, self, "activated")
            self.activation.forward(before, y)
        elif not fused:
            self.activation.forward(y, y)
        if self.activity_regularizer is not None:
            self._activity_loss = self.activity_regularizer(y) / max(len(y), 1)
        return y, before

    def before_activation(
        self, grad: np.ndarray, y: np.ndarray, before: np.ndarray | None, buffers: Buffers, through_activation: bool
    ) -> np.ndarray:
        """The gradient for the convolution's output from that for the layer's, y."""
        if self.activity_regularizer is not None:
            grad = grad + self.activity_regularizer.gradient(y) / y.dtype.type(max(len(y), 1))
        if through_activation and self.activation is not activations.linear:
            grad = self.activation.backward(grad, y, before, gradient_out(grad, buffers))
        return grad

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
        gy = for_kernel(self.as_images(grad, problem.y_shape), self._dtype, buffers, self, "grad")
        if need_weight_grad:
            self._weight_gradients(problem, images, gy)
        if not need_input_grad:
            return None
        gx = buffers.empty(self, "input_grad", problem.x_shape, self.dtype)
        op, kernel = "conv2d_backward_data", self.kernel.value.reshape(problem.w_shape)
        relu = images if through_input_relu else None
        fused = run(op, problem, gy, kernel, gx, algorithm=self._algorithms[op], relu=relu)
        if through_input_relu and not fused:
            activations.relu.backward(gx, images, None, gx)
        return self.from_images(gx, input_shape[:-1])

    def _weight_gradients(self, problem: Conv2DProblem, images: np.ndarray, gy: np.ndarray) -> None:
        gw = self.gradient_array(self.kernel).reshape(problem.w_shape)
        gb = None if self.bias is None else self.gradient_array(self.bias)
        op = "conv2d_backward_filter"
        run(op, problem, images, gy, gw, gb, algorithm=self._algorithms[op])
        self.add_penalty_gradients()

    @property
    def activity_losses(self) -> list[float]:
        """The penalty on the last `forward`'s output, per sample, if there is one."""
        return [] if self.activity_regularizer is None else [self._activity_loss]

    @property
    def losses(self) -> list[float]:
        """The penalties of the regularizers, that on the activity first."""
        return self.activity_losses + super().losses

    @property
    def has_losses(self) -> bool:
        return self.activity_regularizer is not None or super().has_losses

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
        }
        # Keras would refuse a key that it does not know.
        return config if self.algorithm == "auto" else {**config, "algorithm": self.algorithm}
