"""Automatic names: "conv2d", "conv2d_1", ... counted for each class until `utils.clear_session`."""

from __future__ import annotations

from collections import Counter

from fastconv.serialization import snake_case
from fastconv.utils.session import on_clear_session

_made: Counter[str] = Counter()


def automatic_name(cls: type) -> str:
    """The next name for an object of that class."""
    stem = snake_case(cls.__name__)
    number = _made[stem]
    _made[stem] += 1
    return f"{stem}_{number}" if number else stem


@on_clear_session
def restart_names() -> None:
    """Begin anew with every class's bare name."""
    _made.clear()
