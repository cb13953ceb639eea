"""The table that `Sequential.summary` prints."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

_NARROWEST = 65
_WIDEST = 80


def print_summary(
    model: Any,
    line_length: int | None = None,
    print_fn: Callable[[str], object] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Sequence[str] | None = None,
) -> None:
    """Print one row per layer (name and class, output shape, number of parameters) and the totals.

    Args:
        model: anything with `name`, `built` and `layers`.
        line_length: characters in a line; by default 65 to 80, as the contents need. Longer names wrap.
        print_fn: called once with the whole text in place of `print`.
        expand_nested: accepted for Keras's sake: a Sequential here holds no other models.
        show_trainable: whether to add a column with Y or N.
        layer_range: names, or regular expressions for them, of the first and the last layer to show.

    Raises:
        ValueError: `layer_range` is not a pair or matches no layer; `line_length` is too short.
    """
    layers = _in_range(model.layers, layer_range)
    rows = [_row(layer, show_trainable) for layer in layers]
    header = ["Layer (type)", "Output Shape", "Param #"] + ["Trainable"] * show_trainable
    widths = _widths([header, *rows], line_length)
    thin, thick = "_" * sum(widths), "=" * sum(widths)
    lines = [f'Model: "{model.name}"', thin, *_cells(header, widths), thick]
    for index, row in enumerate(rows):
        lines += [*([thin] if index else []), *_cells(row, widths)]
    lines += [thick, *_totals(layers), thin]
    if not model.built:
        lines.append("Not built yet: shapes and parameters are known after build(input_shape) or a first batch.")
    (print_fn or print)("\n".join(lines))


def _row(layer: Any, show_trainable: bool) -> list[str]:
    shape = str(tuple(layer.output_shape)) if layer.built else "?"
    parameters = str(layer.count_params()) if layer.built else "0 (unbuilt)"
    row = [f"{layer.name} ({type(layer).__name__})", shape, parameters]
    return row + ["Y" if layer.trainable else "N"] * show_trainable


def _totals(layers: Sequence[Any]) -> list[str]:
    total = sum(layer.count_params() for layer in layers if layer.built)
    trainable = sum(weight.value.size for layer in layers for weight in layer.trainable_weights)
    return [
        f"Total params: {total:,}",
        f"Trainable params: {trainable:,}",
        f"Non-trainable params: {total - trainable:,}",
    ]


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


def _widths(rows: list[list[str]], line_length: int | None) -> list[int]:
    """Columns as wide as their contents and two spaces; the first takes what is left of the line."""
    first, *others = (max(map(len, column)) + 2 for column in zip(*rows, strict=True))
    total = line_length or min(max(first + sum(others), _NARROWEST), _WIDEST)
    rest = total - sum(others)
    if rest < len("Layer (type)  "):
        if line_length is not None:
            raise ValueError(f"line_length must be at least {sum(others) + 14} for this model, not {total}.")
        rest = len("Layer (type)  ")
    return [rest, *others]


def _cells(row: list[str], widths: list[int]) -> list[str]:
    """The lines of one row: only the first cell can be too long for its column."""
    name, *others = row
    lines = textwrap.wrap(name, widths[0] - 1)
    rest = "".join(cell.ljust(width) for cell, width in zip(others, widths[1:], strict=True))
    return [f"{lines[0].ljust(widths[0])}{rest}".rstrip(), *lines[1:]]
