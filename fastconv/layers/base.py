"""`Layer`: what all layers share. A subclass says how shapes, values and gradients go through it."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from fastconv import config, constraints, initializers, regularizers
from fastconv.buffers import FRESH, Buffers
from fastconv.layers.budget import only_shapes, spend
from fastconv.layers.naming import automatic_name
from fastconv.layers.tensor import KerasTensor, Node, Shape, is_symbolic, map_leaves
from fastconv.variable import Variable


def as_shape(shape: Any, argument: str) -> Shape:
    """`shape` as a tuple of positive integers, or None where a size is not known.

    Raises:
        ValueError: it is something else.
    """
    try:
        sizes = tuple(None if size is None else operator.index(size) for size in shape)
    except TypeError:
        sizes = (0, 0)
    if any(size is not None and size < 1 for size in sizes[1:]) or (sizes and (sizes[0] or 0) < 0):
        raise ValueError(f"{argument} must be a sequence of positive integers or None; received {shape!r}.")
    return sizes


class Layer:
    """Base class of layers.

    A subclass defines `forward` and `backward`, `compute_output_shape` where the shape changes,
    `make_weights` where it has any, and `get_config`.

    Args:
        name: by default the class's name in snake case, numbered from the second layer on.
        trainable: whether training changes the weights. A change counts from the next `compile` on.
        dtype: "float32" or "float64" (or Keras's DTypePolicy config of one); by default `config.floatx()`.
        input_shape, batch_input_shape, input_dim: for the first layer of a model: the shape of a sample, or
            with the batch's size before it, or the size of a flat sample.

    Raises:
        ValueError: an unknown keyword or a bad value.
    """

    # The name of the activation that makes the output, if a loss may be combined with it.
    output_activation: str | None = None
    # Whether what becomes of a sample depends on it alone: then a batch may go through `predict` in slices.
    by_sample = False
    # Whether `backward` takes through_input_relu=True: the input is a ReLU's output, and it applies that gradient too.
    takes_input_relu = False
    # The integers that decide the layer's next random numbers, which files keep.
    random_state_keys: tuple[str, ...] = ()
    trains_by_default = False  # whether a call by hand that does not say is one in training
    input_rank: int | None = None  # dimensions of the input with the batch; None for any
    # Set by `build`.
    input_shape: Any = None
    output_shape: Any = None

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        input_shape: Sequence[int | None] | None = None,
        batch_input_shape: Sequence[int | None] | None = None,
        input_dim: int | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise ValueError(f"{type(self).__name__} does not know the arguments {unknown}.")
        if not isinstance(trainable, bool):
            raise ValueError(f"trainable must be True or False; received {trainable!r}.")
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(f"name must be a text without '/'; received {name!r}.")
        self.dtype = dtype_name(dtype)
        self.declared_input_shape: Shape | None = None
        if batch_input_shape is not None:
            self.declared_input_shape = as_shape(batch_input_shape, "batch_input_shape")
        elif input_shape is not None or input_dim is not None:
            sample = (input_dim,) if input_shape is None else input_shape
            self.declared_input_shape = (None, *as_shape((1, *as_sequence(sample)), "input_shape")[1:])
        self.name = name or automatic_name(type(self))
        self._trainable = trainable
        self._weights: list[Variable] = []
        self._saved: tuple[Any, ...] | None = None
        self._nodes: list[Node] = []

    # What a subclass says about itself.

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        """The output's shape for an input of that shape, the batch's size first, None where not known.

        Raises:
            ValueError: the layer cannot take such an input.
        """
        return self.check_input_shape(input_shape)

    def make_weights(self, input_shape: Shape) -> None:
        """Create the weights with `add_weight`; called once, by `build`."""

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        """The output for a batch of the layer's dtype; remembers what `backward` needs.

        With buffers that are reused the output is overwritten by the next call.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward(x, training, buffers).")

    def backward(
        self,
        grad: np.ndarray,
        buffers: Buffers = FRESH,
        *,
        need_input_grad: bool = True,
        need_weight_grad: bool = True,
        through_activation: bool = True,
    ) -> np.ndarray | None:
        """The loss's gradient for the last `forward`'s input, from its gradient for the output.

        Args:
            grad: of the output's shape; overwritten if the buffers are reused ones, else left alone.
            need_input_grad: where False, None may be returned.
            need_weight_grad: whether to write the weights' gradients, penalties included, into
                `weight.gradient`.
            through_activation: False if `grad` is for the input of `output_activation` already.

        Raises:
            RuntimeError: there was no `forward`.
            ValueError: `grad` has another shape than the output.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backward(grad, buffers, ...).")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments by name, in Keras 3's layout."""
        policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": self.dtype}}
        return {"name": self.name, "trainable": self.trainable, "dtype": {**policy, "registered_name": None}}

    # What follows from it.

    def __call__(self, x: Any, training: bool | None = None) -> Any:
        """The output for a batch of anything NumPy can read; builds the layer first.

        Called with a `KerasTensor` it computes nothing: the call is recorded, and the tensor that it gives comes back.
        A `training` given then holds whenever a model runs this call; None leaves it to the model. Else None stands
        for `trains_by_default`.

        Raises:
            ValueError: the batch's shape does not suit the layer.
            TypeError: it holds no real numbers.
        """
        if is_symbolic(x):
            return self.record(x, training)
        x = np.asarray(x)
        if x.dtype.kind not in "biuf":
            raise TypeError(f"{self._who} takes real numbers; received an array of {x.dtype}.")
        self.check_input_shape(x.shape)
        self.build((None, *x.shape[1:]))
        in_training = self.trains_by_default if training is None else bool(training)
        return self.forward(x.astype(self.dtype, copy=False), in_training, FRESH)

    def record(self, inputs: Any, training: bool | None = None) -> Any:
        """Build the layer for tensors of a model, note the call, and return the tensor that it gives.

        Raises:
            ValueError: the layer cannot take tensors of these shapes.
        """
        shape = map_leaves(lambda tensor: tensor.shape, inputs)
        self.build(shape)
        output = KerasTensor(self.compute_output_shape(shape), self.dtype)
        Node(self, inputs, (output,), training)
        return output

    @property
    def input(self) -> Any:
        """The tensor, or the tensors, that the layer's first call in a model takes; ValueError if there was none."""
        return self._first_node.inputs

    @property
    def output(self) -> Any:
        """The tensor that the layer's first call in a model gives; ValueError if there was none."""
        return self._first_node.outputs[0]

    @property
    def _first_node(self) -> Node:
        if not self._nodes:
            raise ValueError(f"{self._who} is not part of a model yet: it has no input and no output.")
        return self._nodes[0]

    @property
    def built(self) -> bool:
        """Whether the weights exist."""
        return self.output_shape is not None

    def build(self, input_shape: Any) -> None:
        """Create the weights for inputs of that shape (batch first, usually None); later calls only check it.

        Raises:
            ValueError: the layer cannot take such an input.
        """
        output_shape = self.compute_output_shape(input_shape)
        if self.built:
            return
        shape = self.check_input_shape(input_shape)
        try:
            self.make_weights(shape)
        except Exception:
            self._weights.clear()
            raise
        self.input_shape, self.output_shape = shape, output_shape

    def check_input_shape(self, shape: Sequence[int | None]) -> Shape:
        """`shape` as a tuple.

        Raises:
            ValueError: it has another rank, or other sizes, than the layer takes.
        """
        sizes = as_shape(shape, f"{self._who}: input_shape")
        expected = self.expected_shape()
        if expected is not None and (
            len(sizes) != len(expected)
            or any(want and got and want != got for want, got in zip(expected, sizes, strict=True))
        ):
            raise ValueError(f"{self._who} expects inputs of shape {expected}; received shape {sizes}.")
        return sizes

    def expected_shape(self) -> Shape | None:
        """The shapes of input that the layer takes, None for any size; None where it takes any shape."""
        return None if self.input_rank is None else (None,) * self.input_rank

    def add_weight(
        self,
        shape: Sequence[int] = (),
        initializer: Any = "glorot_uniform",
        *,
        trainable: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        name: str = "variable",
        dtype: Any = None,
    ) -> Variable:
        """A new weight, which belongs to the layer from now on; of the layer's dtype if none is given."""
        make = initializers.get(initializer)
        if make is None:
            raise ValueError(f"{self._who}: the initializer of {name} must not be None.")
        spend(math.prod(shape))
        dtype = dtype or self.dtype
        if only_shapes():
            value = np.broadcast_to(np.zeros((), dtype), tuple(shape))
        else:
            value = np.require(make(tuple(shape), self.dtype), dtype, "C")
        if value.shape != tuple(shape):
            raise ValueError(f"{self._who}: the initializer of {name} made shape {value.shape}, not {tuple(shape)}.")
        variable = Variable(
            value,
            name,
            trainable,
            regularizers.get(regularizer),
            constraints.get(constraint),
            path=f"{self.name}/{name}",
        )
        self._weights.append(variable)
        return variable

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; a model heeds a change from its next `compile` on."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)

    @property
    def weights(self) -> list[Variable]:
        """All weights, in Keras's order."""
        return list(self._weights)

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that training changes: none if the layer is not `trainable`."""
        return [weight for weight in self._weights if self.trainable and weight.trainable]

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The weights that training leaves alone."""
        return [weight for weight in self._weights if not (self.trainable and weight.trainable)]

    variables, trainable_variables = weights, trainable_weights
    non_trainable_variables = non_trainable_weights

    def gradient_array(self, weight: Variable) -> np.ndarray:
        """Where `backward` writes the gradient of a weight; nobody reads that of one that training may not change."""
        if not weight.trainable:
            return np.empty_like(weight.value)
        if weight.gradient is None:
            weight.gradient = np.empty_like(weight.value)
        return weight.gradient

    def add_penalty_gradients(self) -> None:
        """Add the regularizers' gradients to those of the weights."""
        for weight in self._weights:
            if weight.regularizer is not None and weight.gradient is not None:
                weight.gradient += weight.regularizer.gradient(weight.value)

    @property
    def losses(self) -> list[float]:
        """The penalties of the trainable weights' regularizers."""
        return [weight.regularizer(weight.value) for weight in self.trainable_weights if weight.regularizer]

    @property
    def has_losses(self) -> bool:
        """Whether `losses` can hold anything."""
        return any(weight.regularizer for weight in self._weights)

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the weights, in order."""
        return [weight.numpy() for weight in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Write arrays into the weights, in order.

        Raises:
            ValueError: another number of arrays, or another shape; no weight is changed then.
        """
        assign_all(self._who, self.weights, weights)

    def count_params(self) -> int:
        """The number of elements of all weights.

        Raises:
            ValueError: the layer is not built.
        """
        if not self.built:
            raise ValueError(f"{self._who} is not built: it has no weights to count yet.")
        return sum(math.prod(weight.shape) for weight in self.weights)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The layer that `get_config` described; what is None there keeps its default."""
        return cls(**{key: value for key, value in config.items() if value is not None})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"

    def __getstate__(self) -> dict[str, Any]:
        """All but the layer's places in models: a copy of the layer has none, a copy of a model restores its own."""
        return {**self.__dict__, "_nodes": []}

    def require_built(self) -> None:
        """RuntimeError if the weights do not exist yet."""
        if not self.built:
            raise RuntimeError(f"{self._who} must be built first: call it, or build(input_shape).")

    @property
    def _who(self) -> str:
        return f'Layer "{self.name}" ({type(self).__name__})'

    def _recall(self, grad: np.ndarray) -> tuple[Any, ...]:
        """What `forward` put into `_saved`, the output first, once `grad` is seen to suit it."""
        if self._saved is None:
            raise RuntimeError(f"{self._who}: backward needs a forward before it.")
        shape = self._saved[0].shape
        if grad.shape != shape:
            raise ValueError(f"{self._who}: grad must have the output's shape {shape}; received {grad.shape}.")
        return self._saved


class WeightlessLayer(Layer):
    """Base of layers without weights: a subclass defines `forward` and `input_gradient`."""

    by_sample = True

    def backward(
        self,
        grad: np.ndarray,
        buffers: Buffers = FRESH,
        *,
        need_input_grad: bool = True,
        need_weight_grad: bool = True,
        through_activation: bool = True,
    ) -> np.ndarray | None:
        saved = self._recall(grad)
        return self.input_gradient(grad, saved, buffers) if need_input_grad else None

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        """The input's gradient from the output's, see `backward`; `saved` is what `forward` put into `_saved`."""
        raise NotImplementedError(f"{type(self).__name__} must define input_gradient(grad, saved, buffers).")


def gradient_out(grad: np.ndarray, buffers: Buffers) -> np.ndarray:
    """Where an elementwise layer writes the gradient it makes from `grad`: into it if buffers are reused."""
    return np.empty_like(grad) if buffers is FRESH else grad


def assign_all(who: str, variables: Sequence[Variable], values: Sequence[Any]) -> None:
    """Write `values` into `variables`, all of them or none.

    Raises:
        ValueError: another number of arrays, or another shape.
    """
    arrays = [np.asarray(value) for value in values]
    if len(arrays) != len(variables):
        raise ValueError(f"{who} has {len(variables)} weights; received {len(arrays)} arrays.")
    for variable, array in zip(variables, arrays, strict=True):
        if array.shape != variable.shape:
            raise ValueError(f"{who}: {variable.path} has shape {variable.shape}; received shape {array.shape}.")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def as_sequence(value: Any) -> tuple[Any, ...]:
    """`value` as a tuple; one that is no sequence as (0,), which no shape allows."""
    return tuple(value) if isinstance(value, Iterable) else (0,)


def dtype_name(dtype: Any) -> str:
    """The name of a floating dtype or of Keras's policy of that name; `floatx` for None.

    Raises:
        ValueError: neither float32 nor float64.
    """
    if isinstance(dtype, Mapping):
        dtype = dtype.get("config", {}).get("name")
    if dtype is None:
        return config.floatx()
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name not in ("float32", "float64"):
        raise ValueError(f'dtype must be "float32" or "float64"; received {dtype!r}.')
    return name
