"""A training that may be killed, for tests/test_resume.py: python resumed_training.py BACKUP RESULT SECONDS

Trains with a backup in the folder BACKUP, is killed after SECONDS of training (0: never), and else writes the final
weights and the optimizer's state to RESULT.
"""

import os
import signal
import sys
import threading

import numpy as np

import fastconv as keras
from fastconv import callbacks, layers


class Slower(callbacks.Callback):
    """Changes the rate with every batch, which a wrong position would show in the weights."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.optimizer.learning_rate *= 0.99


def build():
    keras.utils.clear_session()
    model = keras.Sequential(
        [
            layers.Input((5, 4, 2)),
            layers.Conv2D(3, 2, activation="relu"),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dropout(0.2, seed=7),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    random = np.random.default_rng(0)
    return random.normal(size=(33, 5, 4, 2)).astype("float32"), random.integers(3, size=33)


def train(backup=None, more=(), epochs=4, **options):
    """The final weights and the optimizer's state."""
    keras.utils.set_random_seed(3)
    model = build()
    x, y = data()
    watching = [
        callbacks.EarlyStopping("loss", patience=2, restore_best_weights=True),
        callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
        callbacks.ReduceLROnPlateau("val_loss", patience=1, factor=0.5),
    ]
    kept = [] if backup is None else [backup]  # it comes first, and yet has to see what the others do
    options = {"x": x, "y": y, "batch_size": 5, "validation_split": 0.2, **options}
    model.fit(epochs=epochs, verbose=0, callbacks=[*kept, *watching, Slower(), *more], **options)
    return [*model.get_weights(), *(variable.numpy() for variable in model.optimizer.variables)]


class KillLater(callbacks.Callback):
    def __init__(self, seconds):
        self._seconds = seconds

    def on_train_begin(self, logs=None):
        kill = threading.Timer(self._seconds, os.kill, (os.getpid(), signal.SIGKILL))
        kill.daemon = True
        kill.start()


if __name__ == "__main__":
    folder, result, seconds = sys.argv[1:]
    later = [KillLater(float(seconds))] if float(seconds) else []
    final = train(callbacks.BackupAndRestore(folder, save_freq=1), later, epochs=12)
    with open(result, "wb") as stream:
        np.savez(stream, *final)
