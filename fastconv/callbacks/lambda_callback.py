"""A callback made of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastconv.callbacks.callback import Callback


class LambdaCallback(Callback):
    """Calls the functions given by the names of `Callback`'s methods.

    Functions for epochs take (epoch, logs), those for batches (batch, logs), all others (logs).

    Raises:
        TypeError: a name is no method of `Callback`, or what is given for it cannot be called.
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **functions: Callable[..., Any] | None,
    ) -> None:
        functions |= {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
        }
        known = [name for name in dir(Callback) if name.startswith("on_")]
        for name, function in functions.items():
            if name not in known:
                raise TypeError(f"LambdaCallback has no {name!r}. Known: {', '.join(known)}.")
            if function is None:
                continue
            if not callable(function):
                raise TypeError(f"LambdaCallback: {name} must be a function, not {function!r}.")
            setattr(self, name, function)
