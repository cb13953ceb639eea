"""What a file says about a model, and the model made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastconv.layers.budget import weight_budget
from fastconv.saving.hdf5 import MOST_TEXT_BYTES

# What nonsense in a description can raise while a model is made of it.
BAD_DESCRIPTION = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)
_MOST_OBJECTS = 20_000
_LEAST_BYTES = 2  # of a weight: float16 is the smallest


def parse_json(text: str | bytes, name: str) -> dict[str, Any]:
    """A JSON object, of the size that a model's description can have.

    Raises:
        ValueError: it is something else.
    """
    if len(text) > MOST_TEXT_BYTES:
        raise ValueError(f"{name} has {len(text)} bytes, more than {MOST_TEXT_BYTES}.")
    described = json.loads(text)
    if not isinstance(described, dict):
        raise ValueError(f"{name} does not hold a JSON object.")
    objects = str(text).count("class_name")
    if objects > _MOST_OBJECTS:
        raise ValueError(f"{name} describes {objects} objects, more than {_MOST_OBJECTS}.")
    return described


def make_model(described: Mapping[str, Any], weights_bytes: int) -> Any:
    """The model of {"class_name": ..., "config": {...}}.

    Args:
        weights_bytes: of what the weights are in; no more memory is taken than they can fill.

    Raises:
        one of BAD_DESCRIPTION: it describes none.
    """
    from fastconv.models import Sequential
    from fastconv.models.model import Functional

    classes: dict[Any, Any] = {"Sequential": Sequential, "Functional": Functional}
    name, config = described.get("class_name"), described.get("config")
    if not isinstance(name, str) or name not in classes:
        raise ValueError(f"a model is a {' or '.join(classes)}, not {name!r}.")
    if not isinstance(config, Mapping):
        raise ValueError(f"a model's config is a JSON object, not {type(config).__name__}.")
    with weight_budget(weights_bytes // _LEAST_BYTES):
        return classes[name].from_config(config)
