"""`DataFrameIterator`: batches from a table of image files and their labels."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np

from fastconv.preprocessing.image.files import FilesIterator
from fastconv.utils.images import checked_choice

_OF_CLASSES = ("binary", "categorical", "sparse")


class DataFrameIterator(FilesIterator):
    """What `ImageDataGenerator.flow_from_dataframe` returns; its arguments are described there.

    Of the table only `table[column]` is used, which must give the column's values in order.
    """

    allowed_class_modes = ("binary", "categorical", "input", "multi_output", "raw", "sparse", None)

    def __init__(
        self,
        dataframe: Any,
        directory: Any = None,
        image_data_generator: Any = None,
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
        data_format: str | None = "channels_last",
        save_to_dir: Any = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        dtype: Any = "float32",
        validate_filenames: bool = True,
        unreadable: str = "raise",
        **workers: int,
    ) -> None:
        self.set_processing_attrs(
            image_data_generator, target_size, color_mode, data_format, save_to_dir, save_prefix, save_format, subset,
            interpolation, keep_aspect_ratio, dtype, unreadable,
        )  # fmt: skip
        self.class_mode = checked_choice("class_mode", class_mode, self.allowed_class_modes)
        self.directory = os.fspath(directory or "")
        if class_mode == "multi_output" and not isinstance(y_col, list):
            raise TypeError(f'y_col must be a list of columns for class_mode="multi_output"; received {y_col!r}.')
        files = list(dataframe[x_col])
        if not all(isinstance(file, str) for file in files):
            raise TypeError(f"x_col: all values of the column {x_col!r} must be strings.")
        weights = None if weight_col is None else np.asarray(dataframe[weight_col])
        if weights is not None and weights.dtype.kind not in "biuf":
            raise TypeError(f"weight_col: the column {weight_col!r} must hold numbers; received {weights.dtype}.")
        if classes and class_mode not in _OF_CLASSES:
            warnings.warn(f"classes is ignored for class_mode={class_mode!r}.", stacklevel=3)

        rows = np.arange(len(files))
        if validate_filenames:
            rows = rows[[self._is_image(file) for file in files]]
            if len(rows) < len(files):
                number = len(files) - len(rows)
                warnings.warn(f"x_col: {number} file(s) of the column {x_col!r} are left out: no images.", stacklevel=3)
        found = ""
        if class_mode in _OF_CLASSES:
            labels = [_known(label, classes, y_col, class_mode) for label in dataframe[y_col]]
            rows = rows[[labels[row] is not None for row in rows]]
            names = list(dict.fromkeys(classes)) if classes else sorted({n for r in rows for n in labels[r] or ()})
            if class_mode == "binary" and len(names) != 2:
                raise ValueError(f'class_mode="binary" needs 2 classes; received {len(names)}: {names}.')
            self.class_indices = {name: number for number, name in enumerate(names)}
            found = f" belonging to {len(names)} classes"
        rows = rows[self._part(len(rows))]
        if class_mode in _OF_CLASSES:
            numbers = [[self.class_indices[name] for name in labels[row] or ()] for row in rows]
            self.classes = self.labels = [n if len(n) != 1 else n[0] for n in numbers]
        elif class_mode == "multi_output":
            self.labels = [np.array(list(dataframe[column]))[rows] for column in y_col]
        elif class_mode == "raw":
            columns = [np.array(list(dataframe[c])) for c in (y_col if isinstance(y_col, list) else [y_col])]
            self.labels = (np.stack(columns, axis=1) if isinstance(y_col, list) else columns[0])[rows]
        self.sample_weight = None if weights is None else weights[rows]
        self.filenames = [files[row] for row in rows]
        self.filepaths = [os.path.join(self.directory, name) for name in self.filenames]
        self.samples = len(self.filenames)
        validated = "validated" if validate_filenames else "non-validated"
        print(f"Found {self.samples} {validated} image filenames{found}.")
        super().__init__(self.samples, batch_size, shuffle, seed, **workers)

    def _is_image(self, file: str) -> bool:
        path = os.path.join(self.directory, file)
        return path.lower().endswith(self.white_list_formats) and os.path.isfile(path)


def _known(label: Any, classes: Any, y_col: str, class_mode: str) -> list[str] | None:
    """The label, or list of labels, as a list of those that are among `classes`; None where there are none.

    Raises:
        TypeError: it is no label.
    """
    if _is_missing(label):
        return None
    names = list(label) if isinstance(label, (list, tuple)) and class_mode == "categorical" else [label]
    if not all(isinstance(name, str) for name in names):
        kinds = "strings, or lists of them" if class_mode == "categorical" else "strings"
        raise TypeError(f"y_col: the values of the column {y_col!r} must be {kinds}; received {label!r}.")
    return [name for name in names if not classes or name in classes] or None


def _is_missing(label: Any) -> bool:
    """Whether it is None, NaN or pandas's NA, which has no truth value."""
    try:
        return label is None or bool(label != label)
    except TypeError:
        return True
    except ValueError:  # an array
        return False
