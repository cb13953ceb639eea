"""`LayerStack`: layers one after another, their shapes, weights, values and gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastconv.buffers import FRESH, Buffers
from fastconv.layers import InputLayer, Layer
from fastconv.layers.base import Shape, as_shape, assign_all, dtype_name
from fastconv.layers.naming import automatic_name
from fastconv.models.plan import BackwardPlan
from fastconv.ops.dispatch import fixed_filters
from fastconv.variable import Variable

_SLICE_BYTES = 1 << 23  # of the largest activation of a slice: a share of a typical level-3 cache
_LEAST_SLICE = 16  # samples: with fewer the layers' overhead would show


class LayerStack:
    """The part of `Sequential` that is there without training; arguments as there."""

    def __init__(self, layers: Iterable[Layer] | None = None, trainable: bool = True, name: str | None = None) -> None:
        self.name = name or automatic_name(type(self))
        self._input: InputLayer | None = None
        self._layers: list[Layer] = []
        self._trainable = bool(trainable)
        self._accepted: set[tuple[int, ...]] = set()  # shapes of inputs that every layer takes
        self._slices: dict[tuple[int, ...], int] = {}
        self._output_shapes: dict[Shape, Shape] = {}
        for layer in layers or ():
            self.add(layer)

    def add(self, layer: Layer) -> None:
        """Append a layer and, if the shape of the model's input is known, build it.

        Raises:
            ValueError: not a layer, one of that name is there, a second input, another dtype, or a layer
                that cannot take what the last one gives. The model is unchanged then.
        """
        if not isinstance(layer, Layer):
            raise ValueError(f"{self._who} takes fastconv.layers.Layer objects; received {layer!r}.")
        if layer.name in [other.name for other in (self._input, *self._layers) if other is not None]:
            raise ValueError(f'{self._who} has a layer named "{layer.name}" already; give this one another name.')
        if isinstance(layer, InputLayer):
            if self._input is not None or self._layers:
                raise ValueError(f"{self._who}: an input must be the first thing added; received {layer}.")
            self._input = layer
            return
        if self._layers and layer.dtype != self._layers[0].dtype:
            raise ValueError(
                f"{self._who} computes in {self._layers[0].dtype}; received {layer} of dtype {layer.dtype}."
            )
        source = self._input
        if source is None and not self._layers and layer.declared_input_shape is not None:
            source = InputLayer(batch_shape=layer.declared_input_shape)
        if source is not None:
            layer.build(self._shape_after(self._layers, source.batch_shape))
        self._input = source
        self._layers.append(layer)
        self._structure_changed()

    def pop(self) -> Layer:
        """Remove the last layer and return it.

        Raises:
            ValueError: there is none.
        """
        if not self._layers:
            raise ValueError(f"{self._who} has no layers to remove.")
        layer = self._layers.pop()
        self._structure_changed()
        return layer

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        """Create the weights for inputs of that shape, the batch's size (usually None) first.

        Raises:
            ValueError: the model has no layers, is built for another shape, or a layer cannot take what it
                would get. Nothing is built then.
        """
        if not self._layers:
            raise ValueError(f"{self._who} has no layers: add one before it is built.")
        if input_shape is None:
            return
        shape = as_shape(input_shape, "input_shape")
        if self._input is not None and self._input.batch_shape != shape:
            raise ValueError(
                f"{self._who} takes inputs of shape {self._input.batch_shape}; it cannot be built for {shape}."
            )
        self._shape_after(self._layers, shape)
        for layer in self._layers:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self._input = self._input or InputLayer(batch_shape=input_shape)
        self._structure_changed()

    @property
    def built(self) -> bool:
        """Whether all weights exist."""
        return self._input is not None and bool(self._layers)

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the input."""
        return list(self._layers)

    @property
    def input_shape(self) -> Shape:
        """The shape of the input with the batch first; ValueError if it is not known."""
        if self._input is None:
            raise ValueError(f"{self._who} does not know the shape of its input yet.")
        return self._input.batch_shape

    @property
    def output_shape(self) -> Shape:
        """The shape of the output with the batch first; ValueError if it is not known."""
        return self._shape_after(self._layers, self.input_shape)

    @property
    def dtype(self) -> str:
        """The dtype the model computes in."""
        return self._layers[0].dtype if self._layers else dtype_name(None)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        """The output's shape for inputs of that shape; ValueError if a layer cannot take what it would get."""
        shape = tuple(input_shape)
        if shape not in self._output_shapes:
            self._output_shapes[shape] = self._shape_after(self._layers, as_shape(shape, "input_shape"))
        return self._output_shapes[shape]

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of that name, or at that place.

        Raises:
            ValueError: none or both are given, or there is no such layer.
        """
        if (name is None) == (index is None):
            raise ValueError(f"get_layer needs either name or index; received {name=}, {index=}.")
        if index is not None:
            if not -len(self._layers) <= index < len(self._layers):
                raise ValueError(f"{self._who} has {len(self._layers)} layers; received {index=}.")
            return self._layers[index]
        for layer in self._layers:
            if layer.name == name:
                return layer
        names = [layer.name for layer in self._layers]
        raise ValueError(f"{self._who} has no layer {name!r}; there are {names}.")

    # Running.

    def __call__(self, x: Any, training: bool | None = None) -> np.ndarray:
        """The output for a batch, as `Layer.__call__`; builds the model first.

        training: None for what each layer does by default: those that augment images do so, others are in inference.
        """
        x = np.asarray(x)
        self.prepare_input(x)
        x = self.adapt(x).astype(self.dtype, copy=False)
        if training is None and any(layer.trains_by_default for layer in self._layers):
            for layer in self._layers:
                x = layer.forward(x, layer.trains_by_default, FRESH)
            return x
        return self.forward(x, bool(training), FRESH)

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        """The output for a batch of the model's dtype, as `Layer.forward`.

        Without training, a batch whose activations would not stay in the cache goes through in slices.
        """
        rows = len(x) if training else self._slice_rows(x.shape)
        if rows >= len(x):
            for layer in self._layers:
                x = layer.forward(x, training, buffers)
            return x
        output: np.ndarray | None = None
        with fixed_filters():
            for start in range(0, len(x), rows):
                part = x[start : start + rows]
                for layer in self._layers:
                    part = layer.forward(part, False, buffers)
                if output is None:
                    output = buffers.empty(self, "output", (len(x), *part.shape[1:]), part.dtype)
                output[start : start + len(part)] = part
        return output  # type: ignore[return-value]

    def _slice_rows(self, shape: tuple[int, ...]) -> int:
        """Samples of a batch of that shape that go through the layers together."""
        rows = self._slices.get(shape)
        if rows is None:
            largest, size = 1, shape
            for layer in self._layers:
                size = layer.compute_output_shape(size)  # type: ignore[assignment]
                largest = max(largest, math.prod(size[1:]) * np.dtype(self.dtype).itemsize)
            fitting = _SLICE_BYTES // largest
            sliced = fitting >= _LEAST_SLICE and all(layer.by_sample for layer in self._layers)
            slices = -(-shape[0] // fitting) if sliced else 1
            rows = self._slices[shape] = -(-shape[0] // max(slices, 1))
        return rows

    def backward(self, grad: np.ndarray, buffers: Buffers = FRESH, *, through_activation: bool = True) -> np.ndarray:
        """The input's gradient from that of the last `forward`'s output; fills all weights' gradients.

        Arguments as for `Layer.backward`.
        """
        return BackwardPlan.full(self._layers).run(grad, buffers, through_activation)

    def adapt(self, x: np.ndarray) -> np.ndarray:
        """`x`, with a last axis of length 1 added or removed where that makes it the input, as in Keras.

        Raises:
            ValueError: the shape is another than that of the input.
        """
        if self._input is None:
            return x
        wanted = self._input.batch_shape
        view = x
        if x.ndim == len(wanted) - 1 and wanted[-1] == 1:
            view = x[..., np.newaxis]
        elif x.ndim == len(wanted) + 1 and x.shape[-1] == 1:
            view = x[..., 0]
        sizes = zip(wanted[1:], view.shape[1:], strict=False)
        if view.ndim != len(wanted) or any(want not in (None, size) for want, size in sizes):
            first = f' Its first layer is "{self._layers[0].name}".' if self._layers else ""
            raise ValueError(f"{self._who} expects x of shape {wanted}; received shape {x.shape}.{first}")
        return view

    def prepare_input(self, x: np.ndarray) -> None:
        """Build the model for batches like `x` if it is not, else check that `x` is one.

        Raises:
            ValueError: the model has no layers, or a layer cannot take what it would get.
        """
        if x.shape in self._accepted:
            return
        if self._input is None or not self._layers:
            self.build((None, *x.shape[1:]))
        self.compute_output_shape(self.adapt(x).shape)
        self._accepted.add(x.shape)

    # Weights.

    @property
    def trainable(self) -> bool:
        """Whether training changes anything; setting it sets it for all layers. Counts from the next `compile` on."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for layer in self._layers:
            layer.trainable = value

    @property
    def weights(self) -> list[Variable]:
        """The weights of all layers, in order."""
        return [weight for layer in self._layers for weight in layer.weights]

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that training changes."""
        return [weight for layer in self._layers for weight in layer.trainable_weights if self._trainable]

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The weights that training leaves alone."""
        trained = {id(weight) for weight in self.trainable_weights}
        return [weight for weight in self.weights if id(weight) not in trained]

    variables, trainable_variables = weights, trainable_weights
    non_trainable_variables = non_trainable_weights

    @property
    def losses(self) -> list[float]:
        """The penalties of all regularizers."""
        return [loss for layer in self._layers for loss in layer.losses]

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights, in order."""
        return [weight.numpy() for weight in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Write arrays into the weights, in order; ValueError, and no change, if their number or a shape is wrong."""
        assign_all(self._who, self.weights, weights)

    def count_params(self) -> int:
        """The number of elements of all weights; ValueError if the model is not built."""
        if not self.built:
            raise ValueError(f"{self._who} is not built: it has no weights to count yet.")
        return sum(layer.count_params() for layer in self._layers)

    def _structure_changed(self) -> None:
        """Called when there are other layers or weights than before."""
        self._accepted.clear()
        self._slices.clear()
        self._output_shapes.clear()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"

    @property
    def _who(self) -> str:
        return f'{type(self).__name__} "{self.name}"'

    @staticmethod
    def _shape_after(layers: Sequence[Layer], shape: Shape) -> Shape:
        for layer in layers:
            shape = layer.compute_output_shape(shape)
        return shape
