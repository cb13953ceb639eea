"""Models that are parts of other models: these follow a change of a part's layers, or it is refused.

A model is known to those it is a part of by weak references, which copies and files do not keep: a copy of the whole
makes them anew.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

from fastconv.models.graph import Graph

HELD_BY = "_held_by"  # the attribute of a part


def hold(model: Any) -> None:
    """Let the models that are layers of `model` know it."""
    for layer in model._graph.layers:
        if is_model(layer):
            # A copy may be restored in part only, and not have the attribute yet.
            vars(layer).setdefault(HELD_BY, weakref.WeakSet()).add(model)


def holders(model: Any) -> list[Any]:
    """The models that `model` is a part of."""
    known = [holder for holder in vars(model).get(HELD_BY, ()) if holder._graph is not None]
    return [holder for holder in known if any(layer is model for layer in holder._graph.layers)]


def check_change(model: Any, output_shape: Any) -> None:
    """Called before a change of the layers, with the shape of the output after it, None for no layers left.

    Raises:
        ValueError: a model that `model` is a part of counts on another output; the message names both.
    """
    if not model.built or output_shape == model.output_shape or not holders(model):
        return
    gc.collect()  # of models that nobody has any more
    found = sorted(holder._who for holder in holders(model))
    if found:
        after = "no layers" if output_shape is None else f"outputs of shape {output_shape}"
        raise ValueError(
            f"{model._who} is a part of {found[0]}, which takes its outputs of shape {model.output_shape}: it cannot "
            f"become a model with {after}. Change it before it becomes a part of another, or make a new Sequential of "
            "its layers."
        )


def check_calls(graph: Graph) -> None:
    """ValueError if a model in the graph gives other outputs than it did when it was called."""
    for node in graph.nodes:
        model: Any = node.layer
        if not is_model(model):
            continue
        given, made = [tensor.shape for tensor in node.sources], [tensor.shape for tensor in node.outputs]
        now = model.compute_output_shape(given) if model.built else None
        if now != (made if len(made) > 1 else made[0]):
            after = "no layers" if now is None else f"outputs of shape {now}"
            raise ValueError(
                f"{model._who} gave outputs of shape {made[0]} when it was called and has {after}: call it again."
            )


def is_model(layer: Any) -> bool:
    """Whether a layer is a model."""
    return hasattr(layer, "_graph")
