"""Trainings that are interrupted anywhere and go on: the final weights have the bits of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import resumed_training
from resumed_training import build, data, train

from fastconv import Sequential, callbacks, layers, metrics, optimizers, utils
from fastconv.callbacks import BackupAndRestore


class Interrupted(Exception):
    pass


class InterruptAt(callbacks.Callback):
    """Raises after so many batches of all epochs."""

    def __init__(self, batches):
        self._left = batches

    def on_train_batch_end(self, batch, logs=None):
        self._left -= 1
        if self._left < 0:
            raise Interrupted


def assert_same(have, want):
    assert len(have) == len(want)
    for a, b in zip(have, want, strict=True):
        np.testing.assert_array_equal(a, b)


def interrupted_and_resumed(folder, moments, save_freq, **options):
    for moment in moments:
        with pytest.raises(Interrupted):
            train(BackupAndRestore(folder, save_freq), [InterruptAt(moment)], **options)
    return train(BackupAndRestore(folder, save_freq), **options)


@pytest.fixture(scope="module")
def undisturbed():
    return train()


@pytest.mark.parametrize("moment", [1, 5, 6, 7, 16, 23])
def test_interrupted_after_any_batch(tmp_path, undisturbed, moment):
    """Six batches in each of four epochs."""
    assert_same(interrupted_and_resumed(tmp_path, [moment], save_freq=1), undisturbed)
    assert not tmp_path.exists(), "the backup of a finished training is removed"


@pytest.mark.parametrize("save_freq", ["epoch", 4])
def test_what_was_done_since_the_backup_is_done_again(tmp_path, undisturbed, save_freq):
    assert_same(interrupted_and_resumed(tmp_path, [9, 7], save_freq), undisturbed)


class Batches:
    """An iterable that begins anew every time, in another order."""

    def __iter__(self):
        x, y = data()
        order = np.random.permutation(33)  # noqa: NPY002  the global generator is kept as well
        for start in range(0, 33, 5):
            rows = order[start : start + 5]
            yield x[rows], y[rows]


@pytest.mark.parametrize(
    "options",
    [
        {"steps_per_epoch": 4},  # a pass goes on in the next epoch
        {"x": Batches(), "y": None, "batch_size": None, "validation_split": 0, "validation_data": (data())},
        {
            "x": Batches(),
            "y": None,
            "batch_size": None,
            "validation_split": 0,
            "validation_data": (data()),
            "steps_per_epoch": 4,
        },
    ],
    ids=["steps", "stream", "stream-steps"],
)
@pytest.mark.parametrize("moment", [2, 9])
def test_passes_that_are_no_epochs_and_streams(tmp_path, options, moment):
    assert_same(interrupted_and_resumed(tmp_path, [moment], 1, **options), train(**options))


def test_the_metrics_of_the_interrupted_epoch_are_those_of_all_of_it(tmp_path):
    def run(*watching):
        utils.set_random_seed(1)
        model = Sequential([layers.Input((4,)), layers.Dense(1, activation="sigmoid")])
        kinds = [metrics.AUC(), metrics.Precision(), metrics.F1Score(), metrics.R2Score(), metrics.BinaryIoU()]
        model.compile(optimizers.SGD(0.1, use_ema=True), "binary_crossentropy", metrics=["accuracy", *kinds])
        x = np.random.default_rng(0).normal(size=(30, 4))
        y = (x.sum(axis=1, keepdims=True) > 0).astype("float32")
        history = model.fit(x, y, batch_size=5, epochs=3, verbose=0, callbacks=list(watching)).history
        return history, model.get_weights()

    history, weights = run()
    with pytest.raises(Interrupted):
        run(BackupAndRestore(tmp_path, 1), InterruptAt(8))
    resumed, again = run(BackupAndRestore(tmp_path, 1))
    assert_same(again, weights)
    for name, values in history.items():
        np.testing.assert_array_equal(resumed[name], values[1:], err_msg=name)


def test_an_early_stop_is_remembered(tmp_path):
    """The last backup is of the epoch that stopped the training: nothing more may be trained."""

    class Die(callbacks.Callback):
        runs_last = True

        def on_train_end(self, logs=None):
            raise Interrupted

    def run(*more):
        return train(BackupAndRestore(tmp_path), [callbacks.EarlyStopping("loss", 100, 0), *more], epochs=9)

    want = train(None, [callbacks.EarlyStopping("loss", 100, 0)], epochs=9)
    with pytest.raises(Interrupted):
        run(Die())
    assert_same(run(), want)


def test_killed_at_random_moments(tmp_path):
    """SIGKILL in the middle of steps and of writing, several times; then a run to the end."""
    kills = 20 if os.environ.get("FASTCONV_TEST_EVERYTHING") else 3
    undisturbed, killed = tmp_path / "undisturbed.npz", tmp_path / "killed.npz"
    draw = random.Random(5)
    assert _run(tmp_path / "a", undisturbed, 0) == 0
    for _ in range(kills):
        code = _run(tmp_path / "b", killed, draw.uniform(0.01, 0.3))
        assert code in (0, -signal.SIGKILL)
        if code == 0:
            break
    assert code == 0 or _run(tmp_path / "b", killed, 0) == 0
    with np.load(undisturbed) as want, np.load(killed) as have:
        assert_same([have[name] for name in have], [want[name] for name in want])


def _run(folder, result, seconds):
    environment = {**os.environ, "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, resumed_training.__file__, str(folder), str(result), str(seconds)]
    return subprocess.run(command, env=environment, timeout=120).returncode


# The backup itself


def backed_up(folder):
    with pytest.raises(Interrupted):
        train(BackupAndRestore(folder, 1), [InterruptAt(8)])
    return Path(folder, "latest.weights.h5")


def test_a_backup_is_a_file_of_weights(tmp_path):
    path = backed_up(tmp_path)
    model = build()
    model.load_weights(path)
    assert model.optimizer.iterations == 8
    with h5py.File(path) as file:
        assert '"epoch": 1' in file["training"].attrs["position"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: "{}",
        lambda text: "[]",
        lambda text: text.replace('"batch": ', '"batch": -'),
        lambda text: text.replace("PCG64", "MT19937"),
        lambda text: text.replace('"_count": ', '"_count": "x", "other": '),
    ],
)
def test_a_damaged_backup_changes_nothing(tmp_path, edit):
    path = backed_up(tmp_path)
    with h5py.File(path, "r+") as file:
        file["training"].attrs["position"] = edit(file["training"].attrs["position"])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="latest.weights.h5"):
        train(BackupAndRestore(tmp_path, 1))
    assert path.read_bytes() == before


def test_the_backup_before_is_used_where_the_last_is_damaged(tmp_path, undisturbed):
    with pytest.raises(Interrupted):
        train(BackupAndRestore(tmp_path, 1, double_checkpoint=True), [InterruptAt(8)])
    path = Path(tmp_path, "latest.weights.h5")
    path.write_bytes(path.read_bytes()[:5000])
    assert_same(train(BackupAndRestore(tmp_path, 1)), undisturbed)


def test_what_is_kept_and_what_is_removed(tmp_path):
    folder = tmp_path / "backup"
    (tmp_path / "backup").mkdir()
    (folder / "mine.txt").write_text("mine")
    train(BackupAndRestore(folder))
    assert [path.name for path in folder.iterdir()] == ["mine.txt"], "only the backup goes"
    train(BackupAndRestore(folder, delete_checkpoint=False))
    assert len(list(folder.iterdir())) == 2

    class CtrlC(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    other = tmp_path / "other"
    train(BackupAndRestore(other, 1), [CtrlC()])
    assert not other.exists(), "no batch was done"
    train(BackupAndRestore(other, "epoch"), [InterruptLater()])
    assert (other / "latest.weights.h5").exists(), "Ctrl-C is not the end of a training"


class InterruptLater(callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"backup_dir": ""}, "backup_dir"), ({"backup_dir": "b", "save_freq": "batch"}, "save_freq")],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        BackupAndRestore(**arguments)
