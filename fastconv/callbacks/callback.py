"""The base class of all callbacks, and the list of them that a training loop drives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

Logs = dict[str, Any]


class Callback:
    """Methods that `fit`, `evaluate` and `predict` call at the points their names say; override some of them.

    Attributes:
        model: the model being run.
        params: {"verbose", "epochs", "steps"} of the run; "steps" is None where it is not known beforehand.

    `logs` holds floats by name: "loss" and the metrics, with "val_" before those of the validation data. All
    callbacks of a run get the same dict, so what one adds the next ones see.
    """

    model: Any = None
    params: Any = None
    # Attributes that `BackupAndRestore` keeps: numbers, or lists of arrays of the model's weights' shapes.
    state_keys: tuple[str, ...] = ()
    runs_last = False  # whether the callback has to see what the others have done

    def set_params(self, params: Logs) -> None:
        self.params = params

    def set_model(self, model: Any) -> None:
        self.model = model

    def on_train_begin(self, logs: Logs | None = None) -> None: ...

    def on_train_end(self, logs: Logs | None = None) -> None: ...

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None: ...

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None: ...

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None: ...

    def on_test_end(self, logs: Logs | None = None) -> None: ...

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...

    def on_predict_begin(self, logs: Logs | None = None) -> None: ...

    def on_predict_end(self, logs: Logs | None = None) -> None: ...

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...

    def release(self) -> None:
        """Let go of open files and of the terminal; called however the run ended, also by an exception."""


class History(Callback):
    """What `fit` returns: `history`, a list with one value per epoch for every name in the logs, and `epoch`.

    `history` goes on growing when the object is used for several runs; `epoch` begins anew.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs=None):
        self.epoch = []

    def on_epoch_end(self, epoch, logs=None):
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
        self.model.history = self


class CallbackList(Callback):
    """Hands every call on to several callbacks, in order, and skips batch hooks that none of them overrides.

    Used as a context manager it calls `release` of all of them at the end.

    Args:
        callbacks: a callback, or any nesting of lists of them, or None.
        add_history: whether to add a `History` at the end if none is there; it becomes `history`.
        model: given to the callbacks with `set_model`.
        params: given to them with `set_params`.

    Attributes:
        has_train_batch_hooks, has_test_batch_hooks, has_predict_batch_hooks: whether any callback listens to
            batches at all; if not, a loop need not compute logs for them.

    Raises:
        TypeError: something in `callbacks` is not a `Callback` object.
    """

    def __init__(self, callbacks: Any = None, add_history: bool = False, model: Any = None, **params: Any) -> None:
        self.callbacks = sorted(_flatten(callbacks), key=lambda callback: callback.runs_last)
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
