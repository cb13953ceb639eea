"""The `.h5` files of Keras 1 and 2 and tf.keras, which Keras 3 still reads and writes.

    /                     attributes model_config and training_config (JSON), keras_version, backend
    /model_weights        attribute layer_names; a group for each layer, called by its name
        <layer>           attribute weight_names; the arrays lie under these names: trainable ones first
    /optimizer_weights    attribute weight_names; see `legacy_optimizer`

A file of weights alone has what is in /model_weights at its root. The order is that of the attributes.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from typing import Any

import h5py
import numpy as np

from fastconv import layers
from fastconv.saving import formats, legacy_optimizer, weights_file
from fastconv.saving.description import BAD_DESCRIPTION, make_model, parse_json
from fastconv.saving.hdf5 import Group, open_for_reading, write_names
from fastconv.saving.keras_file import KERAS_VERSION
from fastconv.saving.legacy_config import (
    legacy_compilation,
    legacy_model,
    modern_compilation,
    modern_model,
    theano_reason,
)
from fastconv.saving.weights_file import Assignments
from fastconv.variable import Variable


def model_to_bytes(model: Any, include_optimizer: bool) -> bytes:
    """A built model as the contents of a `.h5` file."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.attrs["keras_version"] = KERAS_VERSION
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(legacy_model(layers.serialize(model)))
        compilation = formats.compile_config(model) if include_optimizer else {}
        if compilation.get("optimizer"):
            file.attrs["training_config"] = json.dumps(legacy_compilation(compilation))
        _write_weights(file.create_group("model_weights"), model)
        if include_optimizer and model.optimizer is not None:
            group = file.create_group("optimizer_weights")
            kept = model.optimizer.variables_for(model.trainable_weights)
            _write_arrays(group, [(v, f"{model.optimizer.name}/{v.path}") for v in kept])
    return memory.getvalue()


