"""Writes the logs of every epoch into a table."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from typing import Any, TextIO

from fastconv.callbacks.callback import Callback


class CSVLogger(Callback):
    """Writes a row per epoch, at once: the epoch counted from 0, then the logs in alphabetical order.

    The columns are those of the first epoch; without validation in it, also one with "val_" for each. What an
    epoch does not have is "NA".

    Args:
        filename: the file to write.
        separator: between columns.
        append: whether to go on in an existing file, without a second header, or to begin it anew.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.filename = os.fspath(filename)
        self.separator = separator
        self.append = append
        self._file: TextIO | None = None
        self._columns: list[str] = []

    def on_train_begin(self, logs=None):
        self.release()
        self._columns = []
        self._file = open(self.filename, "a" if self.append else "w", newline="", encoding="utf-8")

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        rows = csv.writer(self._file, delimiter=self.separator)
        if not self._columns:
            self._columns = _columns(logs)
            if self._file.tell() == 0:
                rows.writerow(["epoch", *self._columns])
        rows.writerow([epoch, *(_cell(logs.get(name, "NA")) for name in self._columns)])
        self._file.flush()

    def on_train_end(self, logs=None):
        self.release()

    def release(self):
        if self._file is not None:
            self._file.close()
            self._file = None


def _columns(logs: Iterable[str]) -> list[str]:
    names = sorted(logs)
    has_validation = any(name.startswith("val_") for name in names)
    return names if has_validation else names + [f"val_{name}" for name in names]


def _cell(value: Any) -> Any:
    if isinstance(value, str) or getattr(value, "ndim", 1) == 0 or not isinstance(value, Iterable):
        return value
    return f"[{', '.join(map(str, value))}]"
