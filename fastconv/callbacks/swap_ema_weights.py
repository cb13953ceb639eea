"""Tests and saves a model with the running means of its weights while training goes on with the weights."""

from __future__ import annotations

from fastconv.callbacks.callback import Callback


class SwapEMAWeights(Callback):
    """Puts the optimizer's running means (`use_ema=True`) in the place of the weights while the model is evaluated or
    predicts, and the weights back after it.

    Args:
        swap_on_epoch: whether the means stay in place from the end of each epoch to the beginning of the next, so that
            callbacks after this one, such as `ModelCheckpoint`, see them.

    Raises:
        ValueError: when it is used, the optimizer keeps no means.
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = swap_on_epoch
        self._swapped = False

    def on_epoch_begin(self, epoch, logs=None):
        if self.swap_on_epoch:
            self._swap(False)

    def on_epoch_end(self, epoch, logs=None):
        if self.swap_on_epoch and not self._swapped:
            self._swap(True)
            if epoch == self.params["epochs"] - 1:
                # `fit` ends by writing the means into the weights: they must be what they were.
                for variable, average in self.model.optimizer.averages:
                    average.assign(variable.value)

    def on_test_begin(self, logs=None):
        self._swap(True)

    def on_test_end(self, logs=None):
        self._swap(False)

    def on_predict_begin(self, logs=None):
        self._swap(True)

    def on_predict_end(self, logs=None):
        self._swap(False)

    def _swap(self, swapped: bool) -> None:
        """Bring the means (True) or the weights (False) into place, unless they are there."""
        optimizer = self.model.optimizer
        if not getattr(optimizer, "use_ema", False):
            raise ValueError("SwapEMAWeights needs an optimizer with use_ema=True.")
        if self._swapped == swapped:
            return
        for variable, average in optimizer.averages:
            kept = variable.numpy()
            variable.assign(average.value)
            average.assign(kept)
        self._swapped = swapped
