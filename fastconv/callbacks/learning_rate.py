"""Changes the learning rate between epochs, by a rule or when nothing gets better."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np

from fastconv.callbacks.callback import Callback
from fastconv.callbacks.monitor import MonitorCallback


class LearningRateScheduler(Callback):
    """Sets the optimizer's learning rate at the beginning of every epoch, and logs it as "learning_rate".

    Args:
        schedule: takes the epoch, counted from 0, and the current learning rate, or the epoch alone, and
            returns a number.
        verbose: 1 prints every new rate.

    Raises:
        ValueError: at the beginning of an epoch, `schedule` returns no number.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule = schedule
        self.verbose = verbose

    def on_epoch_begin(self, epoch, logs=None):
        optimizer = self.model.optimizer
        takes_rate = _takes_two(self.schedule)
        rate = self.schedule(epoch, float(optimizer.learning_rate)) if takes_rate else self.schedule(epoch)
        if isinstance(rate, bool) or not isinstance(rate, int | float | np.integer | np.floating):
            raise ValueError(f"LearningRateScheduler: schedule must return a number, not {rate!r}.")
        optimizer.learning_rate = float(rate)
        if self.verbose > 0:
            print(f"Epoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.")

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


def _takes_two(schedule: Callable[..., float]) -> bool:
    """Asked beforehand, because a call that fails with TypeError may have failed inside."""
    try:
        inspect.signature(schedule).bind(0, 0.0)
    except TypeError:
        return False
    except ValueError:  # some builtins have no signature
        return True
    return True


class ReduceLROnPlateau(MonitorCallback):
    """Multiplies the learning rate by `factor` when `monitor` has not improved for `patience` epochs.

    Logs the rate that the epoch was trained with as "learning_rate".

    Args:
        monitor, mode, min_delta: as for `MonitorCallback`.
        factor: below 1.
        patience: epochs without improvement after which to reduce.
        verbose: 1 prints every reduction.
        cooldown: epochs after a reduction in which the patience does not run.
        min_lr: the rate is never made smaller than this.

    Raises:
        ValueError: `factor` is 1 or more.
    """

    state_keys = ("best", "wait", "cooldown_counter")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if factor >= 1:
            raise ValueError(f"ReduceLROnPlateau: factor must be below 1, not {factor!r}.")
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr
        self._reset()

    def _reset(self) -> None:
        self.best = None
        self.wait = 0
        self.cooldown_counter = 0

    def on_train_begin(self, logs=None):
        self._reset()

    def on_epoch_end(self, epoch, logs=None):
        self.find_direction()
        logs = {} if logs is None else logs
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        value = self.monitored(logs, "the learning rate stays")
        if value is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.is_improvement(value, self.best):
            self.best = value
            self.wait = 0
        elif self.cooldown_counter == 0:
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        optimizer = self.model.optimizer
        before = float(optimizer.learning_rate)
        # The optimizer may keep its rate in float32, whose nearest number to min_lr can lie above it.
        if before <= np.float32(self.min_lr):
            return
        optimizer.learning_rate = max(before * self.factor, self.min_lr)
        self.cooldown_counter = self.cooldown
        self.wait = 0
        if self.verbose > 0:
            rate = float(optimizer.learning_rate)
            print(f"Epoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {rate}.")
