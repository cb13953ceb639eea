"""Models as `.keras` files, in Keras 3's own layout.

A `.keras` file is a ZIP with metadata.json, config.json (layers, and how the model was compiled) and
model.weights.h5. It is read with distrust: a name in it is only looked up in tables of our own classes, nothing is
unpacked to the disk, and no code or object is loaded.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Mapping
from typing import Any

from fastconv import __version__, layers
from fastconv.saving import formats, hdf5, weights_file
from fastconv.saving.description import BAD_DESCRIPTION, make_model, parse_json

KERAS_VERSION = "3.15.1"  # whose layout this is
_METADATA, _CONFIG, _WEIGHTS = "metadata.json", "config.json", "model.weights.h5"


def model_to_bytes(model: Any, include_optimizer: bool) -> bytes:
    """A built model as the contents of a `.keras` file."""
    metadata = {
        "keras_version": KERAS_VERSION,
        "date_saved": time.strftime("%Y-%m-%d@%H:%M:%S"),
        "fastconv_version": __version__,
    }
    config = {
        **layers.serialize(model),
        "compile_config": formats.compile_config(model) if include_optimizer else {},
    }
    contents = io.BytesIO()
    with zipfile.ZipFile(contents, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_METADATA, json.dumps(metadata))
        archive.writestr(_CONFIG, json.dumps(config))
        archive.writestr(_WEIGHTS, weights_file.weights_to_bytes(model, include_optimizer))
    return contents.getvalue()


def load_model(source: str, compile: bool) -> Any:
    """The model of a `.keras` file; see `formats.load_model`."""
    config_json, weights = _read_archive(source, _CONFIG, _WEIGHTS)
    try:
        config = parse_json(config_json, _CONFIG)
        model = make_model(config, len(weights))
        compilation = config.get("compile_config")
        if compile and isinstance(compilation, Mapping) and compilation:
            model.compile_from_config(compilation)
    except BAD_DESCRIPTION as error:
        raise ValueError(
            f"{source} describes no model that can be made here (compile=False loads it without how it was trained): "
            f"{error}"
        ) from error
    with hdf5.open_for_reading(io.BytesIO(weights), source) as root:
        assignments = weights_file.read_weights(root, model, same_optimizer=True)
    for target, value in assignments:
        target.assign(value)
    return model


def read_weights(model: Any, source: str, skip_mismatch: bool) -> weights_file.Assignments:
    """What to assign to the variables of `model`; see `formats.load_weights`."""
    (weights,) = _read_archive(source, _WEIGHTS)
    with hdf5.open_for_reading(io.BytesIO(weights), source) as root:
        return weights_file.read_weights(root, model, same_optimizer=False, skip_mismatch=skip_mismatch)


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
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError, OverflowError) as error:
            raise ValueError(f"{source} is not a .keras file, or a damaged one: {error}") from error


def _read_member(archive: zipfile.ZipFile, name: str, source: str) -> bytes:
    found = [info for info in archive.infolist() if info.filename == name]
    if len(found) != 1:
        raise ValueError(f"{source} is not a .keras file: it has {len(found)} members called {name}.")
    info = found[0]
    # Keras stores members as they are; a packed one could expand to any size.
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise ValueError(f"{source}: {name} is compressed.")
    if name == _CONFIG and info.file_size > hdf5.MOST_TEXT_BYTES:
        raise ValueError(f"{source}: {name} has {info.file_size} bytes, more than {hdf5.MOST_TEXT_BYTES}.")
    return archive.read(info)
