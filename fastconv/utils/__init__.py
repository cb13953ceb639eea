"""Small tools under the names of `keras.utils`; those for images and pictures are imported on first use."""

import importlib
from typing import TYPE_CHECKING, Any

from fastconv.utils.numeric import normalize, to_categorical
from fastconv.utils.py_dataset import PyDataset, Sequence
from fastconv.utils.seeds import set_random_seed
from fastconv.utils.session import clear_session

if TYPE_CHECKING:
    from fastconv.plot.model_graph import plot_model
    from fastconv.preprocessing.image_dataset import image_dataset_from_directory
    from fastconv.utils.images import array_to_img, img_to_array, load_img, save_img

__all__ = [
    "PyDataset",
    "Sequence",
    "array_to_img",
    "clear_session",
    "image_dataset_from_directory",
    "img_to_array",
    "load_img",
    "normalize",
    "plot_model",
    "save_img",
    "set_random_seed",
    "to_categorical",
]

_HOMES = {
    **dict.fromkeys(("array_to_img", "img_to_array", "load_img", "save_img"), "fastconv.utils.images"),
    "image_dataset_from_directory": "fastconv.preprocessing.image_dataset",
    "plot_model": "fastconv.plot.model_graph",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fastconv.utils' has no attribute {name!r}")
