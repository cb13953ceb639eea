"""`image_dataset_from_directory`: batches of images from folders, without augmentation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastconv import random
from fastconv.preprocessing.image import draws
from fastconv.preprocessing.image.files import class_folders, image_files
from fastconv.preprocessing.image.iterator import checked_seed
from fastconv.utils import resampling
from fastconv.utils.images import CHANNELS, checked_choice, checked_data_format, checked_size, img_to_array, load_img
from fastconv.utils.numeric import to_categorical
from fastconv.utils.py_dataset import PyDataset, one_pass

FORMATS = ("bmp", "gif", "jpeg", "jpg", "png")
_WORKERS = 4  # they wait for the disk, too


class ImageDataset(PyDataset):
    """What `image_dataset_from_directory` returns: every loop over it is a pass over its batches.

    Attributes:
        file_paths: of its files. class_names: names of the classes in the order of their numbers, or None.
    """

    def __init__(
        self,
        file_paths: list[str],
        labels: np.ndarray | None,
        class_names: list[str] | None,
        seed: int | None,
        batch_size: int | None,
        read: Callable[[str], np.ndarray],
        workers: int = _WORKERS,
        max_queue_size: int = 10,
    ) -> None:
        super().__init__(workers=workers, max_queue_size=max_queue_size)
        self.file_paths, self.class_names = file_paths, class_names
        self._labels, self._batch_size, self._read, self._seed = labels, batch_size, read, seed
        self._epoch = 0
        self._order = self._shuffled()

    def _shuffled(self) -> np.ndarray:
        count = len(self.file_paths)
        return np.arange(count) if self._seed is None else draws.order(self._seed, self._epoch, count)

    def __len__(self) -> int:
        return -(-len(self.file_paths) // (self._batch_size or 1))

    def __getitem__(self, index: int) -> Any:
        """Batch `index` of the epoch; without a batch size, sample `index`. Raises IndexError if there is none."""
        if not 0 <= index < len(self):
            raise IndexError(f"the batches are 0 to {len(self) - 1}; received {index}.")
        size = self._batch_size or 1
        which = self._order[index * size : (index + 1) * size]
        x = np.stack([self._read(self.file_paths[sample]) for sample in which])
        y = None if self._labels is None else self._labels[which]
        if self._batch_size is None:
            x, y = x[0], None if y is None else y[0]
        return x if y is None else (x, y)

    def __iter__(self) -> Iterator[Any]:
        """A pass, prepared by worker threads."""
        return one_pass(self)

    def on_epoch_end(self) -> None:
        """Go to the next epoch, which has another order if the data are shuffled."""
        self._epoch += 1
        self._order = self._shuffled()

    def take(self, count: int) -> Iterator[Any]:
        """The first `count` batches of a pass."""
        return (self[index] for index in range(min(count, len(self))))


def image_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    color_mode: str = "rgb",
    batch_size: int | None = 32,
    image_size: Any = (256, 256),
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
    follow_links: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    data_format: str | None = None,
    verbose: bool = True,
    **workers: int,
) -> Any:
    """Batches of images (bmp, gif, jpg, png) from a folder that has a folder for each class. Needs the extra `image`.

    The images are float32 in 0 to 255, (N, height, width, C); of moving ones the first picture.

    Args:
        directory: the folder.
        labels: "inferred" from the folders' names; None for none; or a class number for every file, in the order of
            their sorted paths.
        label_mode: "int" gives int32 (N,), "categorical" one-hot rows, "binary" float32 (N, 1), None no labels.
        class_names: names of the folders in the order of the classes' numbers; by default all, sorted.
        color_mode: "rgb", "rgba" or "grayscale".
        batch_size: None for single samples.
        image_size: (height, width) that all images are resized to.
        shuffle: whether files are mixed, and every pass has an order of its own.
        seed: of the order, an integer from 0 on. With it, `validation_split` cuts where Keras does.
        validation_split, subset: the share of the files, from the end, that "validation" takes, and which part to
            return: "training", "validation", or "both" as a list of two.
        interpolation: as for `preprocessing.image.smart_resize`.
        follow_links: whether to look into folders that are links.
        crop_to_aspect_ratio, pad_to_aspect_ratio: keep proportions: cut off what sticks out, or fill up with zeros.
        data_format: "channels_last" or "channels_first"; that of `config` by default.
        verbose: whether to print what was found.
        workers, max_queue_size: as for `PyDataset`.

    Raises:
        ValueError: an argument that is none of these, or no images. FileNotFoundError: no such folder.
        OSError: in a pass, with the name of a file that cannot be read.
    """
    checked_choice("label_mode", label_mode, ("int", "categorical", "binary", None))
    checked_choice("color_mode", color_mode, CHANNELS)
    size = checked_size("image_size", (image_size, image_size) if np.ndim(image_size) == 0 else image_size)
    checked_choice("interpolation", interpolation, resampling.INTERPOLATIONS)
    checked_choice("subset", subset, ("training", "validation", "both", None))
    data_format = checked_data_format(data_format)
    if batch_size is not None and (not hasattr(batch_size, "__index__") or batch_size < 1):
        raise ValueError(f"batch_size must be a positive integer or None; received {batch_size!r}.")
    if validation_split is not None and not 0 < validation_split < 1:
        raise ValueError(f"validation_split must be between 0 and 1; received {validation_split!r}.")
    if (validation_split is None) != (subset is None):
        raise ValueError("validation_split and subset must be given together.")
    if subset and shuffle and seed is None:
        raise ValueError("seed must be given where shuffled files are split, or the subsets overlap.")
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError("crop_to_aspect_ratio and pad_to_aspect_ratio cannot both be True.")
    if class_names is not None and (not isinstance(labels, str) or labels != "inferred"):
        raise ValueError('class_names can only be given with labels="inferred".')

    paths, numbers, names = _found(os.fspath(directory), labels, class_names, follow_links)
    if label_mode is None:
        numbers = names = None
    if label_mode == "binary" and names is not None and len(names) != 2:
        raise ValueError(f'label_mode="binary" needs 2 classes; received {len(names)}: {names}.')
    if verbose:
        print(f"Found {len(paths)} files" + (f" belonging to {len(names)} classes." if names is not None else "."))
    seed = random.new_seed() if seed is None else checked_seed(seed)
    targets = None if numbers is None else _targets(numbers, label_mode, len(names or ()))
    order = np.arange(len(paths))
    if shuffle:
        np.random.RandomState(seed % 2**32).shuffle(order)  # noqa: NPY002  Keras's order, so that its subsets are ours
    resize = (
        resampling.crop_and_resize
        if crop_to_aspect_ratio
        else resampling.resize_and_pad
        if pad_to_aspect_ratio
        else resampling.resize
    )

    def read(path: str) -> np.ndarray:
        image = img_to_array(load_img(path, color_mode), "channels_last", "float32")
        image = resize(image, size, interpolation)
        return image if data_format == "channels_last" else image.transpose(2, 0, 1)

    def dataset(rows: np.ndarray, name: str, shuffled: bool) -> ImageDataset:
        if not len(rows):
            raise ValueError(f"{directory} has no {name}images; formats: {', '.join(FORMATS)}.")
        files = [paths[row] for row in rows]
        part = None if targets is None else targets[rows]
        return ImageDataset(files, part, names, seed if shuffled else None, batch_size, read, **workers)

    if subset is None:
        return dataset(order, "", shuffle)
    cut = len(order) - int((validation_split or 0) * len(order))
    training, validation = order[:cut], order[cut:]
    if verbose:
        used = {
            "training": f"{len(training)} files for training",
            "validation": f"{len(validation)} files for validation",
        }
        print(f"Using {used.get(subset, ' and '.join(used.values()))}.")
    if subset == "both":
        return [dataset(training, "training ", shuffle), dataset(validation, "validation ", False)]
    return dataset({"training": training, "validation": validation}[subset], subset + " ", shuffle)


def _found(
    directory: str, labels: Any, class_names: Sequence[str] | None, follow_links: bool
) -> tuple[list[str], np.ndarray | None, list[str] | None]:
    """(paths, their class numbers, the classes' names). Raises ValueError for labels that do not suit."""
    if isinstance(labels, str) and labels == "inferred":
        names = class_folders(directory, class_names)
        files = [image_files(os.path.join(directory, name), FORMATS, follow_links) for name in names]
        numbers = np.repeat(np.arange(len(names), dtype=np.int32), [len(part) for part in files])
        return [path for part in files for path in part], numbers, names
    if not os.path.isdir(directory):
        raise FileNotFoundError(f"there is no folder {directory}.")
    paths = image_files(directory, FORMATS, follow_links)
    if labels is None:
        return paths, None, None
    if not isinstance(labels, (list, tuple)) or len(labels) != len(paths):
        received = f"{len(labels)}" if isinstance(labels, (list, tuple)) else repr(labels)
        raise ValueError(
            f'labels must be "inferred", None, or a list of {len(paths)} class numbers, one for each file; '
            f"received {received}."
        )
    return paths, np.asarray(labels, np.int32), [str(label) for label in sorted(set(labels))]


def _targets(numbers: np.ndarray, label_mode: str | None, count: int) -> np.ndarray:
    if label_mode == "categorical":
        return to_categorical(numbers, count)
    return numbers if label_mode == "int" else numbers.astype(np.float32)[:, np.newaxis]
