"""Imports what only some installations have."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, which fastconv's optional dependencies `extra` bring.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module} is needed for this and cannot be imported ({error}): pip install 'fastconv[{extra}]'."
        ) from error
