"""compile, fit, evaluate, predict: values, data in all forms, options, errors."""

import numpy as np
import pytest

from fastconv import layers, losses, metrics, optimizers
from fastconv.callbacks import Callback
from fastconv.layers import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D
from fastconv.models import Sequential
from fastconv.utils import set_random_seed, to_categorical


@pytest.fixture(autouse=True)
def seeded():
    set_random_seed(7)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def linear(weight=0.0, learning_rate=0.1, **options):
    """y = w * x + b with known weights, trained by plain SGD on the squared error."""
    model = Sequential([Input((1,)), Dense(1)])
    model.set_weights([[[weight]], [0.0]])
    model.compile(optimizers.SGD(learning_rate), "mse", **options)
    return model


def classifier(*, compiled=True, classes=3):
    model = Sequential([Input((4,)), Dense(5, activation="relu"), Dense(classes, activation="softmax")])
    if compiled:
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def samples(rng, count=20, classes=3):
    return rng.standard_normal((count, 4)).astype("float32"), rng.integers(0, classes, count)


def fit(model, *args, **kwargs):
    return model.fit(*args, **{"verbose": 0, **kwargs})


class Recorder(Callback):
    """Writes down what it is told."""

    def __init__(self):
        self.calls = []

    def on_train_begin(self, logs=None):
        self.calls.append("train")

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append((epoch, dict(logs)))

    def on_train_end(self, logs=None):
        self.calls.append("end")


class Inputs(Callback):
    """Keeps the inputs that the first layer gets in training."""

    def __init__(self, model):
        self.seen = []
        forward = model.layers[0].forward

        def watch(x, training, buffers):
            if training:
                self.seen.append(x.copy())
            return forward(x, training, buffers)

        model.layers[0].forward = watch


def test_one_step_by_hand():
    model = linear()
    # errors -2 and -6; gradient of w: 2 * (-2 * 1 - 6 * 3) / 2 = -20, of b: 2 * -8 / 2 = -8
    assert model.train_on_batch([[1.0], [3.0]], [[2.0], [6.0]]) == pytest.approx(20)
    np.testing.assert_allclose(model.get_weights()[0], [[2.0]], rtol=1e-6)
    np.testing.assert_allclose(model.get_weights()[1], [0.8], rtol=1e-6)


def test_sample_weight_by_hand():
    model = linear()
    # the second sample counts half: loss (4 + 18) / 2, gradient of w: (2 * -2 + 0.5 * 2 * -6 * 3) / 2 = -11
    loss = model.train_on_batch([[1.0], [3.0]], [[2.0], [6.0]], sample_weight=[1, 0.5])
    assert loss == pytest.approx(11)
    np.testing.assert_allclose(model.get_weights()[0], [[1.1]], rtol=1e-6)


def test_the_loss_of_an_epoch_is_weighted_by_batch_size():
    model = linear(weight=1.0, learning_rate=0.0)
    x = np.arange(5.0)[:, None]
    history = fit(model, x, np.zeros((5, 1)), batch_size=2, shuffle=False)
    assert history.history["loss"] == [pytest.approx((0 + 1 + 4 + 9 + 16) / 5)]
    assert model.evaluate(x, np.zeros((5, 1)), batch_size=3, verbose=0) == pytest.approx(6)


def test_penalties_are_part_of_the_loss():
    model = Sequential([Input((1,)), Dense(1, kernel_regularizer="l2", use_bias=False)])
    model.set_weights([[[3.0]]])
    model.compile(optimizers.SGD(0.5), "mse")
    assert model.losses == [pytest.approx(0.09)]
    assert model.evaluate([[0.0]], [[0.0]], verbose=0) == pytest.approx(0.09)
    assert model.train_on_batch([[0.0]], [[0.0]]) == pytest.approx(0.09, rel=1e-6)
    np.testing.assert_allclose(model.get_weights()[0], [[3 - 0.5 * 2 * 0.01 * 3]], rtol=1e-6)


@pytest.mark.parametrize("last", ["in the layer", "a layer of its own"])
def test_softmax_and_loss_together_give_the_gradient_of_each(rng, last):
    x, y = samples(rng)
    target = to_categorical(y)
    tail = [Dense(3, activation="softmax")] if last == "in the layer" else [Dense(3), layers.Softmax()]
    model = Sequential([Input((4,)), Dense(5, activation="tanh"), *tail])
    model.compile(optimizers.SGD(1.0), "categorical_crossentropy")
    loss = losses.get("categorical_crossentropy")
    before = model.get_weights()
    model.backward(loss.gradient(target, model.forward(x)))
    expected = [weight - variable.gradient for weight, variable in zip(before, model.weights, strict=True)]
    model.train_on_batch(x, target)
    for got, wanted in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


