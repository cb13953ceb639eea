"""The file that `callbacks.BackupAndRestore` keeps: a `.weights.h5` file that also says where the training was.

/training                 attribute "position": JSON, see `models.position`
/training/<n>/<key>/<i>   arrays that the n-th callback keeps, such as the best weights so far
"""

from __future__ import annotations

import io
import json
import os
from typing import Any

import h5py
import numpy as np

from fastconv.saving.description import parse_json
from fastconv.saving.hdf5 import Group, open_for_reading
from fastconv.saving.weights_file import read_weights, write_weights


def to_bytes(model: Any) -> bytes:
    """The state of a model that is being trained."""
    described = model.position.describe()
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        write_weights(file, model)
        training = file.create_group("training")
        for number, values in enumerate(described["callbacks"]):
            for key, value in values.items():
                if isinstance(value, list):
                    for index, array in enumerate(value):
                        training.create_dataset(f"{number}/{key}/{index}", data=array)
                    values[key] = {"arrays": len(value)}
        training.attrs["position"] = json.dumps(described, default=_as_number)
    return memory.getvalue()


def restore(model: Any, path: str | os.PathLike[str]) -> None:
    """Let the `fit` of `model` that has just begun go on from the state in a file.

    Raises:
        ValueError: the file is damaged, or of another model or training; nothing has been changed then.
        OSError: it cannot be read.
    """
    source = os.fspath(path)
    with open(source, "rb") as stream, open_for_reading(stream, source) as root:
        training = root.group("training")
        text = None if training is None else training.text("position")
        if training is None or text is None:
            raise root.refuse("it is no backup of a training")
        assignments = read_weights(root, model, same_optimizer=True)
        try:
            described = parse_json(text, "position")
        except ValueError as error:
            raise root.refuse(str(error).rstrip(".")) from error
        for number, values in enumerate(described.get("callbacks") or ()):
            for key, value in values.items():
                if isinstance(value, dict):
                    values[key] = _arrays(training, f"{number}/{key}", model)
        try:
            model.position.resume(described, assignments)
        except ValueError as error:
            raise root.refuse(str(error).rstrip(".")) from error


def _arrays(training: Group, path: str, model: Any) -> list[np.ndarray]:
    return [
        training.array(f"{path}/{index}", variable.shape, variable.dtype, variable.path)
        for index, variable in enumerate(model.weights)
    ]


def _as_number(value: Any) -> Any:
    """NumPy's numbers, which callbacks may keep, for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} cannot be kept in a backup.")
