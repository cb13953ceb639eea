"""What is refused before any work is done."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastconv import kernels
from fastconv.kernels import Kernel, registry
from fastconv.models import Sequential, zoo

MODELS: dict[str, Callable[[], Sequential]] = {"mnist": zoo.mnist, "fashion": zoo.fashion}


class CommandError(Exception):
    """What the user asked for cannot be done; the message says why."""


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """An argparse type: a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        if not text.lstrip("-").isdecimal() or int(text) < low or (high is not None and int(text) > high):
            limits = f"from {low}" if high is None else f"from {low} to {high}"
            raise argparse.ArgumentTypeError(f"expected a whole number {limits}, got {text!r}")
        return int(text)

    return parse


def names(text: str | None) -> list[str]:
    """What commas separate, each once."""
    return list(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))


def kernels_of(op: str | None, algorithm: str | None, file: Path | None, device: str) -> dict[str, list[Kernel]]:
    """The kernels that the options of a command mean, by op; a user's own comes last.

    Args:
        op: None for all.
        algorithm: names of variants, with commas between them; None for all but the reference.
        file: a file that registers a kernel, or None.
        device: "cpu" or "gpu".

    Raises:
        CommandError: an op, a variant or a file that is not there; no GPU for kernels that want one.
    """
    for option, value in (("--algorithm", algorithm), ("--kernel", file)):
        if value is not None and op is None:
            raise CommandError(f"{option} needs an op.")
    found: dict[str, list[Kernel]] = {}
    try:
        for name in kernels.ops() if op is None else [op]:
            if algorithm is not None:
                found[name] = [kernels.get(name, variant) for variant in names(algorithm)]
            else:
                found[name] = [kernel for kernel in kernels.variants(name, device) if kernel.name != "reference"]
        if file is not None and op is not None:
            mine = registry.load(op, file)
            found[op] = [kernel for kernel in found[op] if kernel is not mine] + [mine]
    except ValueError as error:
        raise CommandError(str(error)) from None
    if any(kernel.device == "gpu" for variants in found.values() for kernel in variants):
        from fastconv.kernels.cuda import unavailable

        reason = unavailable()
        if reason is not None:
            raise CommandError(f"kernels for a GPU cannot run here: {reason}.")
    return found


def device_of(device: str | None, algorithm: str | None, file: Path | None) -> str:
    """The device to time on: the one asked for, else that of the kernels that are named, else "cpu".

    Raises:
        CommandError: a kernel is for another device than is asked for, or than another kernel.
    """
    found = {}
    for name in names(algorithm) + ([file.stem] if file else []):
        with contextlib.suppress(ValueError):  # no kernel's name: `kernels_of` says what there is
            found[name] = registry.device_of(name)
    asked, device = device, device or next(iter(found.values()), "cpu")
    for name, its_device in found.items():
        if its_device != device:
            what = {"cpu": "the processor", "gpu": "a GPU"}
            other = f"--device {asked} was asked for" if asked else f"the others on {what[device]}: time them apart"
            raise CommandError(f"{name} runs on {what[its_device]}, {other}.")
    return device


def output_file(*suffixes: str) -> Callable[[str], Path]:
    """An argparse type: a path that can be written, ending in one of `suffixes`."""

    def parse(text: str) -> Path:
        path = Path(text).expanduser()
        if path.suffix.lower() not in suffixes:
            raise argparse.ArgumentTypeError(f"expected a name ending in {' or '.join(suffixes)}, got {text!r}")
        if path.is_dir():
            raise argparse.ArgumentTypeError(f"{text!r} is a folder")
        try:
            with tempfile.TemporaryFile(dir=path.resolve().parent):
                return path
        except OSError as error:
            reason = error.strerror or error
            raise argparse.ArgumentTypeError(f"cannot write into the folder of {text!r}: {reason}") from None

    return parse


def model_function(spec: str, models: Mapping[str, Callable[[], Any]], option: str) -> Callable[[], Any]:
    """The function that makes the model: a name in `models`, or `FILE.py:function`, whose file is run.

    Raises:
        CommandError: there is no such name, file or function.
    """
    if spec in models:
        return models[spec]
    file, colon, name = spec.rpartition(":")
    if not colon or not name.isidentifier():
        raise CommandError(f"{option} takes {', '.join(models)} or FILE.py:function, got {spec!r}.")
    if not Path(file).is_file():
        raise CommandError(f"{option}: there is no file {file!r}.")
    module_spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if module_spec is None or module_spec.loader is None:
        raise CommandError(f"{option}: {file!r} is not a Python file (.py).")
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise CommandError(f"{option}: {file} has no function {name!r}.")
    return function
