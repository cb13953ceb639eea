"""Models as `.keras` files and weights as `.weights.h5` files, in Keras 3's own layout.

A `.keras` file is a ZIP with metadata.json, config.json (layers, and how the model was compiled) and
model.weights.h5. Files are written whole or not at all, and read with distrust: a name in a file is only
looked up in tables of our own classes, nothing is unpacked to the disk, no code or object is loaded, and a
model is changed only after everything has been read and checked.
"""

from __future__ import annotations

import io
import json
import math
import os
import time
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

from fastconv import __version__, layers
from fastconv.utils.files import atomic_write

_KERAS_VERSION = "3.15.1"
_METADATA, _CONFIG, _WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
_MOST_JSON_BYTES = 2**24

Path = str | os.PathLike[str]


def save_model(model: Any, filepath: Path, overwrite: bool = True) -> None:
    """Write the layers, the weights, how the model was compiled and the optimizer's state.

    A loss or metric of the user's own cannot be described in a file: a warning says so, and the loaded model has
    to be compiled again; `load_weights` of the same file then brings the optimizer's state.

    Raises:
        ValueError: `filepath` does not end in ".keras", or the model is not built.
        FileExistsError: the file exists and `overwrite` is False.
    """
    from fastconv.models.weights_file import weights_to_bytes

    path = _target(model, filepath, ".keras", overwrite)
    metadata = {
        "keras_version": _KERAS_VERSION,  # whose layout this is
        "date_saved": time.strftime("%Y-%m-%d@%H:%M:%S"),
        "fastconv_version": __version__,
    }
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": model.get_config(),
        "registered_name": None,
        "build_config": {"input_shape": model.input_shape},
        "compile_config": _compile_config(model),
    }
    weights = weights_to_bytes(model)
    with atomic_write(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_METADATA, json.dumps(metadata))
        archive.writestr(_CONFIG, json.dumps(config))
        archive.writestr(_WEIGHTS, weights)


def save_weights(model: Any, filepath: Path, overwrite: bool = True) -> None:
    """Write the weights and, if the model is compiled, the optimizer's state.

    Raises:
        ValueError: `filepath` does not end in ".weights.h5", or the model is not built.
        FileExistsError: the file exists and `overwrite` is False.
    """
    from fastconv.models.weights_file import weights_to_bytes

    path = _target(model, filepath, ".weights.h5", overwrite)
    weights = weights_to_bytes(model)
    with atomic_write(path) as stream:
        stream.write(weights)


def load_model(filepath: Path, *, compile: bool = True) -> Any:
    """The Sequential that `save_model`, or Keras 3, has written; training goes on with the same bits.

    Args:
        filepath: a `.keras` file.
        compile: whether to compile it as it was when saved.

    Raises:
        ValueError: the file is damaged, holds something that this library does not have, or is of an older
            kind (`.h5`).
        OSError: the file cannot be read.
    """
    from fastconv.models.sequential import Sequential

    source = os.fspath(filepath)
    if not source.endswith(".keras"):
        raise _unknown_kind(source, ".keras")
    config_json, weights = _read_archive(source, _CONFIG, _WEIGHTS)
    try:
        config = _parse_config(config_json)
        _check_size(config["config"], len(weights))
        model = Sequential.from_config(config["config"])
        if compile and config.get("compile_config"):
            model.compile_from_config(config["compile_config"])
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{source} describes no model that can be made here: {error}") from error
    _read_into(model, io.BytesIO(weights), source, same_optimizer=True)
    return model


def load_weights(model: Any, filepath: Path) -> None:
    """Read the weights and, if the model is compiled, the optimizer's state of a model with the same layers.

    Args:
        model: a built model.
        filepath: a `.weights.h5` or a `.keras` file.

    Raises:
        ValueError: the model is not built, the file is damaged or does not fit; the model is unchanged then.
        OSError: the file cannot be read.
    """
    source = os.fspath(filepath)
    if not model.built:
        raise ValueError(f"{model.name} must be built before weights are loaded: call build(input_shape).")
    if source.endswith(".keras"):
        stream: BinaryIO = io.BytesIO(_read_archive(source, _WEIGHTS)[0])
    elif source.endswith(".weights.h5"):
        stream = open(source, "rb")
    else:
        raise _unknown_kind(source, ".weights.h5 or .keras")
    with stream:
        _read_into(model, stream, source, same_optimizer=False)


