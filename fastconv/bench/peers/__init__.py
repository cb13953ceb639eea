"""Other frameworks that kernels are compared with. One file each, imported on first use.

A file has `PACKAGES` that must be installed, `use_threads(count)`, which raises Unsupported where the number cannot
be changed any more, and `contestants(op, problem, inputs, device)`: the ways in which that framework can compute the
op, in the layouts it has, on copies of the inputs made beforehand.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

PEERS = {
    "torch": ("torch",),
    "keras": ("tensorflow", "keras"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "jax": ("jax",),
}


def installed() -> list[str]:
    """The peers whose packages can be found."""
    return [peer for peer, packages in PEERS.items() if all(importlib.util.find_spec(name) for name in packages)]


def check(names: Sequence[str]) -> None:
    """Refuse names of peers that do not exist or are not installed.

    Raises:
        ValueError: one line that says which, and what there is.
    """
    for name in names:
        if name not in PEERS:
            raise ValueError(f"there is no peer {name!r}; there are {', '.join(PEERS)}.")
        missing = [package for package in PEERS[name] if not importlib.util.find_spec(package)]
        if missing:
            there = ", ".join(installed()) or "none"
            raise ValueError(f"peer {name!r} is not installed (pip install {' '.join(missing)}); installed: {there}.")


def load(name: str) -> Any:
    """The module of a peer."""
    return importlib.import_module(f"fastconv.bench.peers.with_{name}")
