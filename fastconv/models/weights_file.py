"""Keras 3's HDF5 layout of weights, written and read with distrust.

    /layers/<class in snake case; _1, _2 ... from its second layer on>/vars/<i>    as in layer.weights
    /layers/<that of a model>/layers/ ...                                          a model in the model, likewise
    /optimizer/vars/<i>                                                            as in optimizer.variables

A file is never asked for more than the model expects: names come from the model, and of what lies under them
only plain arrays of the right shape, stored in the file itself, are read.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import h5py
import numpy as np

from fastconv.serialization import snake_case
from fastconv.variable import Variable

Assignments = list[tuple[Variable, np.ndarray]]


def weights_to_bytes(model: Any) -> bytes:
    """The weights of all layers and, if the model is compiled, the state of its optimizer."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.create_group("vars").attrs["name"] = model.name
        for path, layer in _groups(model):
            _write(file, path, layer.name, _own_weights(layer))
        if model.optimizer is not None:
            _write(file, "optimizer", model.optimizer.name, model.optimizer.variables)
    return memory.getvalue()


def read_weights(model: Any, stream: BinaryIO, source: str, same_optimizer: bool) -> Assignments:
    """What to assign to which variable; the model is left as it is.

    Args:
        model: a built model. If it is compiled and the file has an optimizer's state, that is read as well.
        stream: the HDF5 file.
        source: its name for messages.
        same_optimizer: whether state of another kind of optimizer is an error; else it is left out, with a
            warning.

    Raises:
        ValueError: the file is damaged, does not fit the model, or has links, external data or objects in it.
    """
    try:
        with h5py.File(stream, "r") as file:
            reader = _Reader(source)
            assignments = list(reader.layers(file, model))
            try:
                assignments += reader.optimizer(file, model)
            except _OtherOptimizer as error:
                if same_optimizer:
                    raise
                warnings.warn(f"{error} The optimizer keeps the state it has.", stacklevel=4)
            return assignments
    except (OSError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(f"{source} is not a readable HDF5 file: {error}") from error


def _groups(model: Any, above: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """The path of each layer, of models in the model too; a layer that is at two places has the first one's."""
    counts: Counter[str] = Counter()
    seen = set() if seen is None else seen
    for layer in model.layers:
        name = snake_case(type(layer).__name__)
        path = f"{above}layers/{name}" + (f"_{counts[name]}" if counts[name] else "")
        counts[name] += 1
        if id(layer) not in seen:
            seen.add(id(layer))
            yield path, layer
            if hasattr(layer, "layers"):
                yield from _groups(layer, f"{path}/", seen)


def _own_weights(layer: Any) -> Sequence[Variable]:
    """The weights beside those of layers within."""
    return [] if hasattr(layer, "layers") else layer.weights


def _write(file: h5py.File, path: str, name: str, variables: Sequence[Variable]) -> None:
    group = file.create_group(f"{path}/vars")
    group.attrs["name"] = name
    for index, variable in enumerate(variables):
        group.create_dataset(str(index), data=variable.value)


class _OtherOptimizer(ValueError):
    """The optimizer's state in a file does not fit the model's optimizer."""


class _Reader:
    """Looks up what is expected, under names of our own, and refuses everything unusual."""

    def __init__(self, source: str) -> None:
        self._source = source

    def layers(self, file: h5py.File, model: Any) -> Iterator[tuple[Variable, np.ndarray]]:
        expected = dict(_groups(model))
        for path, layer in expected.items():
            group = self._group(file, f"{path}/vars")
            count, weights = 0 if group is None else len(group), _own_weights(layer)
            if count != len(weights):
                names = ", ".join(weight.name for weight in weights) or "none"
                raise self._refuse(f"{path} has {count} arrays, but layer {layer.name!r} expects: {names}")
            for index, variable in enumerate(weights):
                yield variable, self._array(group, index, variable)
        for folder in sorted({path.rpartition("/")[0] for path in expected}):
            for name in self._group(file, folder) or ():
                path = f"{folder}/{name}"
                if path not in expected and len(self._group(file, f"{path}/vars") or ()):
                    raise self._refuse(f"{path} has weights, but the model has no such layer")

    def optimizer(self, file: h5py.File, model: Any) -> Assignments:
        group = self._group(file, "optimizer/vars")
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
                f"{self._source}: optimizer has {len(group)} variables, but {optimizer.name} expects {len(variables)}."
            )
        return [(variable, self._array(group, index, variable)) for index, variable in enumerate(variables)]

    def _group(self, file: h5py.File, path: str) -> h5py.Group | None:
        """The group at `path`, or None if there is nothing."""
        here: Any = file
        for name in path.split("/"):
            here = self._member(here, name, h5py.Group)
            if here is None:
                return None
        return here

    def _member(self, group: h5py.Group, name: str, kind: type) -> Any:
        link = group.get(name, getlink=True)
        if link is None:
            return None
        path = f"{group.name.rstrip('/')}/{name}"
        if not isinstance(link, h5py.HardLink):
            raise self._refuse(f"{path} is a {type(link).__name__}; links are not followed")
        member = group[name]
        if not isinstance(member, kind):
            raise self._refuse(f"{path} is a {type(member).__name__}, not a {kind.__name__}")
        return member

    def _array(self, group: Any, index: int, variable: Variable) -> np.ndarray:
        dataset = self._member(group, str(index), h5py.Dataset)
        if dataset is None:
            raise self._refuse(f"{group.name}/{index} is missing")
        if dataset.is_virtual or dataset.external:
            raise self._refuse(f"{dataset.name} takes its data from other files")
        if dataset.dtype.kind not in ("iu" if variable.dtype.kind in "iu" else "f"):
            raise self._refuse(f"{dataset.name} has dtype {dataset.dtype}, expected {variable.dtype}")
        if dataset.shape != variable.shape:
            raise self._refuse(
                f"{dataset.name} has shape {dataset.shape}, but {variable.path} has shape {variable.shape}"
            )
        # Also refuses compressed data, which may expand to anything, and data that was never written.
        if dataset.chunks is not None or dataset.id.get_storage_size() != dataset.nbytes:
            raise self._refuse(f"{dataset.name} is not stored plainly")
        return dataset[()]

    def _refuse(self, what: str) -> ValueError:
        return ValueError(f"{self._source}: {what}.")
