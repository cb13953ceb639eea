"""HDF5 files read with distrust, and the few things that are written into them.

Names come from the caller or are looked up one by one; of what lies under them only plain arrays, stored in the
file itself, and texts are read, after their size has been checked. Links, external and virtual data, objects
and references are refused: they could name other files, or stand for any amount of memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import h5py
import numpy as np

MOST_TEXT_BYTES = 2**24  # of a config; a network of a thousand layers takes a tenth of it
_MOST_NAMES = 2**17
_HEADER_BYTES = 64512  # HDF5 keeps an attribute in an object's header, which holds no more


@contextmanager
def open_for_reading(stream: BinaryIO, source: str) -> Iterator[Group]:
    """The root of an HDF5 file.

    Args:
        stream: the file.
        source: its name for messages.

    Raises:
        ValueError: here and in the block, for whatever HDF5 finds wrong.
    """
    try:
        with h5py.File(stream, "r") as file:
            yield Group(file, source)
    except (OSError, LookupError, RuntimeError, TypeError, AttributeError, MemoryError) as error:
        raise ValueError(f"{source} is not a readable HDF5 file, or a damaged one: {error}") from error


class Group:
    """A group of a file; see the module for what is refused, with a ValueError that names the file."""

    def __init__(self, group: h5py.Group, source: str) -> None:
        self._group = group
        self.source = source

    def __iter__(self) -> Iterator[str]:
        return iter(self._group)

    def __len__(self) -> int:
        return len(self._group)

    def __contains__(self, name: str) -> bool:
        return self._group.get(name, getlink=True) is not None

    @property
    def path(self) -> str:
        """The name of the group in the file, "" for the root."""
        return self._group.name.rstrip("/")

    def group(self, path: str) -> Group | None:
        """The group at `path` below this one, or None if there is nothing."""
        found = self._find(path, h5py.Group)
        return None if found is None else Group(found, self.source)

    def shape(self, path: str) -> tuple[int, ...]:
        """The shape of the array at `path`; ValueError if there is none."""
        return tuple(self._dataset(path).shape)

    def array(self, path: str, shape: Sequence[int], dtype: np.dtype, owner: str) -> np.ndarray:
        """The array at `path`, in the dtype that it has in the file.

        Args:
            shape: which it must have; nothing is read before that is seen.
            dtype: where it goes: whole numbers for whole numbers, floating ones for floating ones.
            owner: what expects it, for messages.
        """
        dataset = self._dataset(path)
        if dataset.dtype.kind not in ("iu" if dtype.kind in "iu" else "f"):
            raise self.refuse(f"{dataset.name} has dtype {dataset.dtype}, expected {dtype}")
        if tuple(dataset.shape) != tuple(shape):
            raise self.refuse(f"{dataset.name} has shape {dataset.shape}, but {owner} has shape {tuple(shape)}")
        # Also refuses compressed data, which may expand to anything, and data that was never written.
        if dataset.chunks is not None or dataset.id.get_storage_size() != dataset.nbytes:
            raise self.refuse(f"{dataset.name} is not stored plainly")
        return dataset[()]

    def text(self, attribute: str) -> str | None:
        """An attribute that holds a text, or None if there is none."""
        value = self._texts(attribute)
        if value is None:
            return None
        if len(value) != 1:
            raise self.refuse(f"{self.path}/{attribute} holds {len(value)} texts, expected one")
        return value[0]

    def names(self, attribute: str) -> list[str] | None:
        """An attribute that holds names, or its parts `attribute`0, `attribute`1 ...; None if there is none."""
        whole = self._texts(attribute)
        if whole is not None:
            return whole
        names: list[str] = []
        number = 0
        while (part := self._texts(f"{attribute}{number}")) is not None:
            names += part
            number += 1
        return names if number else None

    def integers(self, attribute: str, count: int) -> list[int] | None:
        """An attribute that holds `count` integers of at least 0, or None if there is none."""
        if attribute not in self._group.attrs:
            return None
        stored = self._group.attrs.get_id(attribute)
        if stored.shape != (count,) or stored.dtype.kind != "u":
            raise self.refuse(f"{self.path}/{attribute} is no list of {count} integers")
        return [int(value) for value in self._group.attrs[attribute]]

    def refuse(self, what: str) -> ValueError:
        """The error that says what is wrong with the file."""
        return ValueError(f"{self.source}: {what}.")

    def _find(self, path: str, kind: type) -> Any:
        here = self._group
        for name in path.split("/"):
            if not isinstance(here, h5py.Group) or name in ("", ".", ".."):
                raise self.refuse(f"{self.path}/{path} cannot be a place in the file")
            link = here.get(name, getlink=True)
            if link is None:
                return None
            where = f"{here.name.rstrip('/')}/{name}"
            if not isinstance(link, h5py.HardLink):
                raise self.refuse(f"{where} is a {type(link).__name__}; links are not followed")
            here = here[name]
        if not isinstance(here, kind):
            raise self.refuse(f"{where} is a {type(here).__name__}, not a {kind.__name__}")
        return here

    def _dataset(self, path: str) -> Any:
        dataset = self._find(path, h5py.Dataset)
        if dataset is None:
            raise self.refuse(f"{self.path}/{path} is missing")
        if dataset.is_virtual or dataset.external:
            raise self.refuse(f"{dataset.name} takes its data from other files")
        if dataset.shape is None:
            raise self.refuse(f"{dataset.name} is empty")
        return dataset

    def _texts(self, name: str) -> list[str] | None:
        if name not in self._group.attrs:
            return None
        attribute = self._group.attrs.get_id(name)
        shape, dtype = attribute.shape, attribute.dtype
        if shape is not None and 0 in shape:
            return []  # whatever its dtype: NumPy makes an empty list one of floats
        if shape is None or (dtype.kind != "S" and h5py.check_string_dtype(dtype) is None):
            raise self.refuse(f"{self.path}/{name} holds {dtype}, expected text")
        if math.prod(shape) > _MOST_NAMES or math.prod(shape) * dtype.itemsize > MOST_TEXT_BYTES:
            raise self.refuse(f"{self.path}/{name} claims {shape} texts of {dtype}, more than can be")
        values = np.ravel(np.asarray(self._group.attrs[name], object))
        texts = [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values]
        if sum(map(len, texts)) > MOST_TEXT_BYTES:
            raise self.refuse(f"{self.path}/{name} has more than {MOST_TEXT_BYTES} characters")
        return texts


def write_names(group: h5py.Group, attribute: str, names: Iterable[str]) -> None:
    """Names as an attribute, in as many parts as HDF5 needs: `attribute`, or `attribute`0, `attribute`1 ..."""
    encoded = np.asarray([name.encode() for name in names])
    parts = max(1, math.ceil(encoded.nbytes / _HEADER_BYTES))
    while any(part.nbytes > _HEADER_BYTES for part in np.array_split(encoded, parts)):
        parts += 1
    for number, part in enumerate(np.array_split(encoded, parts)):
        group.attrs[attribute if parts == 1 else f"{attribute}{number}"] = part
