"""`clone_model`: the same layers once more, with new weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastconv.layers import InputLayer, Layer
from fastconv.layers.tensor import leaves, map_leaves
from fastconv.models.model import Model
from fastconv.models.sequential import Sequential


def clone_model(model: Model, input_tensors: Any = None, clone_function: Callable[[Layer], Layer] | None = None) -> Any:
    """A model of the same architecture with layers and weights of its own, `keras.models.clone_model`.

    Args:
        model: a Sequential, or a `Model` made of tensors.
        input_tensors: tensors for the new model to begin with, in place of new inputs.
        clone_function: layer -> the layer that takes its place; by default one made from its config. Inputs are not
            given to it.

    Raises:
        ValueError: `model` is no model, or `clone_function` returned no layer.
    """
    if not isinstance(model, Model):
        raise ValueError(f"model must be a Sequential or a Model; received {model!r}.")
    made: dict[int, Layer] = {}

    def clone(layer: Layer) -> Layer:
        if id(layer) not in made:
            copy = type(layer).from_config(layer.get_config()) if clone_function is None else clone_function(layer)
            if not isinstance(copy, Layer):
                raise ValueError(f"clone_function must return a layer; for {layer!r} it returned {copy!r}.")
            made[id(layer)] = copy
        return made[id(layer)]

    given = None if input_tensors is None else list(leaves(input_tensors))
    if isinstance(model, Sequential):
        return _clone_stack(model, clone, given)
    graph = model._built_graph
    if given is not None and len(given) != len(graph.inputs):
        raise ValueError(f"input_tensors must be {len(graph.inputs)} tensors; received {len(given)}.")
    begin = [_clone_input(tensor.node.layer).output for tensor in graph.inputs] if given is None else given
    tensors = dict(zip(map(id, graph.inputs), begin, strict=True))
    for node in graph.nodes:
        if node.inputs is not None:
            taken = map_leaves(lambda tensor: tensors[id(tensor)], node.inputs)
            outputs = clone(node.layer).record(taken, node.training)
            tensors.update(zip(map(id, node.outputs), leaves(outputs), strict=True))
    inputs, outputs = (map_leaves(lambda tensor: tensors[id(tensor)], ends) for ends in (model.input, model.output))
    copy = type(model)(inputs, outputs, name=model.name)
    copy._trainable = model._trainable
    return copy


def _clone_stack(model: Sequential, clone: Callable[[Layer], Layer], given: list[Any] | None) -> Sequential:
    copies = [clone(layer) for layer in model.layers]
    if given is not None:
        return Sequential([*given, *copies], name=model.name)
    begin = [_clone_input(model._input)] if model._input is not None else []
    return Sequential([*begin, *copies], name=model.name)


def _clone_input(layer: Any) -> InputLayer:
    return InputLayer.from_config(layer.get_config())
