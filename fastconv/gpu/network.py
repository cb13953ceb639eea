"""What each layer adds to a program: its launches forward and backward, on arrays that exist once for a shape of batch.

A class below belongs to the class of layers whose `forward` and `backward` it stands for. Arrays are as the layers see
them: images of a channels_first model are (N, C, H, W) views of (N, H, W, C) memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fastconv import activations
from fastconv.gpu.parameters import Parameters
from fastconv.gpu.program import Recorder
from fastconv.kernels import cuda_activations, cuda_dropout, cuda_updates
from fastconv.layers import Flatten, Layer
from fastconv.layers.activation import Activation
from fastconv.layers.layout import from_last, to_last
from fastconv.layers.pooling import Pooling
from fastconv.layers.regularization import Dropout
from fastconv.layers.weighted import KernelLayer
from fastconv.models.plan import BackwardPlan, BackwardStep, ForwardPlan
from fastconv.regularizers import L1, L1L2, L2
from fastconv.variable import Variable

_INFINITY = math.inf


class Unsupported(ValueError):
    """A model that a GPU cannot run; the message names the layer and what stands in the way."""


class Network:
    """The layers of a model, written down with a recorder.

    Args:
        parameters: where the weights are.
        numbers: layer -> two numbers on the device that a layer reads anew in each step; see `Recorded.numbers`.
    """

    def __init__(self, recorder: Recorder, parameters: Parameters, numbers: dict[int, Any]) -> None:
        self.recorder, self.parameters, self.numbers = recorder, parameters, numbers
        self._recorded: dict[int, Recorded] = {}

    def forward(self, plan: ForwardPlan, x: Any, training: bool) -> Any:
        """The output for `x`."""
        for step in plan.steps:
            made = self._recorded[id(step.layer)] = recorded_class(step.layer)(step.layer, self)
            x = made.forward(x, training if step.training is None else step.training)
        return x

    def backward(self, plan: BackwardPlan, gy: Any, through_activation: bool) -> None:
        """The gradients of the weights, from that of the output."""
        for step in plan.steps:
            made = self._recorded[id(step.layer)]
            gy = made.backward(gy, step, through_activation and step.through_activation)
            through_activation = True

    def penalties(self, weights: Sequence[Variable], totals: Any, row: Any, column: int) -> None:
        """What the regularizers of `weights` add to the loss, into totals[row, column] and the columns after it."""
        for weight in weights:
            launches = cuda_updates.penalty(self.parameters.of(weight), *_factors(weight), totals, row, column)
            self.recorder.add(launches)
            column += 1


def check_chain(plan: ForwardPlan) -> None:
    """Unsupported if the layers do not stand one behind another, each once."""
    chain = plan.inputs == 1 and plan.outputs == (len(plan.steps),) and len(plan.layers) == len(plan.steps)
    for place, step in enumerate(plan.steps):
        if not chain or step.source != place:
            raise Unsupported(
                f'the layer "{step.layer.name}" ({type(step.layer).__name__}) cannot run on a GPU: only models whose '
                "layers stand one behind another, each used once, have programs for it; run this one on 'cpu'."
            )


def recorded_class(layer: Layer) -> type[Recorded]:
    """What writes a layer down.

    Raises:
        Unsupported: there is nothing for its class, or the layer has an option that only the CPU knows.
    """
    definer = next(cls for cls in type(layer).__mro__ if "forward" in cls.__dict__)
    backward = next(cls for cls in type(layer).__mro__ if {"backward", "input_gradient"} & set(cls.__dict__))
    found = _CLASSES.get(definer) if definer is backward else None
    if found is None:
        raise Unsupported(
            f'the layer "{layer.name}" ({type(layer).__name__}) has no kernels for a GPU: train and predict with this '
            "model on the device 'cpu'."
        )
    reason = found.unsupported(layer)
    if layer.dtype != "float32":
        reason = f"it computes in {layer.dtype}, kernels for a GPU in float32"
    if reason is not None:
        raise Unsupported(f'the layer "{layer.name}" ({type(layer).__name__}) cannot run on a GPU: {reason}.')
    return found


class Recorded:
    """A layer in a program; a subclass defines `forward` and `backward`.

    numbers: how many numbers it reads anew in each step; `next_numbers` gives them.
    """

    numbers: ClassVar[int] = 0

    def __init__(self, layer: Any, network: Network) -> None:
        self.layer = layer
        self._network, self._recorder, self._parameters = network, network.recorder, network.parameters

    @staticmethod
    def unsupported(layer: Any) -> str | None:
        """Why this very layer cannot run on a GPU, or None."""
        return None

    @staticmethod
    def next_numbers(layer: Any) -> Sequence[float]:
        """The numbers of the next step, which counts as begun."""
        return ()

    def forward(self, x: Any, training: bool) -> Any:
        """The output, once the launches written down have run."""
        raise NotImplementedError

    def backward(self, gy: Any, step: BackwardStep, through_activation: bool) -> Any:
        """The input's gradient, or None if it is not needed; see `Layer.backward`. gy may be overwritten."""
        raise NotImplementedError

    def empty(self, shape: tuple[int, ...]) -> Any:
        """An array of the program."""
        return self._recorder.memory.zeros(shape)

    def like(self, x: Any) -> Any:
        """An array of the program with x's shape and order in memory."""
        if x.flags.c_contiguous:
            return self.empty(x.shape)
        return from_last(self.empty(to_last(x, "channels_first").shape), "channels_first")


