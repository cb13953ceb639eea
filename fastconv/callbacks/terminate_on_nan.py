"""Stops training that has diverged."""

from __future__ import annotations

import math

from fastconv.callbacks.callback import Callback


class TerminateOnNaN(Callback):
    """Sets `model.stop_training` after a batch whose loss is NaN or infinite.

    Args:
        raise_error: whether to raise instead.

    Raises:
        RuntimeError: the loss is NaN or infinite and `raise_error` is set.
    """

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = raise_error

    def on_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(f"The loss is {loss} at batch {batch}; training is ended.")
        print(f"Batch {batch}: the loss is {loss}, terminating training.")
        self.model.stop_training = True
