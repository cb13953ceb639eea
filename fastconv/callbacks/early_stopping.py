"""Stops training that no longer gets anywhere."""

from __future__ import annotations

from typing import Any

from fastconv.callbacks.monitor import MonitorCallback


class EarlyStopping(MonitorCallback):
    """Sets `model.stop_training` when `monitor` has not improved for `patience` epochs.

    Args:
        monitor, min_delta, mode: as for `MonitorCallback`. NaN is never an improvement.
        patience: epochs without improvement after which to stop; the first epoch of all never stops.
        verbose: 1 prints what is done at the end.
        baseline: only values better than this begin the patience anew.
        restore_best_weights: whether the model gets back, when training ends for whatever reason, the weights
            of the epoch with the best value, even if that is worse than `baseline`.
        start_from_epoch: epochs at the beginning that are not looked at.
    """

    state_keys = ("wait", "stopped_epoch", "best", "best_epoch", "best_weights")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self._reset()

    def _reset(self) -> None:
        self.wait = 0
        self.stopped_epoch = 0
        self.best = None
        self.best_epoch = 0
        self.best_weights: list[Any] | None = None

    def on_train_begin(self, logs=None):
        self._reset()

    def on_epoch_end(self, epoch, logs=None):
        self.find_direction()
        value = self.monitored(logs or {}, "training is not stopped early")
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._remember(epoch)
        self.wait += 1
        if self.is_improvement(value, self.best):
            self.best = value
            self._remember(epoch)
            if self.baseline is None or self.is_improvement(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.stopped_epoch > 0 and self.verbose > 0:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose > 0:
                print(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)

    def _remember(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self.model.get_weights()