class _Kernel(Recorded):
    """Dense and the layers that convolve."""

    @staticmethod
    def unsupported(layer: KernelLayer) -> str | None:
        if layer.activity_regularizer is not None:
            return "activity_regularizer is for the CPU"
        for weight in layer.weights:
            if weight.regularizer is not None and type(weight.regularizer) not in (L1, L2, L1L2):
                return f"the regularizer {type(weight.regularizer).__name__} is for the CPU"
        return _unknown(layer.activation)

    def forward(self, x: Any, training: bool) -> Any:
        layer = self.layer
        self._leading = x.shape[:-1]
        problem = self._problem = layer.as_problem(x.shape)
        images = self._images = layer.as_images(x, problem.x_shape)
        if not images.flags.c_contiguous or (x.ndim != 4 and not x.flags.c_contiguous):
            raise Unsupported(
                f'the layer "{layer.name}" ({type(layer).__name__}) cannot run on a GPU: it would have to turn images '
                "round; give the layers of a model one data_format."
            )
        output = self.empty(problem.y_shape)
        kernel = self._parameters.of(layer.kernel).reshape(problem.w_shape)
        bias = None if layer.bias is None else self._parameters.of(layer.bias)
        is_relu = activations.serialize(layer.activation) == "relu"
        fused = self._recorder.kernel(
            "conv2d", problem, images, kernel, bias, output, algorithm=_on_gpu(layer.algorithm), relu=is_relu or None
        )
        self._before = output if layer.activation.needs_input else None
        y = output if fused else _activate(self._recorder, layer.activation, output, self)
        self._y = y
        return layer.from_images(y, self._leading)

    def backward(self, gy: Any, step: BackwardStep, through_activation: bool) -> Any:
        layer, problem = self.layer, self._problem
        gy = layer.as_images(gy, problem.y_shape)
        if through_activation:
            gy = _slope(self._recorder, layer.activation, gy, self._y, self._before)
        weights = layer.weights
        if step.need_weight_grad:
            gw, *gb = map(self._parameters.gradient_of, weights)
            bias = gb[0] if gb else None
            arrays = (self._images, gy, gw.reshape(problem.w_shape), bias)
            self._recorder.kernel("conv2d_backward_filter", problem, *arrays)
            for weight in weights:
                if weight.regularizer is not None:
                    value, gradient = self._parameters.of(weight), self._parameters.gradient_of(weight)
                    self._recorder.add(cuda_updates.penalise(value, gradient, *_factors(weight)))
        if not step.need_input_grad:
            return None
        gx = self.empty(problem.x_shape)
        kernel = self._parameters.of(layer.kernel).reshape(problem.w_shape)
        relu = self._images if step.through_input_relu else None
        fused = self._recorder.kernel("conv2d_backward_data", problem, gy, kernel, gx, relu=relu)
        if step.through_input_relu and not fused:
            _slope(self._recorder, activations.relu, gx, self._images, None)
        return layer.from_images(gx, self._leading)


