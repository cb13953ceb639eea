"""Models under the names of `keras.models`."""

from fastconv.layers import _TABLE
from fastconv.models.cloning import clone_model
from fastconv.models.model import Functional, Model
from fastconv.models.sequential import Sequential
from fastconv.saving import load_model, save_model

__all__ = ["Model", "Sequential", "clone_model", "load_model", "save_model"]

_TABLE.add(Functional, Sequential)
