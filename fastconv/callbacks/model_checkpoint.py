"""Saves the model while it is being trained."""

from __future__ import annotations

import os
from pathlib import Path

from fastconv.callbacks.callback import Logs
from fastconv.callbacks.monitor import MonitorCallback


class ModelCheckpoint(MonitorCallback):
    """Saves the model, or its weights, after every epoch or every so many batches.

    Args:
        filepath: ends in ".keras" or ".h5", or in ".weights.h5" for weights only; may hold {epoch:02d}, {batch} and
            names from the logs ({val_loss:.2f}), epochs and batches counted from 1. Missing folders are made.
        monitor, mode: as for `MonitorCallback`.
        verbose: 1 prints what is done.
        save_best_only: whether to save only when `monitor` is better than ever before.
        save_weights_only: whether to call `model.save_weights` in place of `model.save`. Both include the
            state of a compiled model's optimizer.
        save_freq: "epoch", or a number of batches, counted on across epochs.
        initial_value_threshold: with `save_best_only`, what the first saved model must be better than.

    Raises:
        ValueError: `filepath` ends in something else or names what the logs do not have, bad `save_freq`.
    """

    state_keys = ("best", "_batches_since_save")

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        self.filepath = os.fspath(filepath)
        endings = (".weights.h5",) if save_weights_only else (".keras", ".h5")
        if not self.filepath.endswith(endings):
            raise ValueError(
                f"ModelCheckpoint: with save_weights_only={save_weights_only} the filepath must end in "
                f"{' or '.join(endings)}, not {self.filepath!r}."
            )
        if save_freq != "epoch" and not (isinstance(save_freq, int) and save_freq > 0):
            raise ValueError(f'ModelCheckpoint: save_freq must be "epoch" or a positive number, not {save_freq!r}.')
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self.best = initial_value_threshold
        self._epoch = 0
        self._batches_since_save = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.save_freq == "epoch":
            return
        self._batches_since_save += 1
        if self._batches_since_save >= self.save_freq:
            self._batches_since_save = 0
            self._consider({"batch": batch + 1}, logs or {})

    def on_epoch_end(self, epoch, logs=None):
        self.find_direction()
        if self.save_freq == "epoch":
            self._consider({}, logs or {})

    def _consider(self, counters: dict[str, int], logs: Logs) -> None:
        """Save if the model is due; `counters` are known to the file name besides the epoch."""
        path = self._format_path({"epoch": self._epoch + 1, **counters, **logs})
        reason = self._reason(logs)
        if reason is None:
            self._say(f"{self.monitor} did not improve from {self._best}")
            return
        self._say(f"{reason}saving model to {path}")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save = self.model.save_weights if self.save_weights_only else self.model.save
        save(path, overwrite=True)

    def _reason(self, logs: Logs) -> str | None:
        """Why to save now, for the message; None for a reason not to."""
        if not self.save_best_only:
            return ""
        value = self.monitored(logs, "every model is saved")
        if value is None:
            return ""
        if not self.is_improvement(value, self.best):
            return None
        before, self.best = self._best, value
        return f"{self.monitor} improved from {before} to {self._best}, "

    @property
    def _best(self) -> str:
        return "None" if self.best is None else f"{self.best:.5f}"

    def _format_path(self, values: Logs) -> str:
        try:
            return self.filepath.format(**values)
        except KeyError as error:
            raise ValueError(
                f"ModelCheckpoint: filepath {self.filepath!r} names {error}. Available: {', '.join(values)}."
            ) from error

    def _say(self, message: str) -> None:
        if self.verbose > 0:
            print(f"Epoch {self._epoch + 1}: {message}")
