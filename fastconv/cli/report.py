"""Writes what came of a training run."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

from fastconv import machine
from fastconv.utils.files import atomic_write
from fastconv.utils.optional import require


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write `result` with the machine and the versions added; a number that is not finite becomes null."""
    whole = {**result, "machine": machine.describe(), "versions": machine.versions()}
    with atomic_write(path) as stream:
        stream.write(json.dumps(_plain(whole), indent=2, allow_nan=False).encode() + b"\n")


def write_plot(path: Path, history: dict[str, list[float]], test: dict[str, float] | None, title: str) -> None:
    """Draw each metric over the epochs, with its value on the test set as a dashed line."""
    figure = require("matplotlib.figure", extra="plot").Figure(figsize=(9, 4), layout="constrained")
    figure.suptitle(title)
    names = [name for name in history if not name.startswith("val_")]
    for axes, name in zip(figure.subplots(1, max(len(names), 1), squeeze=False)[0], names, strict=False):
        epochs = range(1, len(history[name]) + 1)
        axes.plot(epochs, history[name], marker="o", label="training")
        if test is not None and name in test:
            axes.axhline(test[name], linestyle="--", color="tab:orange", label=f"test {test[name]:.4f}")
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.legend()
    drawing = io.BytesIO()
    figure.savefig(drawing, format=path.suffix[1:].lower())
    with atomic_write(path) as stream:
        stream.write(drawing.getvalue())


def _plain(value: Any) -> Any:
    """`value` with NumPy's numbers as Python's, and None for what JSON has no number for."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
