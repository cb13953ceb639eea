"""The table of the functions that turn layers into ONNX nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastconv.export.onnx_graph import OnnxGraph

# (graph, layer, the input's name or a list of names, its shape or a list of shapes) -> the output's name
Convert = Callable[[OnnxGraph, Any, Any, Any], str]
_TABLE: dict[str, Convert] = {}


def converts(*names: str) -> Callable[[Convert], Convert]:
    """Decorates the function that makes the nodes of layers of the classes of these names, and of the library's own
    classes derived from them."""

    def register(convert: Convert) -> Convert:
        _TABLE.update(dict.fromkeys(names, convert))
        return convert

    return register


def supported_layers() -> list[str]:
    """The names of the classes, and base classes, that can be exported."""
    return sorted(_TABLE)


def convert_layer(graph: OnnxGraph, layer: Any, x: Any, shape: Any) -> str:
    """The nodes for a layer, behind those that make x.

    Raises:
        ValueError: there are none for it; the message lists those that there are.
    """
    cls = type(layer)
    # A class of the user's own may compute something else than the one that it is derived from.
    bases = cls.__mro__ if cls.__module__.startswith("fastconv.layers.") else (cls,)
    convert = next((_TABLE[base.__name__] for base in bases if base.__name__ in _TABLE), None)
    if convert is None:
        raise ValueError(
            f'the layer "{layer.name}" ({type(layer).__name__}) has no ONNX form here. There are '
            f"{', '.join(supported_layers())}; fastconv.export.converts adds others."
        )
    return convert(graph, layer, x, shape)
