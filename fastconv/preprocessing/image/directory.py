"""`DirectoryIterator`: batches from a folder that has a folder of image files for each class."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from fastconv.preprocessing.image.files import FilesIterator, class_folders, image_files
from fastconv.utils.images import checked_choice


class DirectoryIterator(FilesIterator):
    """What `ImageDataGenerator.flow_from_directory` returns; its arguments are described there.

    Attributes:
        directory, num_classes, and those of `FilesIterator`.
    """

    allowed_class_modes = ("categorical", "binary", "sparse", "input", None)

    def __init__(
        self,
        directory: Any,
        image_data_generator: Any,
        target_size: Any = (256, 256),
        color_mode: str = "rgb",
        classes: Any = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        data_format: str | None = None,
        save_to_dir: Any = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        dtype: Any = None,
        unreadable: str = "raise",
        **workers: int,
    ) -> None:
        self.set_processing_attrs(
            image_data_generator, target_size, color_mode, data_format, save_to_dir, save_prefix, save_format, subset,
            interpolation, keep_aspect_ratio, dtype, unreadable,
        )  # fmt: skip
        self.class_mode = checked_choice("class_mode", class_mode, self.allowed_class_modes)
        self.directory = os.fspath(directory)
        names = class_folders(self.directory, classes)
        self.num_classes = len(names)
        self.class_indices = {name: number for number, name in enumerate(names)}
        self.filenames, numbers = [], []
        for number, name in enumerate(names):
            files = image_files(os.path.join(self.directory, name), self.white_list_formats, follow_links)
            files = files[self._part(len(files))]
            self.filenames += [os.path.relpath(file, self.directory) for file in files]
            numbers += [number] * len(files)
        self.classes = self.labels = np.array(numbers, np.int32)
        self.filepaths = [os.path.join(self.directory, name) for name in self.filenames]
        self.samples = len(self.filenames)
        print(f"Found {self.samples} images belonging to {self.num_classes} classes.")
        super().__init__(self.samples, batch_size, shuffle, seed, **workers)
