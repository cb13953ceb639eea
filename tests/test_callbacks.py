"""Callbacks against tables of what training would report and what they must do about it."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from fastconv import layers, metrics, optimizers, utils
from fastconv.callbacks import (
    Callback,
    CallbackList,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ProgbarLogger,
    ReduceLROnPlateau,
    SwapEMAWeights,
    TensorBoard,
    TerminateOnNaN,
)
from fastconv.models.sequential import Sequential

NAN = math.nan


class FakeOptimizer:
    def __init__(self):
        self.learning_rate = 0.1


class FakeModel:
    """Records what is asked of it; its weight is the number of epochs trained."""

    def __init__(self):
        self.metrics = [
            metrics.SparseCategoricalAccuracy("accuracy"),
            metrics.get("mse"),
            metrics.Mean("mean"),
        ]
        self.metrics_names = ["accuracy", "mse", "mean"]
        self.optimizer = FakeOptimizer()
        self.stop_training = False
        self.epochs_trained = 0
        self.saved = []

    def get_weights(self):
        return [np.array(self.epochs_trained)]

    def set_weights(self, weights):
        self.epochs_trained = int(weights[0])

    def save(self, path, overwrite=True):
        self.saved.append(path)

    def save_weights(self, path, overwrite=True):
        self.saved.append(path)


def train(callbacks, rows, name="val_loss", model=None):
    """Runs epochs whose logs have `name` from `rows`; returns the model and the logs of the epochs done."""
    model = model or FakeModel()
    run = CallbackList(callbacks, model=model, verbose=0, epochs=len(rows), steps=1)
    done = []
    run.on_train_begin()
    for epoch, value in enumerate(rows):
        run.on_epoch_begin(epoch, {})
        model.epochs_trained = epoch + 1
        logs = {"loss": 1.0} if value is None else {"loss": 1.0, name: value}
        run.on_epoch_end(epoch, logs)
        done.append(logs)
        if model.stop_training:
            break
    run.on_train_end()
    return model, done


@pytest.mark.parametrize(
    ("arguments", "values", "epochs", "best"),
    [
        ({}, [3, 2, 2, 1], 3, 2),
        ({}, [3, 4, 1], 2, 1),
        ({"patience": 1}, [3, 3, 2], 2, 1),
        ({"patience": 2}, [3, 2, 2, 1, 1, 1, 0], 6, 4),
        ({"patience": 2}, [3, 2, 1, 0], 4, 4),
        ({"mode": "max"}, [1, 2, 3, 3, 4], 4, 3),
        ({"min_delta": 0.5}, [3, 2.4, 2.0, 1.0], 3, 2),
        ({"min_delta": -0.5}, [3, 2.4, 2.0, 1.0], 3, 2),
        ({"min_delta": 0.5, "patience": 2}, [3, 2.6, 2.4, 2.3, 2.2, 2.1], 5, 3),
        ({"baseline": 2.5, "patience": 2}, [5, 4, 3, 2], 4, 4),
        ({"baseline": 2.5, "patience": 2}, [5, 4, 4, 2], 3, 2),
        ({"baseline": 2.5, "patience": 2}, [5, 2, 2.4, 2.4, 0], 4, 2),
        ({"start_from_epoch": 2}, [1, 2, 9, 8, 8, 7], 5, 4),
        ({"start_from_epoch": 2, "patience": 2}, [1, 2, 9, 9, 9, 9], 5, 3),
        ({"patience": 1}, [NAN, NAN, 1], 2, 1),
        ({"patience": 2}, [NAN, 2, NAN, 1, 1, 1], 6, 4),
    ],
)
def test_early_stopping(arguments, values, epochs, best):
    # With a baseline the wait also runs while values improve, but only an epoch that does not improve stops.
    model, done = train(EarlyStopping(**arguments), values)
    assert len(done) == epochs
    assert model.epochs_trained == epochs  # the weights stay

    model, done = train(EarlyStopping(**arguments, restore_best_weights=True), values)
    assert len(done) == epochs
    assert model.epochs_trained == best


def test_early_stopping_begins_anew_with_every_fit():
    callback = EarlyStopping(patience=1)
    assert len(train(callback, [1, 2, 3])[1]) == 2
    assert len(train(callback, [5, 4, 3])[1]) == 3


@pytest.mark.parametrize(
    ("monitor", "values", "epochs"),
    [
        ("val_accuracy", [0.1, 0.2, 0.2, 0.3], 3),
        ("accuracy", [0.1, 0.2, 0.3], 3),
        ("mse", [3, 2, 1], 3),
        ("val_mse", [1, 2, 3], 2),
        ("loss", [1, 2, 3], 2),
    ],
)
def test_auto_mode_asks_the_metric(monitor, values, epochs):
    assert len(train(EarlyStopping(monitor), values, monitor)[1]) == epochs


@pytest.mark.parametrize("make", [EarlyStopping, ReduceLROnPlateau, lambda m: ModelCheckpoint("a.keras", m)])
@pytest.mark.parametrize("monitor", ["val_nonsense", "mean"])
def test_auto_mode_without_a_direction_is_refused(make, monitor):
    with pytest.raises(ValueError, match=f"{monitor}.*mode="):
        train(make(monitor), [1, 2], monitor)


@pytest.mark.parametrize("make", [EarlyStopping, ReduceLROnPlateau])
def test_a_missing_value_warns_with_what_there_is(make):
    with pytest.warns(UserWarning, match="'val_loss'.*Available: loss"):
        _, done = train(make(), [None])
    assert len(done) == 1


def test_bad_mode():
    with pytest.raises(ValueError, match="mode must be.*'smallest'"):
        EarlyStopping(mode="smallest")


def test_early_stopping_says_what_it_did(capsys):
    train(EarlyStopping(restore_best_weights=True, verbose=1), [2, 1, 3, 0])
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 3: early stopping",
        "Restoring model weights from the end of the best epoch: 2.",
    ]


@pytest.mark.parametrize(
    ("arguments", "values", "names"),
    [
        ({}, [3, 4, 1], ["1", "2", "3"]),
        ({"save_best_only": True}, [3, 4, 1, 1, NAN, 0], ["1", "3", "6"]),
        ({"save_best_only": True}, [NAN, 1], ["2"]),
        ({"save_best_only": True, "mode": "max"}, [3, 4, 1, 5], ["1", "2", "4"]),
        ({"save_best_only": True, "initial_value_threshold": 2}, [3, 2, 1.5], ["3"]),
    ],
)
@pytest.mark.parametrize("verbose", [0, 1])
def test_model_checkpoint_saves(tmp_path, arguments, values, names, verbose, capsys):
    callback = ModelCheckpoint(tmp_path / "new" / "{epoch}.keras", verbose=verbose, **arguments)
    model, _ = train(callback, values)
    assert model.saved == [str(tmp_path / "new" / f"{name}.keras") for name in names]
    assert (tmp_path / "new").is_dir()
    assert capsys.readouterr().out.count("\n") == len(values) * verbose


def test_model_checkpoint_keeps_its_best_across_fits(tmp_path):
    callback = ModelCheckpoint(tmp_path / "{epoch}.keras", save_best_only=True)
    assert len(train(callback, [3, 2])[0].saved) == 2
    assert len(train(callback, [3, 1])[0].saved) == 1


def test_model_checkpoint_formats_names():
    callback = ModelCheckpoint("{epoch:03d}-{val_loss:.2f}.weights.h5", save_weights_only=True)
    assert train(callback, [0.256])[0].saved == ["001-0.26.weights.h5"]
    with pytest.raises(ValueError, match="'val_acc'. Available: epoch, loss, val_loss"):
        train(ModelCheckpoint("{val_acc}.keras"), [1.0])


def test_model_checkpoint_by_batches():
    callback = ModelCheckpoint("{epoch}-{batch}-{loss}.keras", save_freq=2)
    model = FakeModel()
    run = CallbackList(callback, model=model, epochs=2, steps=3, verbose=0)
    for epoch in range(2):
        run.on_epoch_begin(epoch)
        for batch in range(3):
            run.on_train_batch_end(batch, {"loss": 10 * epoch + batch})
        run.on_epoch_end(epoch, {"loss": 0})
    assert model.saved == ["1-2-1.keras", "2-1-10.keras", "2-3-12.keras"]


def test_best_only_by_batches_compares(tmp_path):
    callback = ModelCheckpoint("{batch}.keras", save_freq=1, save_best_only=True, monitor="loss")
    model = FakeModel()
    run = CallbackList(callback, model=model, epochs=1, steps=4, verbose=0)
    for batch, loss in enumerate([3, 4, 2, 2]):
        run.on_train_batch_end(batch, {"loss": loss})
    assert model.saved == ["1.keras", "3.keras"]


def test_best_only_without_the_value_saves_with_a_warning():
    with pytest.warns(UserWarning, match="every model is saved"):
        model, _ = train(ModelCheckpoint("{epoch}.keras", save_best_only=True), [None])
    assert model.saved == ["1.keras"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filepath": "m.hdf"}, "must end in .keras or .h5"),
        ({"filepath": "m.keras", "save_weights_only": True}, "must end in .weights.h5"),
        ({"filepath": "m.keras", "save_freq": "batch"}, "save_freq"),
        ({"filepath": "m.keras", "save_freq": 0}, "save_freq"),
    ],
)
def test_model_checkpoint_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        ModelCheckpoint(**arguments)


@pytest.mark.parametrize("schedule", [lambda epoch, rate: rate / 2, lambda epoch: 0.1 / 2 ** (epoch + 1)])
def test_learning_rate_scheduler(schedule):
    history = History()
    model, _ = train([LearningRateScheduler(schedule), history], [1, 1, 1])
    assert model.optimizer.learning_rate == pytest.approx(0.0125)
    assert history.history["learning_rate"] == pytest.approx([0.05, 0.025, 0.0125])


def test_learning_rate_scheduler_does_not_hide_errors_of_the_schedule():
    def schedule(epoch, rate):
        return rate + "a"

    with pytest.raises(TypeError):
        train(LearningRateScheduler(schedule), [1])
    with pytest.raises(ValueError, match="must return a number, not None"):
        train(LearningRateScheduler(lambda epoch, rate: None), [1])


@pytest.mark.parametrize(
    ("arguments", "values", "rates"),
    [
        # Each rate is the one the epoch was trained with.
        ({"patience": 1}, [1, 1, 1, 1], [0.1, 0.1, 0.01, 0.001]),
        ({"patience": 2}, [1, 1, 1, 1, 1, 1], [0.1, 0.1, 0.1, 0.01, 0.01, 0.001]),
        ({"patience": 1, "factor": 0.5, "min_lr": 0.04}, [1, 1, 1, 1, 1], [0.1, 0.1, 0.05, 0.04, 0.04]),
        ({"patience": 1, "cooldown": 2}, [1, 1, 1, 1, 1, 1], [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]),
        ({"patience": 1, "min_delta": 0.1}, [1, 0.95, 0.8], [0.1, 0.1, 0.01]),
        ({"patience": 1}, [3, 2, 1], [0.1, 0.1, 0.1]),
        ({"patience": 1, "mode": "max"}, [3, 2, 1], [0.1, 0.1, 0.01]),
    ],
)
def test_reduce_lr_on_plateau(arguments, values, rates):
    _, done = train(ReduceLROnPlateau(**arguments), values)
    assert [logs["learning_rate"] for logs in done] == pytest.approx(rates)


def test_reduce_lr_refuses_a_factor_that_does_not_reduce():
    with pytest.raises(ValueError, match="factor must be below 1, not 1"):
        ReduceLROnPlateau(factor=1.0)


def test_history_counts_epochs_anew_and_keeps_values():
    history = History()
    model, _ = train(history, [2, 1])
    train(history, [0], model=model)
    assert history.history == {"loss": [1.0, 1.0, 1.0], "val_loss": [2, 1, 0]}
    assert history.epoch == [0]
    assert model.history is history


def test_history_is_added_last_and_sees_what_others_log():
    run = CallbackList([ReduceLROnPlateau()], add_history=True, model=FakeModel())
    run.on_train_begin()
    run.on_epoch_end(0, {"val_loss": 1.0})
    assert run.history.history == {"val_loss": [1.0], "learning_rate": [0.1]}


def test_a_given_history_is_not_doubled():
    history = History()
    run = CallbackList(history, add_history=True)
    assert run.callbacks == [history]
    assert run.history is history


class Rows:
    """Reads a log as a list of dicts."""

    def __new__(cls, path, delimiter=","):
        with open(path, newline="") as stream:
            return list(csv.DictReader(stream, delimiter=delimiter))


def test_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    train(CSVLogger(path), [0.5, 0.25])
    assert Rows(path) == [
        {"epoch": "0", "loss": "1.0", "val_loss": "0.5"},
        {"epoch": "1", "loss": "1.0", "val_loss": "0.25"},
    ]
    train(CSVLogger(path, append=True), [0.125])
    assert [row["val_loss"] for row in Rows(path)] == ["0.5", "0.25", "0.125"]
    train(CSVLogger(path, separator=";"), [0.75])
    assert Rows(path, ";") == [{"epoch": "0", "loss": "1.0", "val_loss": "0.75"}]


def test_csv_logger_leaves_room_for_validation_that_comes_later(tmp_path):
    path = tmp_path / "log.csv"
    train(CSVLogger(path), [None, 0.5])
    assert [row["val_loss"] for row in Rows(path)] == ["NA", "0.5"]


def test_csv_logger_writes_at_once_and_lets_go_after_an_error(tmp_path):
    path = tmp_path / "log.csv"
    logger = CSVLogger(path)
    with pytest.raises(KeyboardInterrupt), CallbackList(logger, model=FakeModel()) as run:
        run.on_train_begin()
        run.on_epoch_end(0, {"loss": 1.0})
        assert len(Rows(path)) == 1
        raise KeyboardInterrupt
    assert logger._file is None


@pytest.mark.parametrize("loss", [NAN, math.inf, np.float32(NAN)])
def test_terminate_on_nan(loss, capsys):
    model = FakeModel()
    run = CallbackList(TerminateOnNaN(), model=model)
    run.on_train_batch_end(0, {"loss": 1.0})
    assert not model.stop_training
    run.on_train_batch_end(7, {"loss": loss})
    assert model.stop_training
    assert "Batch 7" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="batch 7"):
        CallbackList(TerminateOnNaN(raise_error=True)).on_train_batch_end(7, {"loss": loss})


def test_lambda_callback():
    calls = []
    callback = LambdaCallback(
        on_epoch_end=lambda epoch, logs: calls.append((epoch, logs["val_loss"])),
        on_train_end=lambda logs: calls.append("end"),
        on_test_batch_end=lambda batch, logs: calls.append(batch),
    )
    train(callback, [5, 4])
    assert calls == [(0, 5), (1, 4), "end"]
    run = CallbackList(callback)
    assert run.has_test_batch_hooks
    assert not run.has_train_batch_hooks
    run.on_test_batch_end(3, {})
    assert calls[-1] == 3
    with pytest.raises(TypeError, match="on_epoch_ends"):
        LambdaCallback(on_epoch_ends=print)
    with pytest.raises(TypeError, match="on_epoch_end must be a function"):
        LambdaCallback(on_epoch_end=3)


class OldName(Callback):
    def on_batch_end(self, batch, logs=None):
        self.seen = batch


class Test(Callback):
    __test__ = False

    def on_test_batch_begin(self, batch, logs=None): ...


class Predict(Callback):
    def on_predict_batch_end(self, batch, logs=None): ...


@pytest.mark.parametrize(
    ("callbacks", "hooks"),
    [
        ([], (False, False, False)),
        ([EarlyStopping(), History()], (False, False, False)),
        ([OldName()], (True, False, False)),
        ([TerminateOnNaN()], (True, False, False)),
        ([Test()], (False, True, False)),
        ([[Test(), [Predict()]], OldName()], (True, True, True)),
    ],
)
def test_the_list_knows_who_listens_to_batches(callbacks, hooks):
    run = CallbackList(callbacks)
    assert (run.has_train_batch_hooks, run.has_test_batch_hooks, run.has_predict_batch_hooks) == hooks


def test_every_hook_of_the_list_reaches_the_callbacks():
    names = [name for name in dir(Callback) if name.startswith("on_") and not name.startswith("on_batch")]
    calls = []
    run = CallbackList(
        LambdaCallback(**{name: lambda *a, name=name: calls.append((name, *a)) for name in names}),
        model=FakeModel(),
    )
    expected = []
    for name in names:
        arguments = ({"loss": 1},) if name.endswith(("train_begin", "train_end")) else (3, {"loss": 1})
        if name in ("on_test_begin", "on_test_end", "on_predict_begin", "on_predict_end"):
            arguments = ({"loss": 1},)
        getattr(run, name)(*arguments)
        expected.append((name, *arguments))
    assert calls == expected
    assert len(names) == 14


def test_the_list_gives_model_and_params_to_all():
    callback, model = OldName(), FakeModel()
    CallbackList(callback, model=model, verbose=0, epochs=3, steps=7)
    assert callback.model is model
    assert callback.params == {"verbose": 0, "epochs": 3, "steps": 7}


def test_a_callback_that_is_none_is_refused():
    with pytest.raises(TypeError, match="parentheses"):
        CallbackList([EarlyStopping])
    with pytest.raises(TypeError, match="not 3"):
        CallbackList([3])


# In the real training loop


def network(rate=0.5):
    utils.set_random_seed(3)
    model = Sequential([layers.Input((6,)), layers.Dense(3, activation="softmax")])
    model.compile(optimizers.SGD(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def samples(count=40):
    random = np.random.default_rng(4)
    return random.normal(size=(count, 6)).astype("float32"), random.integers(3, size=count)


def test_callbacks_work_together_in_fit(tmp_path):
    model, weights, batches = network(), [], []
    history = model.fit(
        *samples(),
        batch_size=8,
        epochs=30,
        validation_split=0.25,
        verbose=0,
        callbacks=[
            ReduceLROnPlateau(patience=1, monitor="loss", min_delta=5),
            CSVLogger(tmp_path / "log.csv"),
            LambdaCallback(
                on_epoch_end=lambda epoch, logs: weights.append(model.get_weights()),
                on_train_batch_end=lambda batch, logs: batches.append(batch),
            ),
            ModelCheckpoint(tmp_path / "best.keras", monitor="val_accuracy", save_best_only=True),
            EarlyStopping("val_accuracy", patience=3, restore_best_weights=True),
        ],
    )
    values = history.history["val_accuracy"]
    best = int(np.argmax(values))
    assert len(values) == best + 4 < 30
    np.testing.assert_array_equal(model.get_weights()[0], weights[best][0])
    other = network()
    other.load_weights(tmp_path / "best.keras")
    np.testing.assert_array_equal(other.get_weights()[0], weights[best][0])
    rates = history.history["learning_rate"]
    np.testing.assert_allclose(rates, [0.5, *(0.5 / 10**epoch for epoch in range(len(rates) - 1))])
    rows = Rows(tmp_path / "log.csv")
    assert [float(row["val_accuracy"]) for row in rows] == values
    assert [float(row["learning_rate"]) for row in rows] == rates
    assert batches == list(range(4)) * len(values)


def test_a_diverged_network_stops_within_the_epoch(capsys):
    batches = []
    model = network(1e38)
    model.fit(
        *samples(),
        batch_size=4,
        epochs=3,
        verbose=0,
        callbacks=[TerminateOnNaN(), LambdaCallback(on_train_batch_end=lambda batch, logs: batches.append(batch))],
    )
    assert model.stop_training
    assert len(batches) < 10
    assert "terminating training" in capsys.readouterr().out


def test_fit_ends_with_the_running_means():
    model, plain = network(), network()
    model.compile(optimizers.SGD(0.5, use_ema=True, ema_momentum=0.5), "sparse_categorical_crossentropy")
    seen, x_y = [], samples(16)
    watch = LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(model.get_weights()[0]))
    model.fit(*x_y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[watch])
    plain.fit(*x_y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(seen[-1], plain.get_weights()[0], rtol=1e-6)
    mean = seen[0]
    for weight in seen[1:]:
        mean = 0.5 * mean + 0.5 * weight
    np.testing.assert_allclose(model.get_weights()[0], mean, rtol=1e-6)


@pytest.mark.parametrize("on_epoch", [False, True])
def test_swapped_means_are_what_is_evaluated(on_epoch):
    model, (x, y) = network(), samples(16)
    optimizer = optimizers.SGD(0.5, use_ema=True, ema_momentum=0.5)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    tested, saved, trained = [], [], []
    watch = LambdaCallback(
        on_test_begin=lambda logs: tested.append(model.get_weights()[0]),
        on_epoch_end=lambda epoch, logs: saved.append(model.get_weights()[0]),
        on_train_batch_end=lambda batch, logs: trained.append(model.get_weights()[0]),
    )
    swap = SwapEMAWeights(swap_on_epoch=on_epoch)
    model.fit(x, y, batch_size=16, epochs=3, verbose=0, validation_data=(x, y), callbacks=[swap, watch])
    means = [trained[0]]
    for weight in trained[1:]:
        means.append(0.5 * means[-1] + 0.5 * weight)
    for epoch in range(3):
        np.testing.assert_allclose(tested[epoch], means[epoch], rtol=1e-6)
        np.testing.assert_allclose(saved[epoch], (means if on_epoch else trained)[epoch], rtol=1e-6)
    np.testing.assert_allclose(model.get_weights()[0], means[-1], rtol=1e-6)
    with pytest.raises(ValueError, match="needs an optimizer with use_ema=True"):
        network().fit(x, y, verbose=0, validation_data=(x, y), callbacks=[SwapEMAWeights()])


def test_a_metric_that_is_an_array_is_logged_and_not_monitored(tmp_path, capsys):
    model, (x, y) = network(), samples(16)
    model.compile("sgd", "categorical_crossentropy", metrics=[metrics.F1Score()])
    stop = EarlyStopping("f1_score", mode="max")
    with pytest.warns(UserWarning, match=r"'f1_score' is an array of shape \(3,\), no number to monitor"):
        history = model.fit(x, np.eye(3)[y], epochs=2, verbose=2, callbacks=[stop, CSVLogger(tmp_path / "log.csv")])
    assert [value.shape for value in history.history["f1_score"]] == [(3,), (3,)]
    assert Rows(tmp_path / "log.csv")[0]["f1_score"].startswith("[")
    assert "f1_score: [" in capsys.readouterr().out
    loss, scores = model.evaluate(x, np.eye(3)[y], verbose=0)
    assert scores.shape == (3,)


def test_a_given_progress_bar_is_not_doubled(capsys):
    network().fit(*samples(8), epochs=2, verbose=2, callbacks=[ProgbarLogger()])
    assert capsys.readouterr().out.count("Epoch 2/2") == 1


def events(folder):
    """{tag: [(step, value)]} of the event files in a folder."""
    from tensorboardX.proto import event_pb2

    found = {}
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:  # length (8 bytes), its checksum (4), the event, its checksum (4)
            length = int.from_bytes(data[:8], "little")
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            for value in event.summary.value:
                kind = value.WhichOneof("value")
                found.setdefault(value.tag, []).append((event.step, getattr(value, kind)))
            data = data[16 + length :]
    return found


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed: pip install 'fastconv[tensorboard]'")
    model = network()
    board = TensorBoard(tmp_path, histogram_freq=2, update_freq=3, write_images=True, write_steps_per_second=True)
    history = model.fit(*samples(), batch_size=8, epochs=3, validation_split=0.25, verbose=0, callbacks=[board]).history
    train, validation = events(tmp_path / "train"), events(tmp_path / "validation")
    for found, prefix in ((train, ""), (validation, "val_")):
        for name in ("loss", "accuracy"):
            steps, values = zip(*found[f"epoch_{name}"], strict=True)
            assert steps == (0, 1, 2)
            np.testing.assert_allclose(values, history[prefix + name], rtol=1e-6)
    assert [step for step, _ in train["batch_loss"]] == [3, 6, 9, 12]
    assert [step for step, _ in validation["evaluation_loss_vs_iterations"]] == [4, 8, 12]
    assert train["epoch_learning_rate"][0][1] == 0.5
    assert train["epoch_steps_per_second"][1][1] > 0
    kernel = model.layers[0].kernel
    (first, histogram), (second, _) = train[f"{kernel.path}/histogram"]
    assert (first, second, histogram.num) == (0, 2, kernel.value.size)
    assert train[f"{kernel.path}/image"][0][1].height == 3
    assert any("dense" in str(value) for _, value in train["keras/text_summary"])
    model.evaluate(*samples(), verbose=0, callbacks=[TensorBoard(tmp_path / "again")])
    assert "evaluation_loss_vs_iterations" in events(tmp_path / "again" / "validation")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile_batch": 2}, "profile_batch must be 0, not 2"),
        ({"embeddings_freq": 1}, "embeddings_freq must be 0"),
        ({"update_freq": 0}, 'update_freq must be "epoch", "batch" or a number'),
    ],
)
def test_tensorboard_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        TensorBoard("logs", **options)