def test_the_history(rng):
    x, y = samples(rng)
    model, recorder = classifier(), Recorder()
    history = fit(model, x, y, epochs=3, validation_data=(x[:5], y[:5]), callbacks=[recorder])
    assert list(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert history.epoch == [0, 1, 2] and model.history is history
    assert [call if isinstance(call, str) else call[0] for call in recorder.calls] == ["train", 0, 1, 2, "end"]
    assert recorder.calls[2][1] == {name: values[1] for name, values in history.history.items()}
    result = model.evaluate(x[:5], y[:5], verbose=0, return_dict=True)
    assert result == {name: history.history[f"val_{name}"][-1] for name in ("accuracy", "loss")}
    assert fit(model, x, y, epochs=5, initial_epoch=3).epoch == [3, 4]


def test_validation_split_takes_the_last_samples():
    x = np.arange(10.0)[:, None]
    model = linear(weight=1.0, learning_rate=0.0)
    inputs = Inputs(model)
    history = fit(model, x, 0 * x, validation_split=0.25, batch_size=4)
    assert sorted(np.concatenate(inputs.seen)[:, 0]) == list(range(7))
    assert history.history["val_loss"] == [pytest.approx((49 + 64 + 81) / 3)]
    for share in (-0.1, 1.0, 0.9):
        with pytest.raises(ValueError, match="validation_split"):
            fit(model, x[:3], x[:3], validation_split=share)


def test_shuffling():
    x = np.arange(30.0)[:, None]
    orders = []
    for seed in (1, 1, 2):
        set_random_seed(seed)
        model = linear()
        inputs = Inputs(model)
        fit(model, x, x / 100, batch_size=7, epochs=2)
        orders.append(np.concatenate(inputs.seen)[:, 0].tolist())
        assert [len(batch) for batch in inputs.seen] == [7, 7, 7, 7, 2] * 2
    assert orders[0] == orders[1] != orders[2]
    first, second = orders[0][:30], orders[0][30:]
    assert sorted(first) == sorted(second) == list(range(30)) and first != second
    model = linear()
    inputs = Inputs(model)
    fit(model, x, x / 100, batch_size=7, shuffle=False)
    assert np.concatenate(inputs.seen)[:, 0].tolist() == list(range(30))


def test_shuffled_samples_keep_their_targets_and_weights(rng):
    x = rng.integers(1, 200, (50, 1)).astype("uint8")
    model = linear(weight=1.0, learning_rate=0.0)
    history = fit(model, x, x.astype("float64"), sample_weight=1.0 / x[:, 0], batch_size=8)
    assert history.history["loss"] == [0.0]
    history = fit(model, x, 0.0 * x, sample_weight=1.0 / x[:, 0].astype("float64") ** 2, batch_size=8)
    assert history.history["loss"] == [pytest.approx(1.0, rel=1e-5)]


def test_class_weight(rng):
    x, y = samples(rng)
    weights = {0: 2.0, 2: 0.5}
    one, other, rows = classifier(), classifier(), classifier(compiled=False)
    rows.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    for model in (other, rows):
        model.set_weights(one.get_weights())
    by_sample = np.array([2.0, 1.0, 0.5])[y]
    first = fit(one, x, y, class_weight=weights, shuffle=False, batch_size=6).history["loss"]
    second = fit(other, x, y, sample_weight=by_sample, shuffle=False, batch_size=6).history["loss"]
    third = fit(rows, x, to_categorical(y), class_weight=weights, shuffle=False, batch_size=6).history["loss"]
    assert first == second == pytest.approx(third)
    with pytest.raises(ValueError, match="cannot be given together"):
        fit(one, x, y, class_weight=weights, sample_weight=by_sample)
    for bad in ({"cat": 1.0}, [1.0, 2.0]):
        with pytest.raises(ValueError, match="class_weight|class number"):
            fit(one, x, y, class_weight=bad)


def test_weighted_metrics():
    model = linear(weight=1.0, metrics=["mae", "mse"], weighted_metrics=["mae"])
    x, weight = [[1.0], [3.0]], [1.0, 3.0]
    values = model.evaluate(x, [[0.0], [0.0]], sample_weight=weight, verbose=0, return_dict=True)
    expected = {"loss": (1 + 27) / 2, "mae": 2, "mse": 5, "weighted_mae": (1 + 9) / 4}
    assert values == {name: pytest.approx(value) for name, value in expected.items()}
    assert model.metrics_names == ["loss", "mae", "mse", "weighted_mae"]
    assert list(values) == sorted(values)


def test_data_in_all_forms(rng):
    x, y = samples(rng, count=12)
    model = classifier()
    start = model.get_weights()
    results = []
    pairs = [(x[i : i + 5], y[i : i + 5]) for i in range(0, 12, 5)]
    for data in (
        (x, y),
        (x.astype("float64"), y.astype("uint8")),
        (x.tolist(), y.tolist()),
        (np.asfortranarray(x), y[:, None]),
        (pairs_of(pairs),),
        (iter(pairs),),
        (Loader(pairs),),
    ):
        model.set_weights(start)
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        options = {"batch_size": 5, "shuffle": False} if len(data) == 2 else {}
        results.append(fit(model, *data, **options).history)
    assert all(result == results[0] for result in results)


def pairs_of(pairs):
    yield from pairs


class Loader:
    """A data set as PyTorch has them: a length, and a new pass for each `iter`."""

    def __init__(self, pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def __iter__(self):
        return iter(self.pairs)


def test_the_history_is_in_alphabetical_order(rng):
    x, y = samples(rng)
    model = classifier(compiled=False)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["acc"], weighted_metrics=["acc"])
    names = list(fit(model, x, y, validation_data=(x, y)).history)
    assert names == ["acc", "loss", "val_acc", "val_loss", "val_weighted_acc", "weighted_acc"]


def test_generators(rng):
    x, y = samples(rng, count=6)

    def forever():
        while True:
            yield x, y, np.ones(6)

    model = classifier()
    recorder = Recorder()
    history = fit(
        model,
        forever(),
        epochs=3,
        steps_per_epoch=2,
        validation_data=forever(),
        validation_steps=2,
        callbacks=[recorder],
    )
    assert len(history.history["val_loss"]) == 3 and recorder.params["steps"] == 2
    assert model.optimizer.iterations == 6
    assert model.evaluate(forever(), steps=2, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0))
    by_array = model.predict(x, verbose=0)
    np.testing.assert_array_equal(model.predict(((part,) for part in (x[:4], x[4:])), verbose=0), by_array)
    np.testing.assert_array_equal(model.predict(forever(), steps=1, verbose=0), by_array)
    np.testing.assert_array_equal(model.predict((part for part in (x[:4], x[4:])), verbose=0), by_array)