class _Pooling(Recorded):
    """Layers that pool."""

    def forward(self, x: Any, training: bool) -> Any:
        layer = self.layer
        self._problem = layer.as_problem(x.shape)
        self._leading = x.shape[:-1]
        self._images = layer.as_images(x, self._problem.x_shape)
        y = self.empty(self._problem.y_shape)
        self._recorder.kernel(layer.op, self._problem, self._images, y, algorithm=_on_gpu(layer.algorithm))
        return layer.output_of(y)

    def backward(self, gy: Any, step: BackwardStep, through_activation: bool) -> Any:
        if not step.need_input_grad:
            return None
        layer = self.layer
        gx = self.empty(self._problem.x_shape)
        arrays = layer.backward_arrays(self._images, layer.images_of(gy, self._problem.y_shape))
        relu = True if step.through_input_relu else None
        fused = self._recorder.kernel(f"{layer.op}_backward", self._problem, *arrays, gx, relu=relu)
        if step.through_input_relu and not fused:
            _slope(self._recorder, activations.relu, gx, self._images, None)
        return layer.from_images(gx, self._leading)


class _Flatten(Recorded):
    """Flatten: another look at the same memory."""

    def forward(self, x: Any, training: bool) -> Any:
        ordered = np.moveaxis(x, 1, -1) if self._moves(x) else x
        if not ordered.flags.c_contiguous:
            raise Unsupported(
                f'the layer "{self.layer.name}" (Flatten) cannot run on a GPU: it would have to turn images round; '
                "give it the data_format of the layers before it."
            )
        self._shape = ordered.shape
        return ordered.reshape(x.shape[0], math.prod(x.shape[1:]))

    def backward(self, gy: Any, step: BackwardStep, through_activation: bool) -> Any:
        ordered = gy.reshape(self._shape)
        return np.moveaxis(ordered, -1, 1) if self._moves(ordered) else ordered

    def _moves(self, x: Any) -> bool:
        return self.layer.data_format == "channels_first" and x.ndim > 2


class _Activation(Recorded):
    """Activation, ReLU, Softmax and the like."""

    @staticmethod
    def unsupported(layer: Activation) -> str | None:
        return _unknown(layer.activation)

    def forward(self, x: Any, training: bool) -> Any:
        self._before = x
        self._y = _activate(self._recorder, self.layer.activation, x, self, in_place=False)
        return self._y

    def backward(self, gy: Any, step: BackwardStep, through_activation: bool) -> Any:
        if through_activation:
            _slope(self._recorder, self.layer.activation, gy, self._y, self._before)
        return gy


class _Dropout(Recorded):
    """Dropout; its numbers say which row of its random numbers is next."""

    numbers = 2

    @staticmethod
    def unsupported(layer: Dropout) -> str | None:
        return None if layer.noise_shape is None else "noise_shape is for the CPU"

    @staticmethod
    def next_numbers(layer: Dropout) -> Sequence[float]:
        call = layer.next_call()
        return call & 0xFFFF, call >> 16

    def forward(self, x: Any, training: bool) -> Any:
        self._drops = training and self.layer.rate > 0
        return self._times_mask(x, self.like(x)) if self._drops else x

    def backward(self, gy: Any, step: BackwardStep, through_activation: bool) -> Any:
        return self._times_mask(gy, gy) if self._drops else gy

    def _times_mask(self, x: Any, y: Any) -> Any:
        call = self._network.numbers[id(self.layer)]
        self._recorder.add(cuda_dropout.dropout(_in_memory(x), _in_memory(y), self.layer.key, call, self.layer.rate))
        return y


