"""`FilesIterator`: batches of images read from files, with labels in the form that is asked for."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np

from fastconv import config
from fastconv.preprocessing.image.iterator import Copies, Iterator, subset_range
from fastconv.utils.images import (
    CHANNELS,
    checked_choice,
    checked_data_format,
    checked_size,
    img_to_array,
    load_img,
)


class FilesIterator(Iterator):
    """Base of the data sets of files. A subclass finds them, and then calls `_settle`.

    Attributes:
        samples: how many files. filenames, filepaths: their names, and where they are.
        classes: the class number of each. class_indices: class numbers by name.
        image_shape, target_size, color_mode, data_format, dtype, class_mode: of the batches.
    """

    filenames: list[str]
    filepaths: list[str]
    classes: Any
    class_indices: dict[str, int]
    class_mode: str | None
    labels: Any
    sample_weight: np.ndarray | None = None

    def set_processing_attrs(
        self,
        image_data_generator: Any,
        target_size: Any,
        color_mode: str,
        data_format: str | None,
        save_to_dir: Any,
        save_prefix: str,
        save_format: str,
        subset: str | None,
        interpolation: str,
        keep_aspect_ratio: bool,
        dtype: Any,
        unreadable: str,
    ) -> None:
        """Check and keep what decides how a file becomes an image."""
        self.image_data_generator = image_data_generator
        self.target_size = checked_size("target_size", target_size)
        self.color_mode = checked_choice("color_mode", color_mode, CHANNELS)
        self.data_format = checked_data_format(data_format)
        channels = CHANNELS[color_mode]
        self.image_shape = (
            (*self.target_size, channels) if self.data_format == "channels_last" else (channels, *self.target_size)
        )
        self.save_to_dir, self.save_prefix, self.save_format = save_to_dir, save_prefix, save_format
        self._copies = Copies(save_to_dir, save_prefix, save_format, self.data_format)
        self.interpolation, self.keep_aspect_ratio, self.subset = interpolation, keep_aspect_ratio, subset
        self.dtype = np.dtype(dtype or config.floatx()).name
        self.unreadable = checked_choice("unreadable", unreadable, ("raise", "skip"))
        subset_range(subset, 0, 0)

    def _part(self, count: int) -> slice:
        """The subset's part of `count` files."""
        split = self.image_data_generator.validation_split if self.image_data_generator else 0
        return slice(*subset_range(self.subset, split, count))

    def _batch(self, which: np.ndarray, numbers: np.ndarray) -> Any:
        images = np.empty((len(which), *self.image_shape), self.dtype)
        there = [n for n, sample in enumerate(which) if self._read(self.filepaths[sample], images[n])]
        if not there:
            raise OSError(f"no image of a batch can be read: {self.filepaths[which[0]]} and what follows it.")
        which, numbers = which[there], numbers[there]
        if self.image_data_generator:
            images = self.image_data_generator.augmented(images, there, numbers)
        else:
            images = images[there]
        self._copies.save(images, which, numbers)
        if self.class_mode is None:
            return images
        y = self._labels(which, images)
        return (images, y) if self.sample_weight is None else (images, y, self.sample_weight[which])

    def _read(self, path: str, out: np.ndarray) -> bool:
        """Whether the image could be read into `out`; if not, that is warned of, or raised."""
        try:
            image = load_img(path, self.color_mode, self.target_size, self.interpolation, self.keep_aspect_ratio)
            out[...] = img_to_array(image, self.data_format, self.dtype)
        except OSError as error:
            if self.unreadable == "raise":
                raise
            warnings.warn(f"left out: {error}", stacklevel=2)
            return False
        return True

    def _labels(self, which: np.ndarray, images: np.ndarray) -> Any:
        if self.class_mode == "input":
            return images.copy()
        if self.class_mode == "multi_output":
            return [column[which] for column in self.labels]
        if self.class_mode == "raw":
            return self.labels[which]
        if self.class_mode in ("binary", "sparse"):
            return np.array([self.classes[sample] for sample in which], self.dtype)
        rows = np.zeros((len(which), len(self.class_indices)), self.dtype)
        for row, sample in zip(rows, which, strict=True):
            row[self.classes[sample]] = 1
        return rows


def image_files(directory: str, formats: tuple[str, ...], follow_links: bool) -> list[str]:
    """Paths of the image files in a folder and those within it, sorted by folder, then by name."""
    return [
        os.path.join(root, name)
        for root, _, names in sorted(os.walk(directory, followlinks=follow_links), key=lambda found: found[0])
        for name in sorted(names)
        if name.lower().endswith(formats)
    ]


def class_folders(directory: str, classes: Any = None) -> list[str]:
    """Names of the folders in `directory` that stand for classes: `classes`, or all but hidden ones, sorted.

    Raises:
        FileNotFoundError: there is no such folder. ValueError: one of `classes` has no folder.
    """
    found = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        return found
    missing = [name for name in classes if not os.path.isdir(os.path.join(directory, name))]
    if missing:
        raise ValueError(f"{directory} has no folders {missing}; it has {found}.")
    return list(classes)