def test_a_generator_that_runs_out(rng):
    x, y = samples(rng)
    model = classifier()
    with pytest.warns(UserWarning, match="ran out"):
        history = fit(model, iter([(x, y)] * 3), epochs=5, steps_per_epoch=2)
    assert len(history.epoch) == 2 and model.optimizer.iterations == 3
    with pytest.raises(ValueError, match="yields no batches"):
        fit(model, iter([]))


def test_steps_per_epoch_go_on_through_arrays():
    x = np.arange(10.0)[:, None]
    model = linear(learning_rate=0.0)
    inputs = Inputs(model)
    fit(model, x, x, batch_size=4, steps_per_epoch=2, epochs=3, shuffle=False)
    assert [batch[:, 0].tolist() for batch in inputs.seen[:4]] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [0, 1, 2, 3]]


def test_validation_freq(rng):
    x, y = samples(rng)
    for frequency, expected in ((2, 2), ([1, 5], 2), (1, 5)):
        history = fit(classifier(), x, y, epochs=5, validation_data=(x, y), validation_freq=frequency).history
        assert len(history["val_loss"]) == expected and len(history["loss"]) == 5


def test_what_is_shown(rng, capsys):
    x, y = samples(rng)
    model = classifier()
    fit(model, x, y, verbose=0)
    assert capsys.readouterr().out == ""
    for verbose in ("auto", 1, 2):
        model.fit(x, y, epochs=2, verbose=verbose)
        lines = capsys.readouterr().out.splitlines()
        assert [line[:9] for line in lines] == ["Epoch 1/2", "Epoch 2/2"]
        assert " - loss: " in lines[0] and " - accuracy: " in lines[0]
    model.evaluate(x, y, verbose=2)
    assert capsys.readouterr().out.startswith("Evaluate - ")
    with pytest.raises(ValueError, match="verbose must be"):
        model.fit(x, y, verbose=3)


