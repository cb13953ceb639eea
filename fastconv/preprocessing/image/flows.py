"""The data sets that an `ImageDataGenerator` makes."""

from __future__ import annotations

import warnings
from typing import Any

from fastconv.preprocessing.image.arrays import NumpyArrayIterator
from fastconv.preprocessing.image.dataframe import DataFrameIterator
from fastconv.preprocessing.image.directory import DirectoryIterator


class Flows:
    """The part of `ImageDataGenerator` that begins with "flow"."""

    data_format: str
    dtype: str

    def flow(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: Any = None,
        seed: int | None = None,
        save_to_dir: Any = None,
        save_prefix: str = "",
        save_format: str = "png",
        ignore_class_split: bool = False,
        subset: str | None = None,
        **workers: int,
    ) -> NumpyArrayIterator:
        """Batches from arrays.

        Args:
            x: images, (N, H, W, C) or in "channels_first" (N, C, H, W); or a pair of them and another array, or list of
                arrays, that goes with them.
            y, sample_weight: what belongs to them, N long; may be None.
            batch_size: images in a batch; the last of a pass may be smaller.
            shuffle: whether every pass has an order of its own.
            seed: an integer from 0 on, for the same batches at every run; by default what `set_random_seed` determines.
            save_to_dir, save_prefix, save_format: a folder for copies of all batches, to look at, their names'
                beginning and their format.
            ignore_class_split: do not mind that the two subsets have different classes.
            subset: "training" or "validation" where `validation_split` was set.
            workers, max_queue_size: as for `utils.PyDataset`.

        Raises:
            ValueError: an argument that is none of these.
        """
        return NumpyArrayIterator(
            x, y, self, batch_size=batch_size, shuffle=shuffle, sample_weight=sample_weight, seed=seed,
            data_format=self.data_format, save_to_dir=save_to_dir, save_prefix=save_prefix, save_format=save_format,
            subset=subset, ignore_class_split=ignore_class_split, dtype=self.dtype, **workers,
        )  # fmt: skip

    def flow_from_directory(
        self,
        directory: Any,
        target_size: Any = (256, 256),
        color_mode: str = "rgb",
        classes: Any = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: Any = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        unreadable: str = "raise",
        **workers: int,
    ) -> DirectoryIterator:
        """Batches from a folder that has a folder of image files (png, jpg, bmp, ppm, tif) for each class.

        Args:
            directory: the folder.
            target_size, color_mode, interpolation, keep_aspect_ratio: as for `utils.load_img`.
            classes: names of the folders, in the order of the classes' numbers; by default all of them, sorted. Folders
                whose names begin with a dot are none, unlike in Keras.
            class_mode: what y is: "categorical" one-hot rows, "binary" or "sparse" class numbers, "input" the images
                themselves, None nothing.
            batch_size, shuffle, seed, save_to_dir, save_prefix, save_format, subset: as for `flow`; the subsets are
                taken from each class.
            follow_links: whether to look into folders that are links.
            unreadable: "raise" an OSError with the name of a file that cannot be read, or "skip" it with a warning,
                which makes its batch smaller.
            workers, max_queue_size: as for `utils.PyDataset`.

        Raises:
            ValueError: an argument that is none of these. FileNotFoundError: no such folder.
        """
        return DirectoryIterator(
            directory, self, target_size=target_size, color_mode=color_mode, classes=classes, class_mode=class_mode,
            batch_size=batch_size, shuffle=shuffle, seed=seed, data_format=self.data_format, save_to_dir=save_to_dir,
            save_prefix=save_prefix, save_format=save_format, follow_links=follow_links, subset=subset,
            interpolation=interpolation, keep_aspect_ratio=keep_aspect_ratio, dtype=self.dtype, unreadable=unreadable,
            **workers,
        )  # fmt: skip

    def flow_from_dataframe(
        self,
        dataframe: Any,
        directory: Any = None,
        x_col: str = "filename",
        y_col: Any = "class",
        weight_col: str | None = None,
        target_size: Any = (256, 256),
        color_mode: str = "rgb",
        classes: Any = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: Any = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        interpolation: str = "nearest",
        validate_filenames: bool = True,
        keep_aspect_ratio: bool = False,
        unreadable: str = "raise",
        **workers: int,
    ) -> DataFrameIterator:
        """Batches from a table of files: a pandas data frame, or any mapping of column names to values.

        Args:
            dataframe: the table.
            directory: the folder that the files' names start from; by default they are paths.
            x_col, y_col, weight_col: the columns of the files' names, the labels (for "multi_output", and if wanted
                "raw", a list of columns) and the samples' weights.
            classes: names of the classes in the order of their numbers, rows of others are left out; by default all,
                sorted.
            class_mode: what y is: "categorical" rows with a one for the label, or each of a list of labels; "binary" or
                "sparse" class numbers; "raw" the column's values; "multi_output" a list of the columns' values;
                "input" the images themselves; None nothing.
            validate_filenames: whether to leave out, with a warning, names of files that are not there.
            target_size and what follows: as for `flow_from_directory`.

        Raises:
            ValueError, TypeError: an argument that is none of these, or a column's values that do not suit.
        """
        if class_mode == "other":
            warnings.warn('class_mode="other" is the old name of "raw".', DeprecationWarning, stacklevel=2)
            class_mode = "raw"
        return DataFrameIterator(
            dataframe, directory, self, x_col=x_col, y_col=y_col, weight_col=weight_col, target_size=target_size,
            color_mode=color_mode, classes=classes, class_mode=class_mode, batch_size=batch_size, shuffle=shuffle,
            seed=seed, data_format=self.data_format, save_to_dir=save_to_dir, save_prefix=save_prefix,
            save_format=save_format, subset=subset, interpolation=interpolation, keep_aspect_ratio=keep_aspect_ratio,
            dtype=self.dtype, validate_filenames=validate_filenames, unreadable=unreadable, **workers,
        )  # fmt: skip
