"""A model as boxes and arrows, `keras.utils.plot_model`; matplotlib draws it, so that no Graphviz is needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fastconv.plot.figure import Path
from fastconv.utils.optional import require

_LINE, _GAP = 0.155, 0.34  # inches: the height of a line of text, and between rows of boxes
_CHARACTER, _BETWEEN = 0.075, 0.3  # inches: the width of a character, and between boxes of a row
_PASSES = 4  # of the search for an order of each row in which few arrows cross


@dataclass(eq=False)
class _Box:
    """A call of a layer, or, without a text, a place where an arrow passes a row."""

    text: str = ""
    row: int = 0
    place: float = 0.0  # of its middle, across
    sources: list[_Box] = field(default_factory=list)

    @property
    def width(self) -> float:
        return max(map(len, self.text.split("\n"))) * _CHARACTER + 0.2 if self.text else 0.1


def plot_model(
    model: Any,
    to_file: Path | None = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
) -> Any:
    """Draw a built model.

    Args:
        to_file: where to write the picture, PNG, SVG or PDF by its ending; None only returns it.
        show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable: what stands in a layer's box
            beside its class.
        rankdir: "TB" from top to bottom, "LR" from left to right.
        expand_nested: whether the layers of models within the model are drawn instead of those models.
        dpi: dots an inch of a PNG.

    Returns:
        The matplotlib figure.

    Raises:
        ValueError: the model is not built, or `rankdir` is another.
        ImportError: matplotlib is not installed: `pip install 'fastconv[plot]'`.
    """
    if rankdir not in ("TB", "LR"):
        raise ValueError(f'rankdir must be "TB" or "LR"; received {rankdir!r}.')
    if not model.built:
        raise ValueError(f"{model.name} must be built before it is drawn: call build(input_shape).")

    def describe(layer: Any, shape: Any) -> str:
        name = f"{layer.name} ({type(layer).__name__})" if show_layer_names else type(layer).__name__
        lines = [name]
        activation = getattr(layer, "output_activation", None)
        if show_layer_activations and activation not in (None, "linear"):
            lines.append(f"activation: {activation}")
        if show_shapes:
            lines.append(f"output: {shape}")
        if show_dtype:
            lines.append(f"dtype: {layer.dtype}")
        if show_trainable and layer.weights:
            lines.append("trainable" if layer.trainable else "not trainable")
        return "\n".join(lines)

    boxes = list((_steps if expand_nested else _calls)(model, describe))
    rows = _rows(boxes)
    _arrange(rows)
    return _draw(rows, rankdir, to_file, dpi)


def _calls(model: Any, describe: Any) -> Iterator[_Box]:
    """A box for each call of a layer of the model."""
    made: dict[int, _Box] = {}
    for node in model._graph.nodes:
        shapes = [tensor.shape for tensor in node.outputs]
        box = _Box(describe(node.layer, shapes[0] if len(shapes) == 1 else shapes))
        box.sources = [made[id(tensor)] for tensor in node.sources]
        made.update((id(tensor), box) for tensor in node.outputs)
        yield box


def _steps(model: Any, describe: Any) -> Iterator[_Box]:
    """A box for each input, and for each call of a layer, those of models in the model too."""
    plan = model.forward_plan
    shapes = plan.shapes([tensor.shape for tensor in model.inputs])
    made = {place: _Box(describe(tensor.node.layer, tensor.shape)) for place, tensor in enumerate(model.inputs)}
    yield from made.values()
    for step in plan.steps:
        box = made[step.target] = _Box(describe(step.layer, shapes[step.target]))
        box.sources = [made[place] for place in step.sources]
        yield box


def _rows(boxes: list[_Box]) -> list[list[_Box]]:
    """The boxes in rows, each below all that it takes from; an arrow over several rows has a place in each."""
    for box in boxes:
        box.row = 1 + max((source.row for source in box.sources), default=-1)
    rows: list[list[_Box]] = [[] for _ in range(1 + max(box.row for box in boxes))]
    for box in boxes:
        rows[box.row].append(box)
        for index, source in enumerate(box.sources):
            for row in range(source.row + 1, box.row):
                source = _Box(row=row, sources=[source])
                rows[row].append(source)
            box.sources[index] = source
    return rows


def _arrange(rows: list[list[_Box]]) -> None:
    """Places across: each box near the middle of those that it takes from and that take from it."""
    takers: dict[int, list[_Box]] = {}
    for row in rows:
        for box in row:
            for source in box.sources:
                takers.setdefault(id(source), []).append(box)
        _spread(row)
    for turn in range(_PASSES):
        for row in rows if turn % 2 == 0 else reversed(rows):
            for box in row:
                near = box.sources if turn % 2 == 0 else takers.get(id(box), [])
                if near:
                    box.place = sum(other.place for other in near) / len(near)
            row.sort(key=lambda box: box.place)
            _spread(row)


def _spread(row: list[_Box]) -> None:
    """Move boxes that overlap apart, in their order, about the middle of where they were."""
    middle = sum(box.place for box in row) / len(row)
    for before, box in zip(row, row[1:], strict=False):
        box.place = max(box.place, before.place + (before.width + box.width) / 2 + _BETWEEN)
    shift = middle - sum(box.place for box in row) / len(row)
    for box in row:
        box.place += shift


def _draw(rows: list[list[_Box]], rankdir: str, to_file: Path | None, dpi: int) -> Any:
    pyplot = require("matplotlib.pyplot", "plot")
    lines = max(box.text.count("\n") + 1 for row in rows for box in row)
    height, widest = lines * _LINE + 0.12, max(box.width for row in rows for box in row)
    low = min(box.place - box.width / 2 for row in rows for box in row)
    high = max(box.place + box.width / 2 for row in rows for box in row)
    down = rankdir == "TB"
    step = height + _GAP if down else widest + _GAP
    across = 1.0 if down else (height + _BETWEEN / 2) / (widest + _BETWEEN)  # rows lie on their side
    figure = pyplot.figure()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()

    def point(box: _Box, along: float = 0.0) -> tuple[float, float]:
        """A box's middle, or `along` of its half before or behind that."""
        half = (height if down else box.width) / 2 if box.text else 0.0
        place, depth = (box.place - low) * across, box.row * step + along * half
        return (place, -depth) if down else (depth, -place)

    frame = {"boxstyle": "round,pad=0.3", "facecolor": "#eef3fa", "edgecolor": "#5b7aa6", "linewidth": 0.8}
    for row in rows:
        for box in row:
            if box.text:
                axes.text(*point(box), box.text, ha="center", va="center", fontsize=8, bbox=frame)
            for source in box.sources:
                style = {"arrowstyle": "-|>" if box.text else "-", "color": "0.35", "linewidth": 0.8}
                gaps = {"shrinkA": bool(source.text), "shrinkB": bool(box.text)}
                axes.annotate("", point(box, -1), point(source, 1), arrowprops={**style, **gaps})
    extent = height if down else widest  # of a row
    span, depth = (-0.2, (high - low) * across + 0.2), (-extent / 2 - 0.15, (len(rows) - 0.5) * step + 0.15)
    axes.set(xlim=span if down else depth, ylim=(-depth[1], -depth[0]) if down else (-span[1], -span[0]))
    width, tall = (span[1] - span[0], depth[1] - depth[0]) if down else (depth[1] - depth[0], span[1] - span[0])
    figure.set_size_inches(width, tall)
    if to_file is not None:
        figure.savefig(to_file, dpi=dpi)
    return figure
