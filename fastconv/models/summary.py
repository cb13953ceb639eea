"""The table that `Model.summary` prints."""

from __future__ import annotations

import itertools
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

_NARROWEST = 65
_WIDEST = 80
_WIDEST_GRAPH = 110  # with a column for connections
_STEP = "   "  # before the name of a layer in a model in the model


def print_summary(
    model: Any,
    line_length: int | None = None,
    print_fn: Callable[[str], object] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Sequence[str] | None = None,
) -> None:
    """Print one row per layer (name and class, output shape, number of parameters) and the totals.

    Where layers do not stand one behind another, each row also says what the layer is connected to: name[call][output]
    of the layers whose outputs it takes.

    Args:
        model: anything with `name`, `built` and `layers`.
        line_length: characters in a line; by default 65 to 80, 110 with connections, as the contents need. Longer
            names wrap.
        print_fn: called once with the whole text in place of `print`.
        expand_nested: whether to show the layers of models in the model.
        show_trainable: whether to add a column with Y or N, or - for a layer without weights.
        layer_range: names, or regular expressions for them, of the first and the last layer to show.

    Raises:
        ValueError: `layer_range` is not a pair or matches no layer; `line_length` is too short.
    """
    layers = _in_range(model.layers, layer_range)
    graph = None if _is_chain(model) else model._graph
    rows = [row for layer in layers for row in _rows(layer, graph, expand_nested, show_trainable)]
    header = ["Layer (type)", "Output Shape", "Param #"]
    header += ["Connected to"] * (graph is not None) + ["Trainable"] * show_trainable
    widths = _widths([header, *rows], line_length, _WIDEST if graph is None else _WIDEST_GRAPH)
    thin, thick = "_" * sum(widths), "=" * sum(widths)
    lines = [f'Model: "{model.name}"', thin, *_cells(header, widths), thick]
    for index, row in enumerate(rows):
        lines += [*([thin] if index else []), *_cells(row, widths)]
    lines += [thick, *_totals(layers), thin]
    if not model.built:
        lines.append("Not built yet: shapes and parameters are known after build(input_shape) or a first batch.")
    (print_fn or print)("\n".join(lines))


def _is_chain(model: Any) -> bool:
    """Whether every layer takes what the one before it makes, and nothing else does."""
    graph = getattr(model, "_graph", None)
    if graph is None or not any(layer is model.layers[0] for layer in graph.layers[:1]):
        return True  # not built, or a Sequential, which does not count its input among its layers
    nodes = graph.nodes
    return all(node.sources == before.outputs for before, node in itertools.pairwise(nodes)) and len(nodes) == len(
        graph.layers
    )


def _rows(layer: Any, graph: Any, expand: bool, show_trainable: bool, level: int = 0) -> Iterator[list[str]]:
    """The row of a layer, and those of the layers within it if these are wanted."""
    shape = str(layer.output_shape) if layer.built else "?"
    parameters = str(layer.count_params()) if layer.built else "0 (unbuilt)"
    row = [f"{_STEP * level}{layer.name} ({type(layer).__name__})", shape, parameters]
    if graph is not None:
        taken = [tensor for node in graph.nodes_of(layer) for tensor in node.sources] if level == 0 else []
        names = [f"{tensor.node.layer.name}[{graph.index(tensor.node)}][{tensor.index}]" for tensor in taken]
        row.append(",\n".join(names) or "-")
    if show_trainable:
        row.append("-" if not layer.weights else "Y" if layer.trainable else "N")
    yield row
    if expand:
        for inner in getattr(layer, "layers", ()):
            yield from _rows(inner, graph, expand, show_trainable, level + 1)


def _totals(layers: Sequence[Any]) -> list[str]:
    total = _size(weight for layer in layers if layer.built for weight in layer.weights)
    trainable = _size(weight for layer in layers for weight in layer.trainable_weights)
    return [
        f"Total params: {total:,}",
        f"Trainable params: {trainable:,}",
        f"Non-trainable params: {total - trainable:,}",
    ]


def _size(weights: Iterable[Any]) -> int:
    """The number of elements, each weight counted once."""
    return sum(math.prod(weight.shape) for weight in {id(weight): weight for weight in weights}.values())


def _in_range(layers: Sequence[Any], layer_range: Sequence[str] | None) -> Sequence[Any]:
    if layer_range is None:
        return layers
    if isinstance(layer_range, str) or len(layer_range) != 2:
        raise ValueError(f"layer_range must be the names of a first and a last layer, not {layer_range!r}.")
    first, last = (
        [index for index, layer in enumerate(layers) if layer.name == name or re.match(name, layer.name)]
        for name in layer_range
    )
    if not first or not last:
        names = ", ".join(layer.name for layer in layers)
        raise ValueError(f"layer_range {tuple(layer_range)!r} matches no layers. There are: {names}.")
    return layers[min(first) : max(last) + 1]


def _widths(rows: list[list[str]], line_length: int | None, widest: int) -> list[int]:
    """Columns as wide as their contents and two spaces; the first takes what is left of the line."""
    columns = zip(*rows, strict=True)
    first, *others = (max(len(line) for cell in column for line in cell.split("\n")) + 2 for column in columns)
    total = line_length or min(max(first + sum(others), _NARROWEST), widest)
    rest = total - sum(others)
    if rest < len("Layer (type)  "):
        if line_length is not None:
            raise ValueError(f"line_length must be at least {sum(others) + 14} for this model, not {total}.")
        rest = len("Layer (type)  ")
    return [rest, *others]


def _cells(row: list[str], widths: list[int]) -> list[str]:
    """The lines of one row: the first cell is wrapped where it is too long for its column."""
    indent = row[0][: len(row[0]) - len(row[0].lstrip(_STEP))]
    wrapped = textwrap.wrap(row[0], widths[0] - 1, subsequent_indent=indent)
    columns = [wrapped, *(cell.split("\n") for cell in row[1:])]
    lines = itertools.zip_longest(*columns, fillvalue="")
    return ["".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip() for line in lines]
