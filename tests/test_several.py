"""Models with several inputs and outputs: data, losses, metrics and their names in the logs."""

from __future__ import annotations

import numpy as np
import peers
import pytest

import fastconv as keras

LOSSES = ["mse", "sparse_categorical_crossentropy"]


@pytest.fixture(autouse=True)
def names_begin_anew():
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)


@pytest.fixture
def data():
    rng = np.random.default_rng(1)
    x = [rng.random((12, 4)).astype("float32"), rng.random((12, 3)).astype("float32")]
    return x, [rng.random((12, 1)).astype("float32"), rng.integers(0, 3, 12)]


def make(library=keras):
    layers = library.layers
    left, right = layers.Input((4,), name="left"), layers.Input((3,), name="right")
    both = layers.Concatenate()([left, layers.Dense(2, activation="relu")(right)])
    value = layers.Dense(1, name="value")(both)
    kind = layers.Dense(3, activation="softmax", name="kind")(both)
    return library.Model([left, right], [value, kind])


def test_lists_and_dicts_are_the_same(data):
    x, y = data
    by_list = make()
    by_dict = keras.models.clone_model(by_list)
    by_dict.set_weights(by_list.get_weights())
    by_list.compile("sgd", LOSSES, metrics=[["mae"], ["accuracy"]], loss_weights=[1, 0.5])
    by_dict.compile(
        "sgd",
        dict(zip(["value", "kind"], LOSSES, strict=True)),
        metrics={"value": "mae", "kind": "accuracy"},
        loss_weights={"value": 1, "kind": 0.5},
    )
    named = {"left": x[0], "right": x[1]}
    options = {"epochs": 3, "batch_size": 5, "shuffle": False, "verbose": 0}
    first = by_list.fit(x, y, validation_split=0.25, **options).history
    second = by_dict.fit(named, {"kind": y[1], "value": y[0]}, validation_split=0.25, **options).history
    assert first == second
    assert sorted(first) == sorted(
        prefix + name
        for prefix in ("", "val_")
        for name in ("kind_accuracy", "kind_loss", "loss", "value_loss", "value_mae")
    )
    np.testing.assert_allclose(
        first["loss"], np.add(first["value_loss"], np.multiply(0.5, first["kind_loss"])), rtol=1e-6
    )
    for mine, other in zip(by_list.predict(x, verbose=0), by_dict.predict(named, verbose=0), strict=True):
        np.testing.assert_array_equal(mine, other)

    def batches():
        for start in range(0, 10, 5):
            rows = slice(start, start + 5)
            yield {"left": x[0][rows], "right": x[1][rows]}, (y[0][rows], y[1][rows])

    third = by_list.fit(batches(), verbose=0).history
    assert sorted(third) == ["kind_accuracy", "kind_loss", "loss", "value_loss", "value_mae"]
    value, kind = by_list.predict_on_batch(x)
    assert value.shape == (12, 1) and kind.shape == (12, 3)
    np.testing.assert_array_equal(by_list(x)[0], value)


def test_the_gradient_is_that_of_the_weighted_sum(data):
    """The step for a sum of two losses is the sum of the steps for each."""
    x, y = data
    start = make().get_weights()
    changes = []
    for weights in ([0.5, 0.0], [0.0, 2.0], [0.5, 2.0]):
        model = make()
        model.set_weights(start)
        model.compile(keras.optimizers.SGD(1.0), LOSSES, loss_weights=weights)
        model.train_on_batch(x, y)
        changes.append([new - old for new, old in zip(model.get_weights(), start, strict=True)])
    for one, two, both in zip(*changes, strict=True):
        np.testing.assert_allclose(one + two, both, rtol=1e-4, atol=1e-6)


def test_evaluate_and_its_order(data):
    x, y = data
    model = make()
    model.compile("sgd", LOSSES, metrics=[["mae"], ["accuracy"]])
    assert model.metrics_names[:3] == ["loss", "value_loss", "kind_loss"]
    values = model.evaluate(x, y, verbose=0)
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    assert model.metrics_names == ["loss", "value_loss", "kind_loss", "kind_accuracy", "value_mae"]
    assert values == [found[name] for name in model.metrics_names]


def test_an_output_without_a_loss(data):
    x, y = data
    model = make()
    model.compile("sgd", ["mse", None])
    before = model.get_layer("kind").get_weights()[0]
    assert list(model.fit(x, [y[0], None], verbose=0).history) == ["loss"]
    np.testing.assert_array_equal(model.get_layer("kind").get_weights()[0], before)


def test_sample_weights(data):
    x, y = data
    model = make()
    model.compile("sgd", LOSSES)
    zero = model.evaluate(x, y, sample_weight=[np.ones(12), np.zeros(12)], verbose=0)
    assert zero[2] == 0 and zero[0] == zero[1] > 0
    all_zero = model.evaluate(x, y, sample_weight=np.zeros(12), verbose=0)
    assert all_zero == [0, 0, 0]


def test_compile_config(data):
    x, y = data
    model = make()
    model.compile("sgd", LOSSES, loss_weights=[1.0, 2.0], metrics={"kind": ["accuracy"]})
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    other.compile_from_config(model.get_compile_config())
    assert other.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


def test_what_does_not_fit(data):
    x, y = data
    model = make()
    for arguments, message in (
        ({"loss": ["mse"]}, "loss must have an entry for each of the outputs"),
        ({"loss": {"value": "mse"}}, "loss must have an entry for each"),
        ({"loss": {"value": "mse", "kind": "mse", "other": "mse"}}, "loss names \\['other'\\]"),
        ({"loss": LOSSES, "metrics": ["mae"]}, "metrics must have an entry"),
        ({"loss": LOSSES, "loss_weights": [1]}, "loss_weights must have an entry"),
    ):
        with pytest.raises(ValueError, match=message):
            model.compile("sgd", **arguments)
    model.compile("sgd", LOSSES)
    for call, message in (
        (lambda: model.fit(x[:1], y), "takes a list of 2 inputs"),
        (lambda: model.fit({"left": x[0]}, y), "takes the inputs"),
        (lambda: model.fit(x, y[0]), "y must be a list of so many arrays"),
        (lambda: model.fit(x, {"value": y[0], "other": y[1]}), "y names \\['other'\\]"),
        (lambda: model.fit(x, {"value": y[0]}), "y is missing for the output 'kind'"),
        (lambda: model.fit([x[0], x[1][:5]], y), "the same number of samples"),
        (lambda: model.fit([x[1], x[0]], y), "expects the input 'left' of shape"),
        (lambda: model.fit(x, y, class_weight={0: 1.0}), "several outputs"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@peers.MARK
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_logs_are_those_of_keras(data):
    theirs = peers.keras()
    x, y = data
    mine, its = make(), make(theirs)
    mine.set_weights([np.asarray(weight) for weight in its.weights])
    histories, values = [], []
    for model, library in ((mine, keras), (its, theirs)):
        model.compile(
            library.optimizers.SGD(0.1),
            LOSSES,
            loss_weights=[1.0, 0.5],
            metrics={"kind": "accuracy", "value": ["mae"]},
        )
        histories.append(
            model.fit(x, y, epochs=3, batch_size=4, shuffle=False, validation_split=0.25, verbose=0).history
        )
        values.append(model.evaluate(x, y, verbose=0))
    assert sorted(histories[0]) == sorted(histories[1])
    for name, found in histories[0].items():
        np.testing.assert_allclose(found, histories[1][name], rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(values[0], values[1], rtol=1e-4, atol=1e-5)
