"""Checks and times the GPU kernels on this machine's GPU, from a checkout: `make gpu` or python bench/gpu.py.

Needs neither a network nor an installation: beside Python it wants NumPy, Numba, numba-cuda, CuPy and pytest, and for
the comparison PyTorch. `--help` says what it does: all of that is in fastconv/bench/gpu/. This file only makes the
checkout importable. An import wants kernels/ as fastconv/kernels and bench/shapes/ as fastconv/bench/shapes, as
pyproject.toml says and an installation arranges; here a folder of links does.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("numpy", "numba", "pytest")


def main(argv: list[str]) -> int:
    """Run fastconv.bench.gpu on this checkout, whatever else is installed; returns its exit code."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"{sys.executable} has no {', '.join(missing)}; make gpu GPU_PYTHON=/path/to/python takes another Python."
        )
        return 2
    with tempfile.TemporaryDirectory(prefix="fastconv-") as folder:
        link_package(Path(folder))
        paths = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
        # The safe path leaves out the working folder, where fastconv/ lies without its kernels.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
        child = subprocess.Popen([sys.executable, "-m", "fastconv.bench.gpu", *argv], env=environment)
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:  # the child has it, too, and ends in good order
                pass


def link_package(folder: Path) -> None:
    """Lay `folder`/fastconv: links to this checkout, every package where an installation would have it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    moved = {
        folder / package.replace(".", "/"): ROOT / place
        for package, place in project["tool"]["setuptools"]["package-dir"].items()
    }
    _link(folder / "fastconv", ROOT / "fastconv", set(moved))
    for target, source in moved.items():
        target.symlink_to(source, target_is_directory=True)


def _link(target: Path, source: Path, moved: set[Path]) -> None:
    """A link, or a folder of links where a package from elsewhere shall lie in it."""
    if not any(target in place.parents for place in moved):
        target.symlink_to(source, target_is_directory=source.is_dir())
        return
    target.mkdir()
    for child in source.iterdir():
        _link(target / child.name, child, moved)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