def _read_into(model: Any, stream: BinaryIO, source: str, same_optimizer: bool) -> None:
    from fastconv.models.weights_file import read_weights

    for variable, value in read_weights(model, stream, source, same_optimizer):
        variable.assign(value)


def _target(model: Any, filepath: Path, ending: str, overwrite: bool) -> str:
    path = os.fspath(filepath)
    if not path.endswith(ending):
        raise ValueError(f"filepath must end in {ending}, not be {path!r}.")
    if not model.built:
        raise ValueError(f"{model.name} cannot be saved before it is built: call build(input_shape).")
    if not overwrite and os.path.exists(path):
        raise FileExistsError(f"{path} exists and overwrite=False.")
    return path


def _unknown_kind(source: str, expected: str) -> ValueError:
    if source.endswith((".h5", ".hdf5")):
        return ValueError(
            f"{source}: the older HDF5 format of Keras 1 and 2 cannot be read yet; {expected} can. Keras 3 "
            "opens such a file with load_model and saves it again as .keras or .weights.h5."
        )
    return ValueError(f"filepath must end in {expected}, not be {source!r}.")


def _compile_config(model: Any) -> dict[str, Any]:
    try:
        return model.get_compile_config() or {}
    except TypeError as error:
        warnings.warn(f"{model.name} is saved without what compile() was given: {error}", stacklevel=4)
        return {}


def _parse_config(config_json: bytes) -> Mapping[str, Any]:
    config = json.loads(config_json)
    if not isinstance(config, Mapping) or not isinstance(config.get("config"), Mapping):
        raise ValueError(f"{_CONFIG} does not hold a model.")
    if config.get("class_name") != "Sequential":
        raise ValueError(f"only Sequential models are supported, not {config.get('class_name')!r}.")
    return config


def _check_size(config: Mapping[str, Any], weights_bytes: int) -> None:
    """Refuse layers whose weights cannot be in the file, before memory is taken for them."""
    sizes: list[int] = []
    shape: Any = config.get("build_input_shape")
    for entry in config["layers"]:
        layer = layers.deserialize(entry)
        if isinstance(layer, layers.InputLayer):
            shape = layer.batch_shape
            continue
        layer.add_weight = lambda shape, *_, **__: sizes.append(math.prod(shape))  # takes none
        layer.make_weights(layer.check_input_shape(shape))
        shape = layer.compute_output_shape(shape)
    if 2 * sum(sizes) > weights_bytes:  # float16 is the smallest
        raise ValueError(f"its layers have {sum(sizes):,} weights, more than {_WEIGHTS} can hold.")


def _read_archive(source: str, *names: str) -> list[bytes]:
    """The named members of a ZIP, each read into memory.

    Raises:
        ValueError: the file is no ZIP, is damaged, or a member is missing, packed, or too large.
        OSError: the file cannot be opened.
    """
    with open(source, "rb") as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                return [_read_member(archive, name, source) for name in names]
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"{source} is not a .keras file, or a damaged one: {error}") from error


def _read_member(archive: zipfile.ZipFile, name: str, source: str) -> bytes:
    found = [info for info in archive.infolist() if info.filename == name]
    if len(found) != 1:
        raise ValueError(f"{source} is not a .keras file: it has {len(found)} members called {name}.")
    info = found[0]
    # Keras stores members as they are; a packed one could expand to any size.
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise ValueError(f"{source}: {name} is compressed.")
    if name == _CONFIG and info.file_size > _MOST_JSON_BYTES:
        raise ValueError(f"{source}: {name} has {info.file_size} bytes, more than {_MOST_JSON_BYTES}.")
    return archive.read(info)
