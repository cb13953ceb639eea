"""Models under the names of `keras.models`."""

from fastconv.models.saving import load_model, save_model
from fastconv.models.sequential import Sequential

__all__ = ["Sequential", "load_model", "save_model"]
