"""`Graph`: the calls of layers that lie between the inputs of a model and its outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from fastconv.layers import Input, InputLayer, Layer
from fastconv.layers.tensor import KerasTensor, Node, map_leaves


class Graph:
    """What a model consists of.

    Attributes:
        nodes: the calls, each after those that it takes tensors from; calls of input layers are among them.
        inputs, outputs: the tensors that the model takes and gives.
        layers: the layers that are called, in Keras's order: the farther from the outputs the earlier.

    Raises:
        ValueError: the outputs depend on tensors that the inputs do not lead to, or two layers have one name.
    """

    def __init__(self, inputs: Sequence[KerasTensor], outputs: Sequence[KerasTensor]) -> None:
        if any(not isinstance(tensor.node.layer, InputLayer) for tensor in inputs):
            inputs, outputs = _from_new_inputs(inputs, outputs)
        known = {id(tensor) for tensor in inputs}
        order, met = _in_order(outputs, known)
        for node in order:
            for tensor in node.sources:
                if id(tensor) not in known:
                    raise ValueError(
                        f"the graph is disconnected: no input leads to {tensor}, which {node.layer} takes."
                    )
            if not node.sources and id(node.outputs[0]) not in known:
                raise ValueError(
                    f"the graph is disconnected: outputs depend on {node.outputs[0]}, which is not among the inputs."
                )
            known.update(id(tensor) for tensor in node.outputs)
        self.layers = _by_depth(order, met, inputs)
        names = [layer.name for layer in self.layers]
        for name, count in Counter(names).items():
            if count > 1:
                raise ValueError(f'the name "{name}" is that of {count} layers; give each its own.')
        ordered = {id(node) for node in order}
        unused = [tensor.node for tensor in inputs if id(tensor.node) not in ordered]
        self.nodes = (*unused, *order)
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)

    def index(self, node: Node) -> int:
        """The number of the call among those of its layer in this graph."""
        own = {id(one) for one in self.nodes}
        return [one for one in node.layer._nodes if id(one) in own].index(node)

    def nodes_of(self, layer: Layer) -> list[Node]:
        """The calls of a layer in this graph, in the order in which they were made."""
        own = {id(node) for node in self.nodes}
        return [node for node in layer._nodes if id(node) in own]

    def __getstate__(self) -> dict[str, Any]:
        # The calls in their order come first: then whatever one refers to is known already, however long the chain.
        return {"nodes": self.nodes, **self.__dict__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for node in self.nodes:
            if node not in node.layer._nodes:  # as it is where two models share it
                node.layer._nodes.append(node)


def inputs_of(tensor: KerasTensor) -> list[KerasTensor]:
    """The tensors of `Input` that a tensor depends on."""
    return [node.outputs[0] for node in _in_order([tensor], set())[0] if not node.sources]


def _in_order(outputs: Sequence[KerasTensor], ends: set[int]) -> tuple[list[Node], dict[int, int]]:
    """The calls that the outputs depend on, each after those before it, and none that makes one of the tensors `ends`
    from others; and when each layer was met on the way from the outputs to the inputs."""
    order: list[Node] = []
    begun: set[int] = set()
    met: dict[int, int] = {}
    stack: list[tuple[Node, Iterator[KerasTensor]]] = []

    def enter(tensor: KerasTensor) -> None:
        node = tensor.node
        if id(node) not in begun and not (id(tensor) in ends and node.sources):
            begun.add(id(node))
            met.setdefault(id(node.layer), len(met))
            stack.append((node, iter(node.sources)))

    for output in outputs:
        enter(output)
        while stack:
            node, sources = stack[-1]
            tensor = next(sources, None)
            if tensor is None:
                order.append(node)
                stack.pop()
            else:
                enter(tensor)
    return order, met


def _by_depth(order: Sequence[Node], met: dict[int, int], inputs: Sequence[KerasTensor]) -> list[Layer]:
    """The layers as Keras orders them: by the longest way to an output, then as they were met."""
    depths: dict[int, int] = {}  # of a call
    layers: dict[int, tuple[int, Layer]] = {}
    for node in reversed(order):
        depth = max(depths.get(id(node), 0), layers.get(id(node.layer), (0, node.layer))[0])
        layers[id(node.layer)] = depth, node.layer
        for tensor in node.sources:
            depths[id(tensor.node)] = max(depth + 1, depths.get(id(tensor.node), 0))
    for tensor in inputs:
        if id(tensor.node.layer) not in layers:  # no output depends on it
            layers[id(tensor.node.layer)] = 0, tensor.node.layer
    found = sorted(layers.items(), key=lambda item: (-item[1][0], met.get(item[0], -1)))
    return [layer for _, (_, layer) in found]


def _from_new_inputs(
    inputs: Sequence[KerasTensor], outputs: Sequence[KerasTensor]
) -> tuple[list[KerasTensor], list[KerasTensor]]:
    """The same calls once more, from inputs of their own where tensors in the middle of a model were given."""
    copies: dict[int, KerasTensor] = {}
    for tensor in inputs:
        is_input = isinstance(tensor.node.layer, InputLayer)
        copies[id(tensor)] = (
            tensor if is_input else Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=f"{tensor.name}_input")
        )
    for node in _in_order(outputs, set(copies))[0]:
        if not node.sources:
            copies.setdefault(id(node.outputs[0]), node.outputs[0])
            continue
        made = tuple(KerasTensor(tensor.shape, tensor.dtype) for tensor in node.outputs)
        Node(node.layer, map_leaves(lambda tensor: copies[id(tensor)], node.inputs), made, node.training)
        copies.update(zip(map(id, node.outputs), made, strict=True))
    return [copies[id(tensor)] for tensor in inputs], [copies[id(tensor)] for tensor in outputs]
