"""Models and weights in files, under the names of `keras.saving`.

`formats` decides by a file's ending which module reads and writes it; what a file may not do is said in `hdf5`,
`keras_file` and `legacy_config`, and tested with a thousand damaged ones.
"""

from fastconv.saving.formats import load_model, load_weights, save_model, save_weights
from fastconv.serialization import (
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    register_keras_serializable,
)

CustomObjectScope = custom_object_scope

__all__ = [
    "CustomObjectScope",
    "custom_object_scope",
    "get_custom_objects",
    "get_registered_name",
    "load_model",
    "load_weights",
    "register_keras_serializable",
    "save_model",
    "save_weights",
]