class StopAt(Callback):
    """Raises or stops in the middle of the second epoch."""

    def __init__(self, error=None):
        self.error, self.ended, self.epoch = error, 0, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 1 and batch == 1:
            if self.error:
                raise self.error
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.ended += 1


def test_ctrl_c_ends_fit(rng, capsys):
    x, y = samples(rng)
    model, stop = classifier(), StopAt(KeyboardInterrupt())
    history = fit(model, x, y, batch_size=5, epochs=4, callbacks=[stop])
    assert history.epoch == [0] and len(history.history["loss"]) == 1
    assert model.stop_training and stop.ended == 1
    assert "Interrupted in epoch 2/4" in capsys.readouterr().out
    assert fit(model, x, y, epochs=2).epoch == [0, 1] and not model.stop_training


def test_stop_training_ends_the_epoch(rng):
    x, y = samples(rng)
    model, stop = classifier(), StopAt()
    history = fit(model, x, y, batch_size=5, epochs=4, callbacks=stop)
    assert history.epoch == [0, 1] and model.optimizer.iterations == 4 + 2 and stop.ended == 1


def test_an_error_in_a_callback_is_not_swallowed(rng):
    x, y = samples(rng)
    with pytest.raises(ZeroDivisionError):
        fit(classifier(), x, y, batch_size=5, epochs=4, callbacks=[StopAt(ZeroDivisionError())])


def test_batches_by_hand(rng):
    x, y = samples(rng)
    model = classifier()
    loss, accuracy = model.test_on_batch(x, y)
    assert model.metrics_names == ["loss", "accuracy"]
    model.reset_metrics()
    assert model.test_on_batch(x, y, return_dict=True) == {"accuracy": accuracy, "loss": pytest.approx(loss)}
    model.reset_metrics()
    first = model.train_on_batch(x, y)
    assert first == pytest.approx([loss, accuracy], rel=1e-5)
    assert model.optimizer.iterations == 1
    # Each call is about its own batch.
    again = model.test_on_batch(x, y)
    assert again == model.test_on_batch(x, y) != first
    weights = np.arange(len(x)) == 0
    assert model.test_on_batch(x, y, sample_weight=weights)[0] * len(x) == pytest.approx(
        model.test_on_batch(x[:1], y[:1])[0], rel=1e-5
    )
    np.testing.assert_array_equal(model.predict_on_batch(x), model.predict(x, verbose=0))
    one, two = model.predict_on_batch(x), model.predict_on_batch(-x)
    assert not np.shares_memory(one, two)


def test_predict(rng):
    x, _ = samples(rng, count=11)
    model = classifier(compiled=False)
    whole = model(x)
    for size in (1, 4, 11, None):
        np.testing.assert_allclose(model.predict(x, batch_size=size, verbose=0), whole, rtol=1e-6)
    assert model.predict(x, batch_size=4, steps=2, verbose=0).shape == (8, 3)
    assert model.predict(x[:0], verbose=0).shape == (0, 3)
    assert model.predict(x, verbose=0).dtype == np.float32


