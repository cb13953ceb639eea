"""`Iterator`: what the data sets of images have in common: the order of samples, epochs, and copies to look at."""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Iterator as Iterating
from typing import Any

import numpy as np

from fastconv import random
from fastconv.preprocessing.image import draws
from fastconv.utils.images import checked_choice, save_img
from fastconv.utils.py_dataset import PyDataset

SUBSETS = ("training", "validation", None)
_WORKERS = 2 if (os.cpu_count() or 1) > 2 else 1  # a step needs both of two cores


def checked_seed(seed: Any) -> int:
    """It as an integer. Raises ValueError if it is not one from 0 to 2**128 - 1."""
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < 2**128:
        raise ValueError(f"seed must be an integer from 0 to 2**128 - 1, or None; received {seed!r}.")
    return number


class Iterator(PyDataset):
    """Batches of n samples, by number or one after the other, without end.

    A subclass has `_batch(places, which, numbers)`. Sample and random numbers of every place depend on the seed and the
    epoch alone; `next`, and each pass of `fit`, go from one epoch to the next.

    Attributes:
        n, batch_size, shuffle, seed: as given.
        index_array: samples in the order of the epoch, (n,).
        batch_index: the number of the batch that `next` gives.
        total_batches_seen: batches given so far.
    """

    white_list_formats = ("png", "jpg", "jpeg", "bmp", "ppm", "tif", "tiff")

    def __init__(
        self,
        n: int,
        batch_size: int,
        shuffle: bool,
        seed: int | None,
        workers: int = _WORKERS,
        max_queue_size: int = 10,
    ) -> None:
        super().__init__(workers=workers, max_queue_size=max_queue_size)
        if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or batch_size < 1:
            raise ValueError(f"batch_size must be a positive integer; received {batch_size!r}.")
        self.n, self.batch_size, self.shuffle, self.seed = n, int(batch_size), bool(shuffle), seed
        self._seed = random.new_seed() if seed is None else checked_seed(seed)
        self.lock = threading.Lock()
        self.total_batches_seen = 0
        self._begin(0)

    def _begin(self, epoch: int) -> None:
        self.batch_index, self._epoch = 0, epoch
        self.index_array = draws.order(self._seed, epoch, self.n) if self.shuffle else np.arange(self.n)

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def __getitem__(self, index: int) -> Any:
        """Batch `index` of the epoch. Raises ValueError if there is none."""
        if not 0 <= index < len(self):
            raise ValueError(f"the batches are 0 to {len(self) - 1}; received {index}.")
        with self.lock:
            self.total_batches_seen += 1
        return self._at(self._epoch, self.index_array, index)

    def _at(self, epoch: int, order: np.ndarray, index: int) -> Any:
        first = index * self.batch_size
        which = order[first : first + self.batch_size]
        return self._batch(which, draws.numbers(self._seed, epoch, first, len(which)))

    def _batch(self, which: np.ndarray, numbers: np.ndarray) -> Any:
        """The batch of samples `which`, (N,), transformed by random numbers (N, draws.NUMBERS)."""
        raise NotImplementedError

    def __iter__(self) -> Iterating[Any]:
        return self

    def __next__(self) -> Any:
        with self.lock:
            if not self.n:
                raise StopIteration
            epoch, order, index = self._epoch, self.index_array, self.batch_index
            self.total_batches_seen += 1
            self.batch_index += 1
            if self.batch_index == len(self):
                self._begin(epoch + 1)
        return self._at(epoch, order, index)

    def on_epoch_end(self) -> None:
        """Go to the next epoch: another order, other transformations."""
        self._begin(self._epoch + 1)

    def reset(self) -> None:
        """Let `next` begin a pass; that of the next epoch, if it is in the middle of one."""
        if self.batch_index:
            self.on_epoch_end()


class Copies:
    """Writes batches to a folder, to be looked at.

    Args:
        directory: the folder; None for nothing to write.
        prefix, file_format: how the files' names begin and end.
        data_format: of the images.

    Raises:
        ValueError: there is no such folder.
    """

    def __init__(self, directory: Any, prefix: str, file_format: str, data_format: str) -> None:
        if directory is not None and not os.path.isdir(directory):
            raise ValueError(f"save_to_dir must be a folder that exists; received {directory!r}.")
        self._directory, self._prefix, self._format, self._data_format = directory, prefix, file_format, data_format

    def save(self, images: np.ndarray, which: np.ndarray, numbers: np.ndarray) -> None:
        """Write images, stretched to 0 to 255, as prefix_sample_number.format; the number comes from `numbers`."""
        if self._directory is None:
            return
        for image, sample, drawn in zip(images, which, numbers, strict=True):
            name = f"{self._prefix}_{sample}_{int(drawn[0] * 1e7)}.{self._format}"
            save_img(os.path.join(self._directory, name), image, self._data_format)


def subset_range(subset: str | None, validation_split: float, count: int) -> tuple[int, int]:
    """(first, end) of a subset of `count` samples: the validation's come first, the training's after it.

    Raises:
        ValueError: there is no such subset.
    """
    checked_choice("subset", subset, SUBSETS)
    cut = int(count * validation_split)
    return {"training": (cut, count), "validation": (0, cut)}.get(subset or "", (0, count))
