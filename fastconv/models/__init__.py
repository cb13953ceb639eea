"""Models under the names of `keras.models`."""

from fastconv.models.sequential import Sequential
from fastconv.saving import load_model, save_model

__all__ = ["Sequential", "load_model", "save_model"]
