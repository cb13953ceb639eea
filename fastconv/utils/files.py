"""Writes files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A stream whose contents become the file `path` when the block ends, and are dropped when it raises.

    The contents are written beside `path`, flushed to the disk and renamed, so that an interruption or a full
    disk leaves an older file as it was.

    Raises:
        OSError: the folder cannot be written to.
    """
    target = Path(path).resolve()  # a link keeps pointing to the file
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(unfinished, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