def test_frozen_layers_stay_as_they_are(rng):
    x, y = samples(rng)
    model = classifier(compiled=False)
    model.layers[0].trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = model.get_weights()
    fit(model, x, y)
    after = model.get_weights()
    np.testing.assert_array_equal(after[0], before[0])
    assert (after[2] != before[2]).any()
    # As in Keras a change counts from the next compile on.
    model.layers[0].trainable = True
    fit(model, x, y)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    model.compile("sgd", "sparse_categorical_crossentropy")
    fit(model, x, y)
    assert (model.get_weights()[0] != before[0]).any()
    model.trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = model.get_weights()
    fit(model, x, y)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_constraints_hold_after_every_step(rng):
    x, y = samples(rng)
    model = Sequential([Input((4,)), Dense(3, activation="softmax", kernel_constraint="non_neg")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    fit(model, x, y)
    assert (model.get_weights()[0] >= 0).all()


def test_a_model_without_an_input_is_built_by_fit(rng):
    x, y = samples(rng)
    model = Sequential([Dense(5, activation="relu"), Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["acc"])
    assert list(fit(model, x, y).history) == ["acc", "loss"]
    assert model.input_shape == (None, 4)


def test_the_kind_of_accuracy_follows_the_data(rng):
    x, y = samples(rng, classes=2)
    for units, loss, target, kind in (
        (1, "binary_crossentropy", y, metrics.BinaryAccuracy),
        (2, "categorical_crossentropy", to_categorical(y, 2), metrics.CategoricalAccuracy),
        (2, "sparse_categorical_crossentropy", y, metrics.SparseCategoricalAccuracy),
        (2, "crossentropy", y[:, None], metrics.SparseCategoricalAccuracy),
    ):
        activation = "sigmoid" if units == 1 else "softmax"
        model = Sequential([Input((4,)), Dense(units, activation=activation)])
        model.compile("sgd", loss, metrics=["accuracy"])
        value = model.evaluate(x, target, verbose=0, return_dict=True)["accuracy"]
        assert isinstance(model.metrics[1], kind)
        right = (model(x)[:, 0] > 0.5) == y if units == 1 else model(x).argmax(1) == y
        assert value == pytest.approx(right.mean())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "sdg"}, "sdg"),
        ({"loss": "msee"}, "msee"),
        ({"metrics": ["acurracy"]}, "acurracy"),
        ({"metrics": "accuracy"}, r"metrics must be a list such as \['accuracy'\]"),
        ({"weighted_metrics": {"a": "mse"}}, "weighted_metrics must be a list"),
        ({"loss_weights": [1.0]}, "loss_weights is not supported"),
    ],
)
def test_bad_compile_arguments(options, message):
    model = classifier()
    optimizer = model.optimizer
    with pytest.raises(ValueError, match=message):
        model.compile(**{"optimizer": "sgd", "loss": "mse", **options})
    assert model.optimizer is optimizer and model.loss == "sparse_categorical_crossentropy"
    with pytest.raises(TypeError, match="unknown_option"):
        model.compile("sgd", unknown_option=1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.zeros((20, 5))}, ValueError, r'expects x of shape \(None, 4\); received shape \(20, 5\).*"dense'),
        ({"x": np.zeros((19, 4))}, ValueError, "same number of samples; received {'x': 19, 'y': 20}"),
        ({"x": np.full((20, 4), "a")}, TypeError, "x must hold real numbers"),
        ({"x": None}, ValueError, "x must be given"),
        ({"x": {"a": 1}}, ValueError, "has one input"),
        ({"y": None}, ValueError, "y is missing"),
        ({"y": np.array(["a"] * 20)}, TypeError, "y must hold real numbers.*class numbers"),
        ({"y": np.arange(20)}, ValueError, "class numbers from 0 to 2"),
        ({"y": np.zeros((20, 3))}, ValueError, "one class number for each row"),
        ({"sample_weight": np.ones(3)}, ValueError, "same number of samples"),
        ({"validation_data": (np.zeros((3, 4)), np.zeros(2))}, ValueError, "same number of samples"),
        ({"validation_data": (np.zeros((3, 4)), np.full(3, 9))}, ValueError, "class numbers from 0 to 2"),
        ({"validation_data": (np.zeros((3, 7)), np.zeros(3))}, ValueError, "expects x of shape"),
        ({"validation_data": np.zeros((3, 4))}, ValueError, "validation_data must be"),
        ({"validation_steps": 0, "validation_split": 0.5}, ValueError, "validation_steps must be"),
        ({"validation_freq": 0}, ValueError, "validation_freq must be"),
        ({"batch_size": 0}, ValueError, "batch_size must be"),
        ({"steps_per_epoch": 0}, ValueError, "steps_per_epoch must be"),
        ({"shuffle": "batch"}, ValueError, "shuffle must be"),
        ({"callbacks": [Callback]}, TypeError, "forget the parentheses"),
    ],
)
def test_bad_data_changes_nothing(rng, change, error, message):
    x, y = samples(rng)
    model = classifier()
    before = model.get_weights()
    with pytest.raises(error, match=message):
        fit(model, **{"x": x, "y": y, **change})
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    fit(model, x, y)


def test_bad_calls(rng):
    x, y = samples(rng)
    model = classifier(compiled=False)
    for method in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match="call compile"):
            method(x, y)
    model.compile("sgd")
    with pytest.raises(ValueError, match="needs loss"):
        model.fit(x, y)
    model.compile(None, "mse")
    with pytest.raises(ValueError, match="needs optimizer"):
        model.fit(x, to_categorical(y))
    model = classifier()
    for options in ({"y": y}, {"batch_size": 3}, {"sample_weight": y}):
        with pytest.raises(ValueError, match="must not be given where x yields batches"):
            fit(model, iter([(x, y)]), **options)
    with pytest.raises(ValueError, match="validation_split needs arrays"):
        fit(model, iter([(x, y)]), validation_split=0.5)
    with pytest.raises(ValueError, match="different lengths"):
        fit(model, iter([(x, y[:3])]))
    with pytest.raises(ValueError, match="has no samples"):
        fit(model, x[:0], y[:0])
    with pytest.raises(ValueError, match="has no layers"):
        Sequential().predict(x, verbose=0)


