"""The list of callbacks that a training loop drives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from fastconv.callbacks.callback import Callback, History
from fastconv.callbacks.progbar_logger import ProgbarLogger


class CallbackList(Callback):
    """Hands every call on to several callbacks, in order, and skips batch hooks that none of them overrides.

    Used as a context manager it calls `release` of all of them at the end.

    Args:
        callbacks: a callback, or any nesting of lists of them, or None.
        add_history: whether to add a `History` at the end if none is there; it becomes `history`.
        add_progbar: whether to add a `ProgbarLogger` before that if none is there.
        model: given to the callbacks with `set_model`.
        params: given to them with `set_params`.

    Attributes:
        has_train_batch_hooks, has_test_batch_hooks, has_predict_batch_hooks: whether any callback listens to
            batches at all; if not, a loop need not compute logs for them.

    Raises:
        TypeError: something in `callbacks` is not a `Callback` object.
    """

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        **params: Any,
    ) -> None:
        self.callbacks = sorted(_flatten(callbacks), key=lambda callback: callback.runs_last)
        if add_progbar and not any(isinstance(callback, ProgbarLogger) for callback in self.callbacks):
            self.callbacks.append(ProgbarLogger())
        self.callbacks.sort(key=lambda callback: callback.runs_last)
        self.history = next((cb for cb in self.callbacks if isinstance(cb, History)), None)
        if add_history and self.history is None:
            self.history = History()
            self.callbacks.append(self.history)
        self._hooks = {name: [cb for cb in self.callbacks if _listens(cb, name)] for name in _BATCH_HOOKS}
        self.has_train_batch_hooks = self._any("on_train_batch_begin", "on_train_batch_end")
        self.has_test_batch_hooks = self._any("on_test_batch_begin", "on_test_batch_end")
        self.has_predict_batch_hooks = self._any("on_predict_batch_begin", "on_predict_batch_end")
        if model is not None:
            self.set_model(model)
        self.set_params(params)

    def _any(self, *names: str) -> bool:
        return any(self._hooks[name] for name in names)

    def __iter__(self):
        return iter(self.callbacks)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def set_params(self, params):
        super().set_params(params)
        for callback in self.callbacks:
            callback.set_params(params)

    def set_model(self, model):
        super().set_model(model)
        if self.history is not None:
            model.history = self.history
        for callback in self.callbacks:
            callback.set_model(model)

    def release(self):
        for callback in self.callbacks:
            callback.release()

    def on_train_begin(self, logs=None):
        for callback in self.callbacks:
            callback.on_train_begin(logs)

    def on_train_end(self, logs=None):
        for callback in self.callbacks:
            callback.on_train_end(logs)

    def on_epoch_begin(self, epoch, logs=None):
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs)

    def on_train_batch_begin(self, batch, logs=None):
        for callback in self._hooks["on_train_batch_begin"]:
            callback.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        for callback in self._hooks["on_train_batch_end"]:
            callback.on_train_batch_end(batch, logs)

    def on_test_begin(self, logs=None):
        for callback in self.callbacks:
            callback.on_test_begin(logs)

    def on_test_end(self, logs=None):
        for callback in self.callbacks:
            callback.on_test_end(logs)

    def on_test_batch_begin(self, batch, logs=None):
        for callback in self._hooks["on_test_batch_begin"]:
            callback.on_test_batch_begin(batch, logs)

    def on_test_batch_end(self, batch, logs=None):
        for callback in self._hooks["on_test_batch_end"]:
            callback.on_test_batch_end(batch, logs)

    def on_predict_begin(self, logs=None):
        for callback in self.callbacks:
            callback.on_predict_begin(logs)

    def on_predict_end(self, logs=None):
        for callback in self.callbacks:
            callback.on_predict_end(logs)

    def on_predict_batch_begin(self, batch, logs=None):
        for callback in self._hooks["on_predict_batch_begin"]:
            callback.on_predict_batch_begin(batch, logs)

    def on_predict_batch_end(self, batch, logs=None):
        for callback in self._hooks["on_predict_batch_end"]:
            callback.on_predict_batch_end(batch, logs)


# Each batch hook, and the older one that it calls unless overridden.
_BATCH_HOOKS = {
    "on_train_batch_begin": "on_batch_begin",
    "on_train_batch_end": "on_batch_end",
    "on_test_batch_begin": None,
    "on_test_batch_end": None,
    "on_predict_batch_begin": None,
    "on_predict_batch_end": None,
}


def _listens(callback: Callback, hook: str) -> bool:
    """Whether the callback's class, or the object itself as `LambdaCallback` does, overrides the hook."""
    names = [name for name in (hook, _BATCH_HOOKS[hook]) if name]
    return any(getattr(getattr(callback, name), "__func__", None) is not getattr(Callback, name) for name in names)


def _flatten(callbacks: Any) -> Iterable[Callback]:
    if callbacks is None:
        return
    if isinstance(callbacks, Callback):
        yield callbacks
    elif isinstance(callbacks, list | tuple):
        for callback in callbacks:
            yield from _flatten(callback)
    else:
        hint = " Did you forget the parentheses?" if isinstance(callbacks, type) else ""
        raise TypeError(f"callbacks must be Callback objects or lists of them, not {callbacks!r}.{hint}")
