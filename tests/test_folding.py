"""Batch normalization folded into convolutions in `predict` and `evaluate`."""

import numpy as np
import pytest

import fastconv as keras
from fastconv import layers
from fastconv.layers import BatchNormalization
from fastconv.models.folding import Folded


def block(x, *parts):
    for part in parts:
        x = part(x)
    return x


def shaken(model):
    """The model with weights far from where they begin."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(rng.uniform(0.3, 1.5, weight.shape))
    return model


def folded(model):
    return [call[1] for call in model.forward_plan._folded if isinstance(call[1], Folded)]


CASES = {
    "relu": ((7, 9, 3), [layers.Conv2D(5, 3), BatchNormalization(), layers.ReLU()], 1),
    "activation": ((7, 9, 3), [layers.Conv2D(5, 3), BatchNormalization(), layers.Activation("relu")], 1),
    "no_bias": ((7, 9, 3), [layers.Conv2D(5, 3, use_bias=False), BatchNormalization(scale=False)], 1),
    "other_activation": ((7, 9, 3), [layers.Conv2D(5, 3), BatchNormalization(center=False), layers.ReLU(6.0)], 1),
    "depthwise": ((7, 9, 3), [layers.DepthwiseConv2D(3, depth_multiplier=2), BatchNormalization(), layers.ReLU()], 1),
    "dense": ((11,), [layers.Dense(6), BatchNormalization(), layers.ReLU()], 1),
    "twice": ((7, 9, 3), [layers.Conv2D(4, 3), BatchNormalization(), layers.Conv2D(2, 1), BatchNormalization()], 2),
    "channels_first": (
        (3, 7, 9),
        [
            layers.Conv2D(5, 3, data_format="channels_first"),
            BatchNormalization(axis=1),
            layers.MaxPooling2D(data_format="channels_first"),
        ],
        1,
    ),
    "wrong_axis": ((7, 9, 3), [layers.Conv2D(9, 1), BatchNormalization(axis=2)], 0),
    "active": ((7, 9, 3), [layers.Conv2D(5, 3, activation="relu"), BatchNormalization()], 0),
    "norm_first": ((7, 9, 3), [BatchNormalization(), layers.Conv2D(5, 3)], 0),
}


@pytest.mark.parametrize("name", CASES)
def test_predict_folds_and_gives_the_same(name):
    shape, parts, expected = CASES[name]
    made = [type(part).from_config(part.get_config()) for part in parts]
    model = shaken(keras.Sequential([layers.Input(shape), *made]))
    assert len(folded(model)) == expected
    x = np.random.default_rng(0).standard_normal((4, *shape)).astype("float32")
    wanted = model(x)
    np.testing.assert_allclose(model.predict(x, batch_size=1, verbose=0), wanted, rtol=2e-5, atol=2e-5)


def test_a_folded_norm_is_not_called(monkeypatch):
    model = keras.Sequential([layers.Input((5, 5, 2)), layers.Conv2D(3, 3), BatchNormalization(), layers.ReLU()])
    x = np.ones((3, 5, 5, 2), "float32")
    wanted = model(x)
    for kind in (BatchNormalization, layers.ReLU):
        monkeypatch.setattr(kind, "forward", lambda *_: pytest.fail("it was called"))
    np.testing.assert_allclose(model.predict(x, batch_size=1, verbose=0), wanted, atol=1e-6)


def test_what_others_need_is_not_folded():
    x = layers.Input((6, 6, 2))
    between = layers.Conv2D(2, 3, padding="same")(x)
    normal = BatchNormalization()(between)
    both = shaken(keras.Model(x, layers.Add()([between, normal])))
    inner = keras.Model(x, [between, normal])
    after = shaken(keras.Model(x, layers.Add()([normal, layers.ReLU()(normal)])))
    assert not folded(both) and not folded(inner)
    assert [call.relu for call in folded(after)] == [False]
    data = np.random.default_rng(0).standard_normal((3, 6, 6, 2)).astype("float32")
    np.testing.assert_allclose(after.predict(data, batch_size=1, verbose=0), after(data), rtol=1e-5, atol=1e-5)


def test_training_between_predictions_counts():
    model = keras.Sequential([layers.Input((5, 5, 2)), layers.Conv2D(3, 3), BatchNormalization(), layers.Flatten()])
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 5, 5, 2)).astype("float32"), np.zeros((8, 27), "float32")
    before = model.predict(x, batch_size=2, verbose=0)
    model.fit(x, y, epochs=2, verbose=0)
    after = model.predict(x, batch_size=2, verbose=0)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, model(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.evaluate(x, y, batch_size=2, verbose=0), np.mean(model(x) ** 2), rtol=1e-5)