def weights_to_bytes(model: Any) -> bytes:
    """The weights of a built model as the contents of a `.h5` file."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        _write_weights(file, model)
    return memory.getvalue()


def load_model(source: str, compile: bool) -> Any:
    """The model of a `.h5` file; see `formats.load_model`."""
    with open(source, "rb") as stream, open_for_reading(stream, source) as root:
        text = root.text("model_config")
        if text is None:
            raise root.refuse("there is no model in it, only weights: make the model, then call load_weights")
        weights = root.group("model_weights")
        if weights is None:
            raise root.refuse("model_weights is missing")
        _refuse_theano(weights)
        training = root.text("training_config") if compile else None
        try:
            described = modern_model(parse_json(text, "model_config"))
            model = make_model(described, os.stat(source).st_size)
            if training is not None:
                model.compile_from_config(modern_compilation(parse_json(training, "training_config")))
        except BAD_DESCRIPTION as error:
            raise ValueError(
                f"{source} describes no model that can be made here"
                f"{'' if training is None else ' (compile=False loads it without how it was trained)'}: {error}"
            ) from error
        if not model.built:
            raise root.refuse("the shape of the model's input is not in it: make the model, then call load_weights")
        assignments = _read_in_order(weights, model, skip_mismatch=False)
        if model.optimizer is not None:
            assignments += legacy_optimizer.read_state(root, model)
    for target, value in assignments:
        target.assign(value)
    return model


def read_weights(model: Any, source: str, skip_mismatch: bool, by_name: bool) -> Assignments:
    """What to assign to the variables of `model` from an HDF5 file of any kind; see `formats.load_weights`."""
    with open(source, "rb") as stream, open_for_reading(stream, source) as root:
        weights = root if root.names("layer_names") is not None else root.group("model_weights")
        if weights is None:
            if by_name:
                raise root.refuse("it is in the layout of Keras 3, which has no names: load it without by_name")
            if "layers" not in root and "_layer_checkpoint_dependencies" not in root:
                raise root.refuse("it has neither layer_names nor layers: this is no file of weights")
            return weights_file.read_weights(root, model, same_optimizer=False, skip_mismatch=skip_mismatch)
        _refuse_theano(weights)
        if not by_name:
            return _read_in_order(weights, model, skip_mismatch)
        return _read_by_name(weights, model, skip_mismatch)


def _write_weights(group: h5py.Group, model: Any) -> None:
    write_names(group, "layer_names", [layer.name for layer in model.layers])
    group.attrs["backend"] = "tensorflow"
    group.attrs["keras_version"] = KERAS_VERSION
    for layer in model.layers:
        _write_arrays(group.create_group(layer.name), [(v, v.path) for v in _ordered(layer)])
    _write_arrays(group.create_group("top_level_model_weights"), [])


def _write_arrays(group: h5py.Group, named: list[tuple[Variable, str]]) -> None:
    names: list[str] = []
    for variable, name in named:
        unique = name if name not in names else f"{name}_{len(names)}"
        group.create_dataset(unique, data=variable.value)
        names.append(unique)
    write_names(group, "weight_names", names)


def _ordered(layer: Any) -> list[Variable]:
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _read_in_order(group: Group, model: Any, skip_mismatch: bool) -> Assignments:
    """The n-th layer of the file that has weights is the n-th of the model that has."""
    stored = [(name, arrays) for name, arrays in _stored_layers(group) if arrays]
    layers = [layer for layer in model.layers if layer.weights]
    if len(stored) != len(layers):
        raise group.refuse(
            f"it has {len(stored)} layers with weights ({_listed(name for name, _ in stored)}), the model "
            f"{len(layers)} ({_listed(layer.name for layer in layers)}); by_name=True takes those of the same names"
        )
    assignments: Assignments = []
    for (name, arrays), layer in zip(stored, layers, strict=True):
        assignments += _read_layer(group, name, arrays, layer, skip_mismatch)
    return assignments


def _read_by_name(group: Group, model: Any, skip_mismatch: bool) -> Assignments:
    assignments: Assignments = []
    stored = _stored_layers(group)
    for name, arrays in stored:
        for layer in model.layers:
            if layer.name == name and (layer.weights or arrays):
                assignments += _read_layer(group, name, arrays, layer, skip_mismatch)
    if not assignments:
        with_weights = [name for name, arrays in stored if arrays]
        warnings.warn(
            f"{group.source}: no weights were loaded by name. The file has {_listed(with_weights)}; the model has "
            f"{_listed(layer.name for layer in model.layers if layer.weights)}.",
            stacklevel=5,
        )
    return assignments


def _stored_layers(group: Group) -> list[tuple[str, list[str]]]:
    """The layers' names and their arrays' paths in the group."""
    names = group.names("layer_names")
    if names is None:
        older = " It has nb_layers: such files of Keras before 1.0 are not read." if "layer_0" in group else ""
        raise group.refuse(f"{group.path or 'its root'} has no layer_names.{older}")
    layers = []
    for name in names:
        layer = group.group(name)
        arrays = None if layer is None else layer.names("weight_names")
        if arrays is None:
            raise group.refuse(f"layer {name!r} is listed, but has no weight_names")
        layers.append((name, [f"{name}/{array}" for array in arrays]))
    return layers


def _read_layer(group: Group, name: str, arrays: list[str], layer: Any, skip_mismatch: bool) -> Assignments:
    variables = _ordered(layer)
    try:
        if len(arrays) != len(variables):
            raise group.refuse(
                f"layer {name!r} has {len(arrays)} arrays, but layer {layer.name!r} expects "
                f"{len(variables)}: {_listed(v.name for v in variables)}"
            )
        return [
            (variable, _read_array(group, array, variable)) for array, variable in zip(arrays, variables, strict=True)
        ]
    except ValueError as error:
        if not skip_mismatch:
            raise
        warnings.warn(f"{error} The layer is left as it is.", stacklevel=6)
        return []


def _read_array(group: Group, path: str, variable: Variable) -> np.ndarray:
    shape = group.shape(path)
    if len(shape) == 4 and shape != variable.shape and tuple(shape[i] for i in (2, 3, 1, 0)) == variable.shape:
        raise group.refuse(theano_reason(f"{group.path}/{path}"))
    return group.array(path, variable.shape, variable.dtype, variable.path)


def _refuse_theano(weights: Group) -> None:
    if "_th_" in os.path.basename(weights.source) or weights.text("backend") == "theano":
        raise weights.refuse(theano_reason("it"))


def _listed(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "none"
