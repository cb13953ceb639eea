"""`BaseModel`: a graph of layers, its shapes, weights, values and gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastconv.buffers import FRESH, Buffers
from fastconv.layers import Layer
from fastconv.layers.base import as_shape, dtype_name
from fastconv.layers.tensor import KerasTensor, Node, is_symbolic, leaves
from fastconv.models import nesting
from fastconv.models.backward_plan import BackwardPlan
from fastconv.models.graph import Graph
from fastconv.models.parts import Parts, each
from fastconv.models.plan import ForwardPlan
from fastconv.ops.dispatch import fixed_filters
from fastconv.variable import Variable

_SLICE_BYTES = 1 << 23  # of the largest activation of a slice: a share of a typical level-3 cache
_LEAST_SLICE = 16  # samples: with fewer the layers' overhead would show


class BaseModel(Layer):
    """The part of a model that is there without training: a layer made of layers.

    A model with several inputs or outputs takes or gives lists in their place.
    """

    _graph: Graph | None = None
    _structures: tuple[Any, Any] = (None, None)  # how inputs and outputs were nested where the model was made

    def __init__(self, trainable: bool = True, name: str | None = None) -> None:
        self._forward_plan: ForwardPlan | None = None
        self._accepted: set[Any] = set()  # shapes of inputs that every layer takes
        self._slices: dict[Any, int] = {}
        self._output_shapes: dict[Any, Any] = {}
        super().__init__(name=name, trainable=bool(trainable))

    @property
    def layers(self) -> list[Layer]:
        """The layers."""
        return self._built_graph.layers.copy()

    @property
    def built(self) -> bool:
        """Whether all weights exist."""
        return self._graph is not None

    @property
    def inputs(self) -> list[KerasTensor]:
        """The tensors that the model takes; ValueError if it is not built."""
        return list(self._built_graph.inputs)

    @property
    def outputs(self) -> list[KerasTensor]:
        """The tensors that the model gives; ValueError if it is not built."""
        return list(self._built_graph.outputs)

    @property
    def input(self) -> Any:
        """The tensor that the model takes, or the tensors as it was given them."""
        return _nested(self.inputs, self._structures[0])

    @property
    def output(self) -> Any:
        """The tensor that the model gives, or the tensors as it was given them."""
        return _nested(self.outputs, self._structures[1])

    @property
    def input_names(self) -> list[str]:
        """The names of the input layers."""
        return [tensor.name for tensor in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """The names of the layers that make the outputs."""
        return [tensor.node.layer.name for tensor in self.outputs]

    @property
    def input_shape(self) -> Any:
        """The shape of the input with the batch first, a list for several; ValueError if it is not known."""
        return _nested([tensor.shape for tensor in self.inputs], self._structures[0])

    @property
    def output_shape(self) -> Any:
        """The shape of the output with the batch first, a list for several; ValueError if it is not known."""
        return _nested([tensor.shape for tensor in self.outputs], self._structures[1])

    @property
    def forward_plan(self) -> ForwardPlan:
        """The calls of layers that the model consists of, those of models in it included."""
        if self._forward_plan is None:
            self._built_graph  # noqa: B018  it must be there
            self._forward_plan = ForwardPlan.of(self)
        return self._forward_plan

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output's shape for inputs of that shape, lists for several; ValueError if a layer cannot take what it
        would get."""
        shapes = _as_shapes(input_shape)
        if shapes not in self._output_shapes:
            if len(shapes) != len(self.inputs):
                raise ValueError(f"{self._who} has {len(self.inputs)} inputs; received the shapes {shapes}.")
            places = self.forward_plan.shapes([as_shape(shape, "input_shape") for shape in shapes])
            found = [places[place] for place in self.forward_plan.outputs]
            self._output_shapes[shapes] = found if len(found) > 1 else found[0]
        return self._output_shapes[shapes]

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of that name, or at that place.

        Raises:
            ValueError: none or both are given, or there is no such layer.
        """
        if (name is None) == (index is None):
            raise ValueError(f"get_layer needs either name or index; received {name=}, {index=}.")
        layers = self.layers
        if index is not None:
            if not -len(layers) <= index < len(layers):
                raise ValueError(f"{self._who} has {len(layers)} layers; received {index=}.")
            return layers[index]
        for layer in layers:
            if layer.name == name:
                return layer
        names = [layer.name for layer in layers]
        raise ValueError(f"{self._who} has no layer {name!r}; there are {names}.")

    # Running.

    def __call__(self, x: Any, training: bool | None = None) -> Any:
        """The output for a batch, or for tensors of another model, as `Layer.__call__`; builds the model first.

        training: for a batch, None for what each layer does by default: those that augment images do so, others are in
            inference.
        """
        if is_symbolic(x):
            return self.record(x, training)
        given = self.as_inputs(x)
        several = self.built and len(self.inputs) > 1
        arrays: Any = Parts([np.asarray(part) for part in given]) if several else np.asarray(given)
        self.prepare_input(arrays)
        inputs = [part.astype(self.dtype, copy=False) for part in each(self.adapt(arrays))]
        plan = self.forward_plan
        if training is None and any(layer.trains_by_default for layer in plan.layers):
            values = plan.values(inputs)
            for step in plan.steps:
                step.forward(values, step.layer.trains_by_default, FRESH)
            return self.as_outputs([values[place] for place in plan.outputs])
        return self.as_outputs(self._run(inputs, bool(training), FRESH))

    def record(self, inputs: Any, training: bool | None = None) -> Any:
        """Note a call with tensors of another model, as `Layer.record`; the model becomes a part of that one."""
        given = self.as_inputs(inputs)
        tensors = given if isinstance(given, list) else [given]
        if not self.built:
            self.build(tensors[0].shape)
        shapes = self.compute_output_shape([tensor.shape for tensor in tensors])
        shapes = shapes if isinstance(shapes, list) else [shapes]
        made = tuple(KerasTensor(shape, self.dtype) for shape in shapes)
        Node(self, given, made, training)
        return _nested(made, self._structures[1])

    def as_inputs(self, x: Any) -> Any:
        """What the model is called with as one array or tensor, or, for a model with several inputs, a list of them.

        Raises:
            ValueError: there are more or fewer than the model takes, or other names.
        """
        if self._graph is None:
            return x
        count = len(self.inputs)
        if isinstance(x, Mapping):
            structure = self._structures[0]
            names = sorted(structure) if isinstance(structure, Mapping) else self.input_names
            if set(names) - set(x):
                number = "one input" if count == 1 else f"{count} inputs"
                raise ValueError(f"{self._who} has {number}, {names}; received a dict of {sorted(x)}.")
            x = [x[name] for name in names]
            return x if count > 1 else x[0]
        if count == 1:
            symbolic = isinstance(x, (list, tuple)) and len(x) == 1 and is_symbolic(x)
            return x[0] if symbolic else x
        parts = list(leaves(x)) if is_symbolic(x) else list(x) if isinstance(x, (list, tuple)) else [x]
        if len(parts) != count:
            raise ValueError(f"{self._who} takes a list of {count} inputs, {self.input_names}; received {len(parts)}.")
        return parts

    def as_outputs(self, arrays: Sequence[np.ndarray]) -> Any:
        """The outputs nested as the model's tensors were: one array, a list or a dict."""
        return _nested(arrays, self._structures[1])

    def forward(self, x: Any, training: bool = False, buffers: Buffers = FRESH) -> Any:
        """The output for a batch of the model's dtype, as `Layer.forward`.

        Without training, a batch whose activations would not stay in the cache goes through in slices.
        """
        outputs = self._run(x if isinstance(x, (list, tuple)) else each(x), training, buffers)
        return outputs[0] if len(outputs) == 1 else outputs

    def _run(
        self, inputs: Sequence[np.ndarray], training: bool, buffers: Buffers, calls: Sequence[Any] | None = None
    ) -> list[np.ndarray]:
        plan, count = self.forward_plan, len(inputs[0])
        rows = count if training else self._slice_rows(inputs)
        if rows >= count:
            return plan.run(inputs, training, buffers, calls)
        outputs: list[np.ndarray] = []
        with fixed_filters(-(-count // rows)):
            for start in range(0, count, rows):
                parts = plan.run([x[start : start + rows] for x in inputs], False, buffers)
                if not outputs:
                    outputs = [
                        buffers.empty(self, f"output {index}", (count, *part.shape[1:]), part.dtype)
                        for index, part in enumerate(parts)
                    ]
                for output, part in zip(outputs, parts, strict=True):
                    output[start : start + len(part)] = part
        return outputs

    def _slice_rows(self, inputs: Sequence[np.ndarray]) -> int:
        """Samples of such a batch that go through the layers together."""
        key = inputs[0].shape if len(inputs) == 1 else tuple(x.shape for x in inputs)
        rows = self._slices.get(key)
        if rows is None:
            plan, count = self.forward_plan, len(inputs[0])
            shapes = plan.shapes([x.shape for x in inputs])
            made = [shapes[step.target] for step in plan.steps]
            largest = max([1, *(math.prod(shape[1:]) * np.dtype(self.dtype).itemsize for shape in made)])
            fitting = _SLICE_BYTES // largest
            sliced = fitting >= _LEAST_SLICE and all(step.layer.by_sample for step in plan.steps)
            slices = -(-count // fitting) if sliced else 1
            rows = self._slices[key] = -(-count // max(slices, 1))
        return rows

    def backward(  # type: ignore[override]
        self, grad: Any, buffers: Buffers = FRESH, *, through_activation: bool = True, **_: bool
    ) -> Any:
        """The input's gradient from that of the last `forward`'s output; fills all weights' gradients.

        Arguments as for `Layer.backward`; lists for several inputs or outputs.
        """
        grads = grad if isinstance(grad, (list, tuple)) else [grad]
        combined = () if through_activation else range(len(grads))
        found = BackwardPlan.full(self.forward_plan).run(grads, buffers, combined)
        return found[0] if len(found) == 1 else found

    def adapt(self, x: Any) -> Any:
        """`x`, with a last axis of length 1 added or removed where that makes it the input, as in Keras.

        Raises:
            ValueError: the shape is another than that of the input.
        """
        if self._graph is None:
            return x
        if isinstance(x, Parts):
            return Parts([self._adapt(part, tensor) for part, tensor in zip(x, self._graph.inputs, strict=True)])
        return self._adapt(x, self._graph.inputs[0])

    def _adapt(self, x: np.ndarray, tensor: KerasTensor) -> np.ndarray:
        wanted = tensor.shape
        view = x
        if x.ndim == len(wanted) - 1 and wanted[-1] == 1:
            view = x[..., np.newaxis]
        elif x.ndim == len(wanted) + 1 and x.shape[-1] == 1:
            view = x[..., 0]
        sizes = zip(wanted[1:], view.shape[1:], strict=False)
        if view.ndim != len(wanted) or any(want not in (None, size) for want, size in sizes):
            name = "x" if len(self.inputs) == 1 else f"the input {tensor.name!r}"
            first = f' Its first layer is "{self.forward_plan.layers[0].name}".' if self.forward_plan.layers else ""
            raise ValueError(f"{self._who} expects {name} of shape {wanted}; received shape {x.shape}.{first}")
        return view

    def prepare_input(self, x: Any) -> None:
        """Build the model for batches like `x` if it is not, else check that `x` is one.

        Raises:
            ValueError: the model has no layers, or a layer cannot take what it would get.
        """
        key = tuple(x.shape) if isinstance(x, Parts) else x.shape
        if key in self._accepted:
            return
        if self._graph is None:
            self.build((None, *x.shape[1:]))
        self.compute_output_shape(self.adapt(x).shape)
        self._accepted.add(key)

    # Weights.

    @property
    def trainable(self) -> bool:
        """Whether training changes anything; setting it sets it for all layers. Counts from the next `compile` on."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for layer in self.layers:
            layer.trainable = value

    @property
    def weights(self) -> list[Variable]:
        """The weights of all layers, in order, each once."""
        return _once(weight for layer in self.layers for weight in layer.weights)

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that training changes."""
        return _once(weight for layer in self.layers for weight in layer.trainable_weights if self._trainable)

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
        return [loss for layer in self.layers for loss in layer.losses]

    @property
    def has_losses(self) -> bool:
        """Whether `losses` can hold anything."""
        return any(layer.has_losses for layer in self.layers)

    def _set_graph(self, graph: Graph | None) -> None:
        """Be the model of that graph from now on."""
        if graph is not None:
            nesting.check_calls(graph)
        before = self._graph
        self._graph = graph
        self._structure_changed()
        if graph is None:
            return
        nesting.hold(self)
        dtypes = {step.layer.dtype: step.layer for step in self.forward_plan.steps}
        if len(dtypes) > 1:
            self._graph = before
            self._structure_changed()
            raise ValueError(f"{self._who}: its layers compute in different dtypes: {dtypes}.")
        self.dtype = next(iter(dtypes), dtype_name(None))

    def _structure_changed(self) -> None:
        """Called when there are other layers or weights than before, here or in a model that is a part of this one."""
        for holder in nesting.holders(self):
            holder._structure_changed()
        self._forward_plan = None
        self._accepted.clear()
        self._slices.clear()
        self._output_shapes.clear()

    def __getstate__(self) -> dict[str, Any]:
        state = {"_graph": self._graph, **super().__getstate__()}  # first: see `Graph.__getstate__`
        return {key: value for key, value in state.items() if key != nesting.HELD_BY}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._graph is not None:
            nesting.hold(self)

    def __copy__(self) -> Any:
        raise TypeError(
            f"{self._who} cannot be copied by copy.copy, whose copy would share its layers: copy.deepcopy copies "
            "layers, weights and optimizer, models.clone_model the architecture."
        )

    @property
    def _built_graph(self) -> Graph:
        if self._graph is None:
            raise ValueError(f"{self._who} does not know the shape of its input yet.")
        return self._graph

    @property
    def _who(self) -> str:
        return f'{type(self).__name__} "{self.name}"'


def _once(weights: Any) -> list[Variable]:
    """Without repetitions."""
    return list({id(weight): weight for weight in weights}.values())


def _nested(parts: Sequence[Any], structure: Any) -> Any:
    """The parts, in a model's order, nested as the model's inputs or outputs were given."""
    if isinstance(structure, Mapping):
        return dict(zip(sorted(structure), parts, strict=True))
    return parts[0] if len(parts) == 1 else list(parts)


def _as_shapes(shape: Any) -> tuple[Any, ...]:
    """One shape, or a list of shapes, as a tuple of shapes."""
    several = isinstance(shape, (list, tuple)) and any(isinstance(part, (list, tuple)) for part in shape)
    return tuple(tuple(part) for part in shape) if several else (tuple(shape),)
