"""Reads a dataset of small grey images from the original idx files or from a Keras .npz."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

Arrays = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

IDX_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
NPZ_NAMES = ("x_train", "y_train", "x_test", "y_test")

_SIDE = 28
_CLASSES = 10
# Two zero bytes, 8 for unsigned byte, then the number of dimensions.
_MAGIC = {3: 0x0803, 1: 0x0801}


def missing_idx(folder: Path) -> list[str]:
    """The names among the four idx files that `folder` does not have."""
    return [name for name in IDX_NAMES if not (folder / name).is_file()]


def read_idx_folder(folder: Path) -> Arrays:
    """Read the four idx .gz files of `folder`: images uint8 (N, 28, 28), labels uint8 (N,).

    Raises:
        ValueError: a file is damaged or its contents do not fit; the message names the file.
    """
    sets = []
    for images_name, labels_name in (IDX_NAMES[:2], IDX_NAMES[2:]):
        images, labels = _read_idx(folder / images_name, 3), _read_idx(folder / labels_name, 1)
        _check(images, labels, str(folder / images_name), str(folder / labels_name))
        sets.append((images, labels))
    return sets[0], sets[1]


def read_npz(path: Path) -> Arrays:
    """Read an .npz with x_train, y_train, x_test, y_test as Keras publishes it.

    Raises:
        ValueError: the file is damaged, an array is missing or does not fit; the message names the file.
    """
    try:
        # np.load leaves a file open that it opened itself and found to be damaged.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            x_train, y_train, x_test, y_test = (archive[name] for name in NPZ_NAMES)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is not an .npz with the arrays {', '.join(NPZ_NAMES)}: {error}. Delete it and get it again."
        ) from error
    _check(x_train, y_train, f"{path}: x_train", f"{path}: y_train")
    _check(x_test, y_test, f"{path}: x_test", f"{path}: y_test")
    return (x_train, y_train), (x_test, y_test)


def _read_idx(path: Path, ndim: int) -> np.ndarray:
    """One idx file: a big-endian header (magic number, then each dimension), then the bytes."""
    header_bytes = 4 * (1 + ndim)
    try:
        with gzip.open(path) as stream:
            header = stream.read(header_bytes)
            magic, *shape = np.frombuffer(header, dtype=">u4", count=1 + ndim).tolist()
            if magic != _MAGIC[ndim]:
                raise ValueError(f"its magic number is {magic}, not {_MAGIC[ndim]}")
            size = math.prod(shape)
            data = stream.read(size + 1)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole idx{ndim} .gz file: {error}. Delete it and get it again.") from error
    if len(data) != size:
        found = "more" if len(data) > size else f"only {len(data)}"
        raise ValueError(
            f"{path}: the header {tuple(shape)} asks for {size} bytes and the file has {found}. "
            "Delete it and get it again."
        )
    return np.frombuffer(data, dtype=np.uint8).reshape(shape).copy()  # frombuffer alone is read-only


def _check(images: np.ndarray, labels: np.ndarray, images_from: str, labels_from: str) -> None:
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (_SIDE, _SIDE):
        raise ValueError(
            f"{images_from}: expected uint8 images of shape (N, {_SIDE}, {_SIDE}), got {images.dtype} {images.shape}."
        )
    if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{labels_from}: expected {len(images)} uint8 labels as there are images, "
            f"got {labels.dtype} {labels.shape}."
        )
    if labels.size and labels.max() >= _CLASSES:
        raise ValueError(f"{labels_from}: expected labels 0 to {_CLASSES - 1}, got {labels.max()}.")
