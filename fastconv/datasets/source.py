"""Finds a published dataset on this machine, or downloads it.

The order: the path that was given, $FASTCONV_DATA/<name>, fastconv's cache, Keras's cache, the mirrors.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from fastconv.datasets.files import IDX_NAMES, Arrays, missing_idx, read_idx_folder, read_npz
from fastconv.utils.optional import require

_TIMEOUT_S = 20


@dataclass(frozen=True)
class Source:
    """Where a dataset comes from.

    Attributes:
        name: its name in `fastconv.datasets`, and of its folder in $FASTCONV_DATA and in the cache.
        keras_cache: what Keras keeps in ~/.keras/datasets: an .npz, or a folder of idx files.
        mirrors: URLs of folders with the original files, the first tried first.
        sha256: of each original file, by name.
    """

    name: str
    keras_cache: str
    mirrors: tuple[str, ...]
    sha256: dict[str, str]

    def load(self, path: str | os.PathLike[str] | None = None) -> tuple[Arrays, Path]:
        """The arrays, and the file or folder that they were read from.

        Raises:
            FileNotFoundError: `path` does not have the data; or, without `path`, no place has it.
            ValueError: a file is damaged.
        """
        # Keras's own argument is the name of the file in its cache; programs pass it as "mnist.npz".
        if path is not None and not (os.fspath(path) == self.keras_cache and not Path(path).exists()):
            return self._from_given(Path(path).expanduser())
        for place in self._places():
            if place.is_dir() and not missing_idx(place):
                return read_idx_folder(place), place
            archive = place if place.suffix == ".npz" else place / f"{self.name}.npz"
            if archive.is_file():
                return read_npz(archive), archive
        self._download()
        return read_idx_folder(self._cache()), self._cache()

    def _from_given(self, path: Path) -> tuple[Arrays, Path]:
        if path.is_file():
            return read_npz(path), path
        archive = path / f"{self.name}.npz"
        if archive.is_file():
            return read_npz(archive), archive
        if not path.is_dir():
            raise FileNotFoundError(f"{self.name}: {path} does not exist.")
        missing = missing_idx(path)
        if missing:
            raise FileNotFoundError(
                f"{self.name}: the folder {path} has neither {archive.name} nor {', '.join(missing)}."
            )
        return read_idx_folder(path), path

    def _cache(self) -> Path:
        return cache_folder() / self.name

    def _places(self) -> list[Path]:
        keras_home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
        places = [self._cache(), keras_home / "datasets" / self.keras_cache]
        if os.environ.get("FASTCONV_DATA"):
            places.insert(0, Path(os.environ["FASTCONV_DATA"]).expanduser() / self.name)
        return places

    def _download(self) -> None:
        """Fetch the four files into the cache, each checked against its SHA-256."""
        try:
            pooch = require("pooch", extra="data")
            downloader = pooch.HTTPDownloader(timeout=_TIMEOUT_S)
            for name in IDX_NAMES:
                self._download_file(pooch, downloader, name)
        except (ImportError, OSError, ValueError) as error:
            raise FileNotFoundError(self._help(error)) from error

    def _download_file(self, pooch: ModuleType, downloader: Any, name: str) -> None:
        failures = []
        for mirror in self.mirrors:
            try:
                pooch.retrieve(
                    mirror + name,
                    known_hash="sha256:" + self.sha256[name],
                    fname=name,
                    path=self._cache(),
                    downloader=downloader,
                )
                return
            except (OSError, ValueError) as error:  # no connection; or not the published file
                failures.append(f"{mirror}{name}: {error}")
        raise OSError("; ".join(failures))

    def _help(self, error: Exception) -> str:
        places = "\n".join(f"      {place}" for place in self._places())
        mirrors = "\n".join(f"      {mirror}" for mirror in self.mirrors)
        return (
            f"{self.name} is not on this machine and could not be downloaded ({error})\n"
            "Any one of these helps:\n"
            f"  - give its folder or .npz: datasets.{self.name}.load_data(path), or fastconv train --data\n"
            f"  - set FASTCONV_DATA to the folder above {self.name}/\n"
            f"  - put the files where they are looked for:\n{places}\n"
            f"  - pip install 'fastconv[data]' and connect to one of the mirrors:\n{mirrors}\n"
            f"The files: {', '.join(IDX_NAMES)}; or {self.name}.npz with Keras's array names."
        )


def cache_folder() -> Path:
    """Where downloads are kept: $XDG_CACHE_HOME/fastconv/datasets, by default under ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "fastconv" / "datasets"
