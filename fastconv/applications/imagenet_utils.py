"""Images as the networks take them, and the names of ImageNet's classes, `keras.applications.imagenet_utils`."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from fastconv.applications.frame import CLASSES, keras_file
from fastconv.ops.arrays import resolve_data_format
from fastconv.serialization import as_float

# Mean and standard deviation of ImageNet's colors; those of "caffe" are blue, green, red.
_BGR_MEAN = (103.939, 116.779, 123.68)
_MEAN, _STDDEV = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def preprocess_input(x: Any, data_format: str | None = None, mode: str = "caffe") -> np.ndarray:
    """Pixels from 0 to 255 as a network takes them; a new array, `x` stays as it is.

    Args:
        x: an image or a batch of images, red, green, blue.
        data_format: "channels_last" or "channels_first"; None for `config.image_data_format()`.
        mode: "caffe" for blue, green, red less the means of ImageNet; "tf" for values from -1 to 1; "torch" for values
            from 0 to 1, less means and divided by standard deviations.

    Raises:
        ValueError: another mode, or `x` has no 3 channels where colors matter.
    """
    if mode not in ("caffe", "tf", "torch"):
        raise ValueError(f'mode must be "caffe", "tf" or "torch"; received {mode!r}.')
    data_format = resolve_data_format(data_format)
    x = as_float(x)
    if mode == "tf":
        return x / x.dtype.type(127.5) - x.dtype.type(1)
    axis = -1 if data_format == "channels_last" else x.ndim - 3
    if x.ndim not in (3, 4) or x.shape[axis] != 3:
        raise ValueError(f"x must be an image or a batch of images with 3 channels, {data_format}; received {x.shape}.")
    shape = (3,) if axis == -1 else (3, 1, 1)
    if mode == "caffe":
        return np.flip(x, axis) - np.asarray(_BGR_MEAN, x.dtype).reshape(shape)
    x = x / x.dtype.type(255) - np.asarray(_MEAN, x.dtype).reshape(shape)
    return x / np.asarray(_STDDEV, x.dtype).reshape(shape)


def preprocess_caffe(x: Any, data_format: str | None = None) -> np.ndarray:
    """Blue, green, red less the means of ImageNet; see `imagenet_utils.preprocess_input`."""
    return preprocess_input(x, data_format, "caffe")


def preprocess_tf(x: Any, data_format: str | None = None) -> np.ndarray:
    """Pixels from 0 to 255 as values from -1 to 1; see `imagenet_utils.preprocess_input`."""
    return preprocess_input(x, data_format, "tf")


def decode_predictions(preds: Any, top: int = 5, class_index: str | os.PathLike[str] | None = None) -> list[Any]:
    """For each sample the `top` likeliest classes: a list of (WordNet's number, name, score), the likeliest first.

    Args:
        preds: (N, 1000).
        class_index: a JSON file {"0": ["n01440764", "tench"], ...}; by default the one that Keras keeps in its folder.

    Raises:
        ValueError: another shape, or the file is not there: nothing is downloaded.
    """
    preds = np.asarray(preds)
    if preds.ndim != 2 or preds.shape[1] != CLASSES:
        raise ValueError(f"preds must have the shape (samples, {CLASSES}); received {preds.shape}.")
    path = os.fspath(class_index or keras_file("imagenet_class_index.json"))
    if not os.path.exists(path):
        raise ValueError(
            f"the names of the classes are read from {path}, which is not there, and nothing is downloaded. Keras "
            "downloads it when its decode_predictions is called; or give class_index, the path of such a file."
        )
    with open(path, encoding="utf-8") as stream:
        names = json.load(stream)
    best = np.argsort(-preds, axis=1, kind="stable")[:, :top]
    return [[(*names[str(i)], row[i]) for i in places] for row, places in zip(preds, best, strict=True)]
