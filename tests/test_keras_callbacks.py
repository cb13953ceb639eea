"""Callbacks beside Keras's: both see the same logs, over grids of options, and must do the same to a stand-in model."""

import csv
import itertools
import math

import numpy as np
import peers
import pytest

import fastconv

pytestmark = peers.MARK

NAN = math.nan
ROWS = {
    "falls": [5.0, 4.0, 3.5, 3.2, 3.1, 3.05, 3.04, 3.03, 3.02, 3.01],
    "turns": [5.0, 3.0, 3.0, 3.1, 2.95, 3.2, 3.3, 3.4, 2.0, 3.5],
    "jumps": [1.0, 4.0, 0.5, 0.5, 0.6, 0.7, 0.2, 0.9, 0.9, 0.1],
    "diverges": [5.0, 4.0, 6.0, 9.0, 20.0, math.inf, math.inf, math.inf, math.inf, math.inf],
}


class Optimizer:
    learning_rate = 0.1


class Model:
    """Its weight is the number of epochs trained; it notes what is asked of it."""

    def __init__(self):
        self.optimizer, self.metrics, self.metrics_names = Optimizer(), [], []
        self.stop_training, self.epochs, self.saved = False, 0, []

    def get_weights(self):
        return [np.array(self.epochs)]

    def set_weights(self, weights):
        self.epochs = int(weights[0])

    def save(self, path, overwrite=True):
        self.saved.append(str(path))

    save_weights = save


def run(callback, values, name="val_loss", batches=0):
    """What is left after training: weights, whether it stopped, files, learning rates, logs."""
    model, rates, seen = Model(), [], []
    callback.set_params({"epochs": len(values), "steps": batches, "verbose": 0})
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch, {})
        model.epochs = epoch + 1
        for batch in range(batches):
            callback.on_train_batch_begin(batch, {})
            callback.on_train_batch_end(batch, {"loss": 1.0, name: value})
        logs = {"loss": value / 2, name: value}
        callback.on_epoch_end(epoch, logs)
        rates.append(model.optimizer.learning_rate)
        seen.append(logs)
        if model.stop_training:
            break
    callback.on_train_end({})
    return model.epochs, model.stop_training, model.saved, rates, seen


def grid(**options):
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


def agree(name, arguments, options, **how):
    ours, theirs = (run(getattr(k.callbacks, name)(*arguments, **options), **how) for k in (fastconv, peers.keras()))
    assert ours[:3] == theirs[:3], (options, how)
    np.testing.assert_allclose(ours[3], theirs[3], err_msg=str((options, how)))
    assert [sorted(logs) for logs in ours[4]] == [sorted(logs) for logs in theirs[4]]


@pytest.mark.parametrize("rows", ROWS)
def test_early_stopping(rows):
    for options in grid(
        mode=["min", "max"],
        patience=[0, 1, 3],
        min_delta=[0, 0.3],
        baseline=[None, 3.3],
        restore_best_weights=[False, True],
        start_from_epoch=[0, 2],
    ):
        agree("EarlyStopping", (), options, values=ROWS[rows])


@pytest.mark.parametrize("rows", ROWS)
def test_reduce_lr_on_plateau(rows):
    for options in grid(
        mode=["min", "max"],
        factor=[0.5, 0.1],
        patience=[0, 1, 2],
        min_delta=[1e-4, 0.3],
        cooldown=[0, 2],
        min_lr=[0.0, 0.02],
    ):
        agree("ReduceLROnPlateau", (), options, values=ROWS[rows])


@pytest.mark.parametrize("rows", ROWS)
def test_model_checkpoint(rows, tmp_path):
    path = str(tmp_path / "at-{epoch:02d}-{val_loss:.2f}")
    for options in grid(
        mode=["min", "max"],
        save_best_only=[False, True],
        save_weights_only=[False, True],
        save_freq=["epoch", 2, 5],
        initial_value_threshold=[None, 3.3],
    ):
        if options["save_best_only"] and options["save_freq"] != "epoch":
            continue  # Keras fails: it does not know yet whether less is better
        ending = ".weights.h5" if options["save_weights_only"] else ".keras"
        agree("ModelCheckpoint", (path + ending,), options, values=ROWS[rows], batches=3)


@pytest.mark.parametrize("schedule", [lambda epoch: 0.1 / (epoch + 1), lambda epoch, rate: rate * 0.9])
def test_learning_rate_scheduler(schedule):
    agree("LearningRateScheduler", (schedule,), {}, values=ROWS["falls"])


@pytest.mark.parametrize("loss", [1.0, NAN, math.inf])
def test_terminate_on_nan(loss):
    ours, theirs = fastconv.callbacks.TerminateOnNaN(), peers.keras().callbacks.TerminateOnNaN()
    for callback in (ours, theirs):
        callback.set_model(Model())
        callback.on_train_batch_end(0, {"loss": loss})
    assert ours.model.stop_training == theirs.model.stop_training


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("name", ["val_loss", "accuracy"])
def test_csv_logger(separator, append, name, tmp_path):
    tables = []
    for k, path in ((fastconv, tmp_path / "ours.csv"), (peers.keras(), tmp_path / "theirs.csv")):
        callback = k.callbacks.CSVLogger(path, separator=separator, append=append)
        for _ in range(2):
            run(callback, ROWS["turns"][:3], name)
        with open(path, newline="") as file:
            tables.append(list(csv.reader(file, delimiter=separator)))
    assert tables[0] == tables[1]


def test_every_callback_of_keras_is_here_or_known_to_be_missing():
    theirs = {name for name in dir(peers.keras().callbacks) if name[0].isupper()}
    missing = {name for name in theirs if not hasattr(fastconv.callbacks, name)}
    assert missing <= {"RemoteMonitor", "OrbaxCheckpoint", "BackupAndRestore"}
