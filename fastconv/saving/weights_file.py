"""Keras 3's HDF5 layout of weights, written and read with distrust.

    /layers/<class in snake case; _1, _2 ... from its second layer on>/vars/<i>    as in layer.weights
    /layers/<class of a model>/layers/...                                          the layers of a model among them
    /optimizer/vars/<i>                                                            as in optimizer.variables

A layer's vars has, beyond Keras, the attribute "random_state" where the layer draws random numbers. A file is never
asked for more than the model expects: names come from the model; see `hdf5` for what is read of what lies there.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import h5py
import numpy as np

from fastconv.saving.hdf5 import Group
from fastconv.serialization import snake_case
from fastconv.variable import Variable

_RANDOM_STATE = "random_state"


class RandomState:
    """What decides a layer's next random numbers, to be assigned as a variable is."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    def assign(self, values: Sequence[int]) -> None:
        for key, value in zip(self._layer.random_state_keys, values, strict=True):
            setattr(self._layer, key, int(value))


Assignments = list[tuple[Any, Any]]  # of variables or random states, and what to assign to each


def weights_to_bytes(model: Any, include_optimizer: bool = True) -> bytes:
    """The weights of all layers and, if the model is compiled, the state of its optimizer."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        write_weights(file, model, include_optimizer)
    return memory.getvalue()


def write_weights(file: h5py.File, model: Any, include_optimizer: bool = True) -> None:
    """`weights_to_bytes` into a file that is open."""
    file.create_group("vars").attrs["name"] = model.name
    for path, layer in _groups(model.layers):
        group = _write(file, path, layer.name, _own_weights(layer))
        if layer.random_state_keys:
            state = [getattr(layer, key) for key in layer.random_state_keys]
            group.attrs[_RANDOM_STATE] = np.array(state, np.uint64)
    if include_optimizer and model.optimizer is not None:
        _write(file, "optimizer", model.optimizer.name, model.optimizer.variables_for(model.trainable_weights))


def read_weights(root: Group, model: Any, same_optimizer: bool, skip_mismatch: bool = False) -> Assignments:
    """What to assign to which variable; the model is left as it is.

    Args:
        root: of the file.
        model: a built model. If it is compiled and the file has an optimizer's state, that is read as well.
        same_optimizer: whether state of another kind of optimizer is an error; else it is left out, with a
            warning.
        skip_mismatch: whether a layer that does not fit is left as it is, with a warning.

    Raises:
        ValueError: the file is damaged, does not fit the model, or has links, external data or objects in it.
    """
    assignments = _read_layers(root, model, skip_mismatch)
    try:
        assignments += _read_optimizer(root, model)
    except _OtherOptimizer as error:
        if same_optimizer:
            raise
        warnings.warn(f"{error} The optimizer keeps the state it has.", stacklevel=4)
    return assignments


def _groups(layers: Iterable[Any], path: str = "layers", met: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Each layer once, with its group; a model among the layers is followed by its own layers."""
    met = set() if met is None else met
    counts: Counter[str] = Counter()
    for layer in layers:
        name = snake_case(type(layer).__name__)
        place = f"{path}/{name}" + (f"_{counts[name]}" if counts[name] else "")
        counts[name] += 1
        if id(layer) not in met:
            met.add(id(layer))
            yield place, layer
            yield from _groups(_inner(layer), f"{place}/{path.rpartition('/')[2]}", met)


def _inner(layer: Any) -> list[Any]:
    """The layers of a model among layers."""
    return layer.layers if hasattr(layer, "layers") else []


def _own_weights(layer: Any) -> list[Variable]:
    return [] if _inner(layer) else layer.weights


def _write(file: h5py.File, path: str, name: str, variables: Sequence[Variable]) -> h5py.Group:
    group = file.create_group(f"{path}/vars")
    group.attrs["name"] = name
    for index, variable in enumerate(variables):
        group.create_dataset(str(index), data=variable.value)
    return group


class _OtherOptimizer(ValueError):
    """The optimizer's state in a file does not fit the model's optimizer."""


def _read_layers(root: Group, model: Any, skip_mismatch: bool) -> Assignments:
    early = "_layer_checkpoint_dependencies"  # in the first versions of Keras 3
    top = early if early in root else "layers"
    expected = dict(_groups(model.layers, top))
    assignments: Assignments = []
    for path, layer in expected.items():
        try:
            assignments += _read_layer(root, path, layer)
        except ValueError as error:
            if not skip_mismatch:
                raise
            warnings.warn(f"{error} The layer is left as it is.", stacklevel=5)
    for folder in sorted({path.rpartition("/")[0] for path in expected}):
        for name in root.group(folder) or ():
            path = f"{folder}/{name}"
            if path not in expected and len(root.group(f"{path}/vars") or ()) and not skip_mismatch:
                raise root.refuse(f"{path} has weights, but the model has no such layer")
    return assignments


def _read_layer(root: Group, path: str, layer: Any) -> Assignments:
    group = root.group(f"{path}/vars")
    count, weights = 0 if group is None else len(group), _own_weights(layer)
    if count != len(weights):
        names = ", ".join(weight.name for weight in weights) or "none"
        raise root.refuse(f"{path} has {count} arrays, but layer {layer.name!r} expects: {names}")
    if group is None:
        return []
    assignments = _arrays(group, weights)
    state = group.integers(_RANDOM_STATE, len(layer.random_state_keys)) if layer.random_state_keys else None
    return assignments if state is None else [*assignments, (RandomState(layer), state)]


def _read_optimizer(root: Group, model: Any) -> Assignments:
    group = root.group("optimizer/vars")
    if model.optimizer is None or group is None:
        return []
    optimizer = model.optimizer
    optimizer.build(model.trainable_weights)
    variables = optimizer.variables
    counters = [variable for variable in variables if variable.shape == ()]
    if len(group) == len(counters):
        variables = counters  # saved before its first step, it had no slots
    if len(group) != len(variables):
        raise _OtherOptimizer(
            f"{root.source}: optimizer has {len(group)} variables, but {optimizer.name} expects {len(variables)}."
        )
    return _arrays(group, variables)


def _arrays(group: Group, variables: Sequence[Variable]) -> Assignments:
    return [
        (variable, group.array(str(index), variable.shape, variable.dtype, variable.path))
        for index, variable in enumerate(variables)
    ]
