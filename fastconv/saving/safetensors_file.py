"""Weights as `.safetensors` files: arrays by name, `conv2d/kernel`, which many other libraries read.

The format has no place for objects or for code; the library checks the header before anything is read.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from typing import Any

import numpy as np

from fastconv import __version__
from fastconv.saving.weights_file import Assignments
from fastconv.utils.optional import require
from fastconv.variable import Variable

# What an array must be to become one of the other kind: numbers are never turned into counts.
_DTYPES = {"F64": "f", "F32": "f", "F16": "f", "I64": "i", "I32": "i", "U64": "u", "U32": "u"}


def weights_to_bytes(model: Any) -> bytes:
    """The weights of a built model."""
    arrays = {name: np.ascontiguousarray(variable.value) for name, variable in _named(model).items()}
    return bytes(require("safetensors.numpy", "safetensors").save(arrays, {"format": "np", "fastconv": __version__}))


def read_weights(model: Any, source: str, skip_mismatch: bool) -> Assignments:
    """What to assign to the variables of `model`; see `formats.load_weights`."""
    safetensors = require("safetensors", "safetensors")
    if not os.path.exists(source):
        raise FileNotFoundError(f"there is no file {source}.")
    try:
        with safetensors.safe_open(source, framework="numpy") as file:
            return _read(file, _named(model), source, skip_mismatch)
    except (safetensors.SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{source} is not a readable safetensors file, or a damaged one: {error}") from error


def _named(model: Any) -> dict[str, Variable]:
    """The weights by their paths; a number behind those that occur before."""
    counts: Counter[str] = Counter()
    named = {}
    for variable in model.weights:
        count = counts[variable.path]
        counts[variable.path] += 1
        named[f"{variable.path}_{count}" if count else variable.path] = variable
    return named


def _read(file: Any, wanted: dict[str, Variable], source: str, skip_mismatch: bool) -> Assignments:
    stored = set(file.keys())
    problems = []
    if missing := [name for name in wanted if name not in stored]:
        problems.append(f"it lacks {', '.join(missing[:8])}")
    if unknown := sorted(stored.difference(wanted)):
        problems.append(f"the model has no {', '.join(unknown[:8])}")
    assignments: Assignments = []
    for name, variable in wanted.items():
        if name not in stored:
            continue
        entry = file.get_slice(name)
        shape, dtype = tuple(entry.get_shape()), entry.get_dtype()
        if shape != variable.shape or _DTYPES.get(dtype) != variable.dtype.kind:
            problems.append(f"{name} is {dtype} of shape {shape}, but the model's {variable.dtype} of {variable.shape}")
        else:
            assignments.append((variable, file.get_tensor(name)))
    if problems and not skip_mismatch:
        raise ValueError(f"{source} does not fit {len(wanted)} weights of the model: {'; '.join(problems[:4])}.")
    for problem in problems:
        warnings.warn(f"{source}: {problem}. These weights are left as they are.", stacklevel=5)
    return assignments
