"""The base class of all callbacks, and the one that `fit` returns."""

from __future__ import annotations

from typing import Any

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
