"""What lasts from one model to the next, and forgetting it."""

from __future__ import annotations

from collections.abc import Callable

_resets: list[Callable[[], None]] = []


def on_clear_session(reset: Callable[[], None]) -> Callable[[], None]:
    """Decorate what `clear_session` is to call, such as a function that restarts the layers' numbers."""
    _resets.append(reset)
    return reset


def clear_session(free_memory: bool = True) -> None:
    """Start anew: the next Conv2D is "conv2d" again. `free_memory` has no effect, there is nothing held."""
    for reset in _resets:
        reset()
