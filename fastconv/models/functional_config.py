"""The config of a graph of layers, in Keras 3's layout: written, and read back.

layers: each with its own config, its name, and inbound_nodes: the calls, each with the tensors that it takes
input_layers, output_layers: [name of the layer, number of its call, number of the call's output]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastconv import layers as layer_module
from fastconv.layers import Layer
from fastconv.layers.tensor import KerasTensor, Node, map_leaves
from fastconv.models.graph import Graph


def describe(model: Any) -> dict[str, Any]:
    """The config of a model."""
    graph: Graph = model._built_graph
    layers = []
    for layer in graph.layers:
        calls = [_describe_call(graph, node) for node in graph.nodes_of(layer) if node.inputs is not None]
        layers.append({**layer_module.serialize(layer), "name": layer.name, "inbound_nodes": calls})
    return {
        "name": model.name,
        "trainable": model._trainable,
        "layers": layers,
        "input_layers": map_leaves(lambda tensor: _end(graph, tensor), model.input),
        "output_layers": map_leaves(lambda tensor: _end(graph, tensor), model.output),
    }


def restore(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the `Model` that a config describes; its layers are new.

    Raises:
        ValueError: the config has another form, names layers that it does not describe, or calls that cannot be made.
    """
    try:
        layers: dict[str, Layer] = {}
        calls: list[tuple[Layer, Any]] = []
        for entry in config["layers"]:
            layer = layers[entry["name"]] = layer_module.deserialize(entry)
            calls += [(layer, call) for call in entry["inbound_nodes"]]
        _make(calls, layers)
        inputs, outputs = (_map_ends(layers, config[key]) for key in ("input_layers", "output_layers"))
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"this config describes no graph of layers: {type(error).__name__}: {error}.") from error
    frozen = config.get("trainable", True) is False
    return {"inputs": inputs, "outputs": outputs, "name": config.get("name"), "trainable": False if frozen else None}


def _make(calls: Sequence[tuple[Layer, Any]], layers: Mapping[str, Layer]) -> None:
    """Call the layers, each call once those before it have made the tensors that it takes."""
    while calls:
        later = []
        blocked: set[int] = set()  # a layer's calls are made in their order
        for layer, call in calls:
            arguments = _arguments(call, layers) if id(layer) not in blocked else None
            if arguments is None:
                blocked.add(id(layer))
                later.append((layer, call))
            else:
                layer.record(*arguments)
        if len(later) == len(calls):
            raise ValueError(
                f"some calls of layers take tensors that nothing makes: {[layer.name for layer, _ in later]}."
            )
        calls = later


def _arguments(call: Mapping[str, Any], layers: Mapping[str, Layer]) -> tuple[Any, Any] | None:
    """What a layer is called with; None if a tensor among that is not made yet."""
    if not isinstance(call, Mapping):
        raise ValueError(f"a call of a layer looks like {{'args': list, 'kwargs': dict}}, not {call!r}.")
    given, options = list(call["args"]), dict(call["kwargs"])
    for key in ("inputs", "x"):
        if not given and key in options:
            given.append(options.pop(key))
    training = options.pop("training", None)
    unknown = {key: value for key, value in options.items() if value is not None}
    if len(given) != 1 or unknown:
        raise ValueError(f"a layer is called with one structure of tensors and perhaps training; received {call!r}.")
    missing = False

    def find(part: Any) -> Any:
        nonlocal missing
        if isinstance(part, Mapping) and part.get("class_name") == "__keras_tensor__":
            name, call_number, index = part["config"]["keras_history"]
            nodes = layers[name]._nodes
            missing = missing or call_number >= len(nodes)
            return None if call_number >= len(nodes) else nodes[call_number].outputs[index]
        if isinstance(part, (list, tuple)):
            return [find(one) for one in part]
        if isinstance(part, Mapping):
            return {key: find(one) for key, one in part.items()}
        raise ValueError(f"a layer is called with tensors; received {part!r}.")

    inputs = find(given[0])
    return None if missing else (inputs, training)


def _map_ends(layers: Mapping[str, Layer], structure: Any) -> Any:
    """The tensors that [name, number of the call, number of the output] stand for, nested as they are."""
    if isinstance(structure, Mapping):
        return {key: _map_ends(layers, part) for key, part in structure.items()}
    if isinstance(structure, (list, tuple)) and len(structure) == 3 and isinstance(structure[0], str):
        name, call, index = structure
        return layers[name]._nodes[call - _own_calls(layers[name])].outputs[index]
    if isinstance(structure, (list, tuple)):
        return [_map_ends(layers, part) for part in structure]
    raise ValueError(f"an input or output is [layer, call, output]; received {structure!r}.")


def _end(graph: Graph, tensor: KerasTensor) -> list[Any]:
    layer = tensor.node.layer
    return [layer.name, graph.index(tensor.node) + _own_calls(layer), tensor.index]


def _own_calls(layer: Layer) -> int:
    """Where Keras begins to count a layer's calls at the ends of a model: it takes a functional one's own for the
    first."""
    from fastconv.models.model import Functional

    return int(isinstance(layer, Functional))


def _describe_call(graph: Graph, node: Node) -> dict[str, Any]:
    def tensor_config(tensor: KerasTensor) -> dict[str, Any]:
        history = [tensor.node.layer.name, graph.index(tensor.node), tensor.index]
        config = {"shape": tensor.shape, "dtype": tensor.dtype, "keras_history": history}
        return {"class_name": "__keras_tensor__", "config": config}

    options = {} if node.training is None else {"training": node.training}
    return {"args": [map_leaves(tensor_config, node.inputs)], "kwargs": options}