def test_wrong_targets_do_not_decide_the_metrics(rng):
    x, y = samples(rng)
    model = classifier(compiled=False)
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    with pytest.raises(ValueError, match="to_categorical"):
        fit(model, x, y)
    fit(model, x, to_categorical(y))
    assert isinstance(model.metrics[1], metrics.CategoricalAccuracy)


def test_a_diverged_network_warns_of_nothing():
    model = linear(weight=1.0, learning_rate=1e30)
    x = np.ones((4, 1))
    history = fit(model, x, 0 * x, epochs=6, batch_size=2)
    assert np.isnan(history.history["loss"][-1])


def test_compile_config():
    model = classifier(compiled=False)
    assert model.get_compile_config() is None
    model.compile(
        optimizers.Adam(0.01),
        losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy", metrics.SparseTopKCategoricalAccuracy(2)],
    )
    config = model.get_compile_config()
    twin = classifier(compiled=False)
    twin.compile_from_config(config)
    assert twin.get_compile_config() == config
    assert twin.optimizer.learning_rate == 0.01 and twin.optimizer.built
    model.compile("sgd", "mse", metrics=[lambda y_true, y_pred: y_pred])
    with pytest.raises(TypeError):
        model.get_compile_config()


def images(rng, count):
    """Bars that lie, stand, or slope, with noise."""
    x = rng.uniform(0, 0.5, (count, 8, 8, 1)).astype("float32")
    y = rng.integers(0, 3, count)
    for image, kind, place in zip(x, y, rng.integers(1, 7, count), strict=True):
        if kind == 0:
            image[place] += 1
        elif kind == 1:
            image[:, place] += 1
        else:
            image[np.arange(8), np.arange(8)] += 1
    return x, y


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_small_network_learns(rng, data_format):
    (x, y), (x_test, y_test) = images(rng, 300), images(rng, 100)
    if data_format == "channels_first":
        x, x_test = x.transpose(0, 3, 1, 2), x_test.transpose(0, 3, 1, 2)
    model = Sequential(
        [
            Input(x.shape[1:]),
            Conv2D(8, 3, activation="relu", data_format=data_format),
            MaxPooling2D(2, data_format=data_format),
            Flatten(data_format=data_format),
            Dropout(0.1),
            Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = fit(model, x, y, epochs=8, validation_data=(x_test, y_test)).history
    assert history["loss"][-1] < history["loss"][0] / 3
    assert model.evaluate(x_test, y_test, verbose=0)[1] > 0.97


def test_a_step_allocates_nothing_large(rng):
    import tracemalloc

    x = rng.integers(0, 255, (96, 24, 24, 1), dtype=np.uint8)
    y = rng.integers(0, 3, 96)
    model = Sequential(
        [Input((24, 24, 1)), Conv2D(16, 3), layers.AveragePooling2D(2), Flatten(), Dense(3, activation="softmax")]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    fit(model, x, y, batch_size=32)

    class Peak(Callback):
        largest = 0

        def on_train_batch_end(self, batch, logs=None):
            if batch > 0:
                self.largest = max(self.largest, tracemalloc.get_traced_memory()[1] - self.before)
            tracemalloc.reset_peak()
            self.before = tracemalloc.get_traced_memory()[0]

    peak = Peak()
    tracemalloc.start()
    try:
        fit(model, x, y, batch_size=32, callbacks=[peak])
    finally:
        tracemalloc.stop()
    activation_bytes = 32 * 22 * 22 * 16 * 4
    assert 0 < peak.largest < activation_bytes / 20


@pytest.mark.parametrize("call", ["predict_on_batch", "train_on_batch", "test_on_batch"])
def test_a_batch_without_samples_is_refused(call):
    model = Sequential([Input((3,)), Dense(2)])
    model.compile("sgd", "mse")
    arrays = [np.zeros((0, 3), "float32"), np.zeros((0, 2), "float32")][: 1 if call == "predict_on_batch" else 2]
    with pytest.raises(ValueError, match=r"x has no samples; received shape \(0, 3\)"):
        getattr(model, call)(*arrays)