_CLASSES: dict[type, type[Recorded]] = {
    KernelLayer: _Kernel,
    Pooling: _Pooling,
    Flatten: _Flatten,
    Activation: _Activation,
    Dropout: _Dropout,
}

_CODES: dict[type, int] = {
    activations.Sigmoid: cuda_activations.SIGMOID,
    activations.Tanh: cuda_activations.TANH,
    activations.Softplus: cuda_activations.SOFTPLUS,
    activations.Softsign: cuda_activations.SOFTSIGN,
    activations.Exponential: cuda_activations.EXPONENTIAL,
    activations.HardSigmoid: cuda_activations.HARD_SIGMOID,
    activations.SiLU: cuda_activations.SILU,
    activations.HardSiLU: cuda_activations.HARD_SILU,
    activations.Mish: cuda_activations.MISH,
}


def _code(activation: Any) -> tuple[int, tuple[float, float, float]] | None:
    """An elementwise activation as `cuda_activations` knows it; None for others."""
    kind = type(activation)
    if kind in (activations.ReLU, activations.ReLU6, activations.LeakyReLU):
        largest = _INFINITY if activation.max_value is None else activation.max_value
        return cuda_activations.RELU, (activation.negative_slope, largest, activation.threshold)
    if kind in (activations.ELU, activations.SELU):
        return cuda_activations.ELU, (activation.alpha, activation.scale, 0.0)
    if kind is activations.GELU:
        return (cuda_activations.GELU_TANH if activation.approximate else cuda_activations.GELU), (0.0, 0.0, 0.0)
    return None if kind not in _CODES else (_CODES[kind], (0.0, 0.0, 0.0))


def _unknown(activation: Any) -> str | None:
    """Why an activation cannot run on a GPU, or None."""
    kind = type(activation)
    if kind is activations.Linear or _code(activation) is not None:
        return None
    if kind in (activations.Softmax, activations.LogSoftmax):
        return None if activation.axis == -1 else f"{activation.name} along axis {activation.axis} is for the CPU"
    return f"the activation {activation.name} is for the CPU"


def _in_memory(x: Any) -> Any:
    """x in the order of its memory."""
    return x if x.flags.c_contiguous else to_last(x, "channels_first")


def _activate(recorder: Recorder, activation: Any, x: Any, owner: Recorded, in_place: bool = True) -> Any:
    """y = activation(x): x itself where it is not needed any more."""
    if type(activation) is activations.Linear:
        return x
    y = x if in_place and not activation.needs_input else owner.like(x)
    if type(activation) in (activations.Softmax, activations.LogSoftmax):
        log = type(activation) is activations.LogSoftmax
        recorder.add(cuda_activations.softmax(x, y, x.shape[-1], log))
    else:
        kind, parameters = _code(activation)  # type: ignore[misc]
        recorder.add(cuda_activations.forward(kind, parameters, _in_memory(x), _in_memory(y)))
    return y


def _slope(recorder: Recorder, activation: Any, gy: Any, y: Any, x: Any) -> Any:
    """gy times the activation's slope, in gy's memory."""
    if type(activation) is activations.Linear:
        return gy
    if type(activation) in (activations.Softmax, activations.LogSoftmax):
        log = type(activation) is activations.LogSoftmax
        recorder.add(cuda_activations.softmax_backward(gy, y, gy, y.shape[-1], log))
    else:
        kind, parameters = _code(activation)  # type: ignore[misc]
        memory = _in_memory(gy)
        before = y if x is None else x
        recorder.add(cuda_activations.backward(kind, parameters, memory, _in_memory(y), _in_memory(before), memory))
    return gy


def _factors(weight: Variable) -> tuple[float, float]:
    """The l1 and l2 of a weight's regularizer."""
    return getattr(weight.regularizer, "l1", 0.0), getattr(weight.regularizer, "l2", 0.0)


def _on_gpu(algorithm: str) -> str:
    """A layer's choice, where it is of kernels for a GPU."""
    from fastconv.kernels.registry import device_of

    return algorithm if algorithm != "auto" and device_of(algorithm) == "gpu" else "auto"
