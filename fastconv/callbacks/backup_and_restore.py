"""Goes on with a training that was killed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fastconv.callbacks.callback import Callback
from fastconv.utils.files import atomic_write


class BackupAndRestore(Callback):
    """Writes down where the training is, and lets the next `fit` of the same program go on from there.

    What then comes are the same bits as without the interruption: besides weights, optimizer, epoch and batch, the
    order of the samples, the random numbers of Dropout and the like, the metrics' running values and the state of
    EarlyStopping, ReduceLROnPlateau and ModelCheckpoint are kept (Keras begins the interrupted epoch again). A
    generator that is passed to `fit` must yield the same batches again; those that were used are passed over.

    The backup is one file, written whole or not at all: a process may be killed at any moment, also while it writes.

    Args:
        backup_dir: the folder for the backup, of this training alone; made if it is missing.
        save_freq: "epoch", a number of batches, counted on across epochs, or False for never.
        double_checkpoint: whether the backup before the last one is kept, and used where the last is damaged.
        delete_checkpoint: whether the backup is removed when the training has come to its end. An exception or
            Ctrl-C is not its end.
        save_before_preemption: accepted without effect.

    Raises:
        ValueError: `backup_dir` is empty or `save_freq` is something else; when training begins: the backup is
            damaged or of another model. Nothing is overwritten then.
    """

    runs_last = True

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int | bool = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
        save_before_preemption: bool = False,
    ) -> None:
        if not os.fspath(backup_dir):
            raise ValueError("BackupAndRestore: backup_dir must not be empty.")
        if save_freq != "epoch" and not (isinstance(save_freq, int) and save_freq >= 0 and save_freq is not True):
            raise ValueError(
                f'BackupAndRestore: save_freq must be "epoch", a positive number or False, not {save_freq!r}.'
            )
        self.backup_dir = os.fspath(backup_dir)
        self.save_freq = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._latest = Path(backup_dir, "latest.weights.h5")
        self._previous = Path(backup_dir, "latest.weights.h5.bkp")
        self._batches_since_save = 0

    def on_train_begin(self, logs=None):
        from fastconv.saving import backup_file

        self._batches_since_save = 0
        for unfinished in Path(self.backup_dir).glob(".latest.weights.h5*.tmp"):
            unfinished.unlink()  # of a process that was killed while it wrote
        if not self._latest.exists():
            return
        try:
            backup_file.restore(self.model, self._latest)
        except (ValueError, OSError):
            if not self._previous.exists():
                raise
            backup_file.restore(self.model, self._previous)

    def on_train_batch_end(self, batch, logs=None):
        self._batches_since_save += 1
        if self.save_freq != "epoch" and 0 < self.save_freq <= self._batches_since_save:
            self._save()

    def on_epoch_end(self, epoch, logs=None):
        if self.save_freq == "epoch":
            self._save()

    def on_train_end(self, logs=None):
        if self.delete_checkpoint and not self.model.position.interrupted:
            for path in (self._latest, self._previous):
                path.unlink(missing_ok=True)
            if os.path.isdir(self.backup_dir) and not os.listdir(self.backup_dir):
                os.rmdir(self.backup_dir)

    def _save(self) -> None:
        from fastconv.saving import backup_file

        self._batches_since_save = 0
        os.makedirs(self.backup_dir, exist_ok=True)
        if self.double_checkpoint and self._latest.exists():
            with open(self._latest, "rb") as latest, atomic_write(self._previous) as previous:
                shutil.copyfileobj(latest, previous)
        contents = backup_file.to_bytes(self.model)
        with atomic_write(self._latest) as stream:
            stream.write(contents)
