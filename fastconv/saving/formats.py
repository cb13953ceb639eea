"""Which file is of which kind, and what holds for all kinds: written whole or not at all, read before anything changes.

.keras                   a whole model, as Keras 3 keeps it
.h5, .hdf5               a whole model or its weights, as Keras 1 and 2 and tf.keras kept them
.weights.h5              weights and the optimizer's state, as Keras 3 keeps them
.safetensors             weights by name
"""

from __future__ import annotations

import os
import warnings
from typing import Any

from fastconv.serialization import custom_object_scope
from fastconv.utils.files import atomic_write

Path = str | os.PathLike[str]

_LEGACY = (".h5", ".hdf5")
_MODELS = (".keras", *_LEGACY)
_WEIGHTS = (".weights.h5", ".safetensors", *_MODELS)


def save_model(
    model: Any,
    filepath: Path,
    overwrite: bool = True,
    zipped: bool | None = None,
    include_optimizer: bool = True,
    save_format: str | None = None,
) -> None:
    """Write the layers, the weights, how the model was compiled and the optimizer's state.

    A loss or metric of the user's own cannot be described in a file: a warning says so, and the loaded model has
    to be compiled again; `load_weights` of the same file then brings the optimizer's state.

    Args:
        model: a built model.
        filepath: ends in ".keras", or in ".h5" or ".hdf5" for the older format.
        overwrite: whether an existing file is replaced.
        zipped: must not be False: a `.keras` file is always one file.
        include_optimizer: False leaves out what `compile` was given, and the optimizer's state.
        save_format: None, "keras" or "h5", as the ending says; for programs of older versions.

    Raises:
        ValueError: another ending, or the model is not built.
        FileExistsError: the file exists and `overwrite` is False.
        OSError: it cannot be written; an older file is as it was.
    """
    path = _target(model, filepath, overwrite, *_MODELS)
    legacy = path.endswith(_LEGACY)
    if zipped is False or save_format not in (None, "h5" if legacy else "keras"):
        raise ValueError(f"{path}: the ending decides the format; received {zipped=}, {save_format=}.")
    if legacy:
        from fastconv.saving import legacy_file

        contents = legacy_file.model_to_bytes(model, include_optimizer)
    else:
        from fastconv.saving import keras_file

        contents = keras_file.model_to_bytes(model, include_optimizer)
    with atomic_write(path) as stream:
        stream.write(contents)


def save_weights(model: Any, filepath: Path, overwrite: bool = True) -> None:
    """Write the weights.

    Args:
        model: a built model.
        filepath: ends in ".weights.h5", which keeps the state of a compiled model's optimizer too; in ".h5" or
            ".hdf5" for the older format; or in ".safetensors".
        overwrite: whether an existing file is replaced.

    Raises: as for `save_model`.
    """
    path = _target(model, filepath, overwrite, ".weights.h5", ".safetensors", *_LEGACY)
    if path.endswith(".weights.h5"):
        from fastconv.saving import weights_file

        contents = weights_file.weights_to_bytes(model)
    elif path.endswith(".safetensors"):
        from fastconv.saving import safetensors_file

        contents = safetensors_file.weights_to_bytes(model)
    else:
        from fastconv.saving import legacy_file

        contents = legacy_file.weights_to_bytes(model)
    with atomic_write(path) as stream:
        stream.write(contents)


def load_model(filepath: Path, custom_objects: Any = None, compile: bool = True, safe_mode: bool = True) -> Any:
    """The model of a file of this library's, of Keras's or of tf.keras's; training goes on with the same bits.

    Nothing in a file is executed: names in it are looked up among this library's classes and `custom_objects`.

    Args:
        filepath: a `.keras`, `.h5` or `.hdf5` file.
        custom_objects: the caller's own classes, by the names they have in the file.
        compile: whether to compile the model as it was when saved.
        safe_mode: must be True.

    Raises:
        ValueError: the file is damaged, holds something that this library does not have, or another ending.
        OSError: the file cannot be opened.
    """
    if not safe_mode:
        raise ValueError("safe_mode=False is refused: no file may bring code that is executed.")
    source = _source(filepath, _MODELS)
    with custom_object_scope(custom_objects):
        if source.endswith(_LEGACY):
            from fastconv.saving import legacy_file

            return legacy_file.load_model(source, compile)
        from fastconv.saving import keras_file

        return keras_file.load_model(source, compile)


def load_weights(model: Any, filepath: Path, skip_mismatch: bool = False, by_name: bool = False) -> None:
    """Read weights and, if the model is compiled and the file has it, the optimizer's state.

    Args:
        model: a built model.
        filepath: a `.weights.h5`, `.keras`, `.h5`, `.hdf5` or `.safetensors` file. What is inside an HDF5 file
            decides how it is read, not its ending.
        skip_mismatch: whether a layer that does not fit is left as it is, with a warning.
        by_name: only for the older `.h5` files: whether layers are matched by their names, not by their order.
            Layers that the file does not have stay as they are; a warning says so if it has none of them.

    Raises:
        ValueError: the model is not built, the file is damaged or does not fit; the model is unchanged then.
        OSError: the file cannot be opened.
    """
    source = _source(filepath, _WEIGHTS)
    if not model.built:
        raise ValueError(f"{model.name} must be built before weights are loaded: call build(input_shape).")
    if by_name and not source.endswith(_LEGACY):
        raise ValueError(f"by_name is for the older .h5 files; received {source!r}.")
    if source.endswith(".safetensors"):
        from fastconv.saving import safetensors_file

        assignments = safetensors_file.read_weights(model, source, skip_mismatch)
    elif source.endswith(".keras"):
        from fastconv.saving import keras_file

        assignments = keras_file.read_weights(model, source, skip_mismatch)
    else:
        from fastconv.saving import legacy_file

        assignments = legacy_file.read_weights(model, source, skip_mismatch, by_name)
    for target, value in assignments:
        target.assign(value)


def compile_config(model: Any) -> dict[str, Any]:
    """What `compile` was given; {} if it was not called or cannot be described, with a warning then."""
    try:
        return model.get_compile_config() or {}
    except TypeError as error:
        warnings.warn(f"{model.name} is saved without what compile() was given: {error}", stacklevel=6)
        return {}


def _target(model: Any, filepath: Path, overwrite: bool, *endings: str) -> str:
    path = os.fspath(filepath)
    if not path.endswith(endings):
        raise ValueError(f"filepath must end in {' or '.join(endings)}, not be {path!r}.")
    if not model.built:
        raise ValueError(f"{model.name} cannot be saved before it is built: call build(input_shape).")
    if not overwrite and os.path.exists(path):
        raise FileExistsError(f"{path} exists and overwrite=False.")
    return path


def _source(filepath: Path, endings: tuple[str, ...]) -> str:
    source = os.fspath(filepath)
    if not source.endswith(endings) or os.path.isdir(source):
        raise ValueError(
            f"filepath must end in {' or '.join(endings)}, not be {source!r}. SavedModels, pickles, NumPy's archives "
            "and folders are not read."
        )
    return source
