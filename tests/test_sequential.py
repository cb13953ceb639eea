"""Sequential: layers, shapes, weights, configs."""

import json

import numpy as np
import pytest

import fastconv as keras
from fastconv import layers
from fastconv.layers import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D
from fastconv.models import Sequential
from fastconv.testing import check_gradient
from fastconv.utils import clear_session


@pytest.fixture(autouse=True)
def names():
    clear_session()


def convnet(**options):
    first = Conv2D(3, 2, activation="relu", input_shape=(6, 5, 2), **options)
    return Sequential([first, MaxPooling2D(2), Flatten(), Dense(4, activation="tanh"), Dropout(0.5), Dense(2)])


def rows_of(model):
    """(name, type, shape, parameters) of each row of the summary."""
    texts = []
    model.summary(print_fn=texts.append)
    lines = [line.split("  ") for line in texts[0].splitlines() if "(" in line and "  " in line]
    return [tuple(cell.strip() for cell in line if cell.strip()) for line in lines[1:]]


def test_layers_one_by_one():
    model = Sequential()
    assert (model.built, model.layers, model.name) == (False, [], "sequential")
    model.summary(print_fn=lambda text: None)
    model.add(Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1)))
    assert model.built and model.output_shape == (None, 26, 26, 32)
    model.add(MaxPooling2D((2, 2)))
    model.add(Conv2D(64, (3, 3), activation="relu"))
    assert rows_of(model) == [
        ("conv2d (Conv2D)", "(None, 26, 26, 32)", "320"),
        ("max_pooling2d (MaxPooling2D)", "(None, 13, 13, 32)", "0"),
        ("conv2d_1 (Conv2D)", "(None, 11, 11, 64)", "18496"),
    ]
    model.compile(loss="mse")
    model.add(Flatten())
    model.add(Dense(2))
    assert rows_of(model)[-1] == ("dense (Dense)", "(None, 2)", "15490")
    assert model.count_params() == 320 + 18496 + 15490
    assert [layer.name for layer in model.layers] == ["conv2d", "max_pooling2d", "conv2d_1", "flatten", "dense"]


def test_input_in_all_forms():
    for first in (
        [Input((3,)), Dense(2)],
        [layers.InputLayer(shape=(3,)), Dense(2)],
        [Dense(2, input_shape=(3,))],
        [Dense(2, input_dim=3)],
        [Dense(2, batch_input_shape=(None, 3))],
    ):
        model = keras.Sequential(first)
        assert model.input_shape == (None, 3) and len(model.layers) == 1 and len(model.weights) == 2


def test_a_model_without_an_input_waits():
    model = Sequential([Conv2D(2, 2), Flatten(), Dense(3)])
    assert not model.built and model.weights == []
    texts = []
    model.summary(print_fn=texts.append)
    assert "unbuilt" in texts[0]
    for ask in (lambda: model.input_shape, lambda: model.output_shape):
        with pytest.raises(ValueError, match="does not know the shape of its input"):
            ask()
    with pytest.raises(ValueError, match="is not built"):
        model.count_params()
    assert model(np.zeros((2, 4, 4, 1))).shape == (2, 3)
    assert model.built and model.input_shape == (None, 4, 4, 1)
    other = Sequential([Conv2D(2, 2), Flatten(), Dense(3)])
    other.build((None, 4, 4, 1))
    assert other.count_params() == model.count_params() == 2 * 4 + 2 + 18 * 3 + 3
    with pytest.raises(ValueError, match="cannot be built for"):
        other.build((None, 5, 5, 1))


def test_pop():
    model = convnet()
    last = model.pop()
    assert last.name == "dense_1" and model.output_shape == (None, 4)
    model.add(Dense(7))
    assert model.output_shape == (None, 7)
    with pytest.raises(ValueError, match="has no layers to remove"):
        Sequential().pop()


def test_what_cannot_be_added():
    model = convnet()
    before = model.layers
    for bad, message in (
        ("Dense", "takes fastconv.layers.Layer objects; received 'Dense'"),
        (Sequential(), "has no layers: add one"),
        (Dense(1, name="dense"), 'has a layer named "dense" already'),
        (Input((3,)), "an input must be the first"),
        (Conv2D(2, 3), r'Layer "conv2d_1" \(Conv2D\) expects inputs of shape'),
        (Dense(2, dtype="float64"), "computes in float32"),
    ):
        with pytest.raises(ValueError, match=message):
            model.add(bad)
        assert model.layers == before
    small = Sequential([Input((4, 4, 1)), MaxPooling2D(2)])
    with pytest.raises(ValueError, match=r"inputs of shape \(None, 2, 2, 1\): the window is larger"):
        small.add(Conv2D(2, 3))
    with pytest.raises(ValueError, match="already|first"):
        small.add(Input((4, 4, 1)))
    with pytest.raises(ValueError, match="has no layers"):
        Sequential().build((None, 3))


def test_a_failed_build_builds_nothing():
    model = Sequential([Dense(4), Conv2D(2, 3)])
    with pytest.raises(ValueError, match="expects inputs of shape"):
        model.build((None, 3))
    assert not model.built and not model.layers[0].built


def test_get_layer():
    model = convnet()
    assert model.get_layer("flatten") is model.get_layer(index=2) is model.layers[2]
    for arguments in ({}, {"name": "flatten", "index": 2}, {"name": "none"}, {"index": 6}):
        with pytest.raises(ValueError, match="get_layer|has no layer|has 6 layers"):
            model.get_layer(**arguments)


def test_inputs_that_do_not_suit():
    model = convnet()
    with pytest.raises(ValueError, match=r"expects x of shape \(None, 6, 5, 2\); received shape \(3, 6, 5, 3\)"):
        model(np.zeros((3, 6, 5, 3)))
    gray = Sequential([Input((6, 5, 1)), Flatten()])
    assert gray(np.zeros((3, 6, 5))).shape == (3, 30)  # as Keras
    flat = Sequential([Input((4,)), Dense(2)])
    assert flat(np.zeros((3, 4, 1))).shape == (3, 2)


def test_weights():
    model, twin = convnet(), convnet()
    assert [weight.name for weight in model.weights] == ["kernel", "bias"] * 3
    twin.set_weights(model.get_weights())
    x = np.random.default_rng(0).random((3, 6, 5, 2))
    np.testing.assert_array_equal(model(x), twin(x))
    arrays = model.get_weights()
    arrays[-1] = np.zeros(9)
    with pytest.raises(ValueError, match=r"bias has shape \(2,\); received shape \(9,\)"):
        twin.set_weights([np.zeros_like(array) for array in arrays[:-1]] + arrays[-1:])
    np.testing.assert_array_equal(model(x), twin(x))


def test_trainable():
    model = convnet()
    model.layers[0].trainable = False
    assert len(model.trainable_weights) == 4 and len(model.non_trainable_weights) == 2
    model.trainable = False
    assert model.trainable_weights == [] and not model.layers[3].trainable
    model.trainable = True
    assert len(model.trainable_weights) == 6
    assert Sequential([Dense(1, input_dim=1)], trainable=False).trainable_weights == []


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_gradients_of_a_whole_model(data_format):
    rng = np.random.default_rng(2)
    shape = (5, 6, 2) if data_format == "channels_last" else (2, 5, 6)
    keras.backend.set_floatx("float64")
    try:
        model = Sequential(
            [
                Input(shape),
                Conv2D(3, (2, 3), padding="same", activation="tanh", data_format=data_format),
                layers.AveragePooling2D(2, data_format=data_format),
                Conv2D(4, 2, activation="softplus", use_bias=False, data_format=data_format),
                Flatten(),
                Dense(3),
                layers.Softmax(),
            ]
        )
    finally:
        keras.backend.set_floatx("float32")

    def forward(x, *weights):
        model.set_weights(weights)
        return model.forward(x)

    def backward(grad, *inputs):
        return [model.backward(grad), *(weight.gradient for weight in model.weights)]

    check_gradient(forward, backward, rng.standard_normal((2, *shape)), *model.get_weights())


def test_config():
    model = convnet(kernel_regularizer="l2")
    config = json.loads(model.to_json())["config"]
    assert [entry["class_name"] for entry in config["layers"]][:3] == ["InputLayer", "Conv2D", "MaxPooling2D"]
    assert config["build_input_shape"] == [None, 6, 5, 2]
    twin = Sequential.from_config(config)
    assert twin.get_config() == model.get_config()
    assert [layer.output_shape for layer in twin.layers] == [layer.output_shape for layer in model.layers]
    unbuilt = Sequential.from_config(Sequential([Dense(3)]).get_config())
    assert not unbuilt.built


def test_layers_of_an_older_model():
    old = convnet()
    new = Sequential([*old.layers[:-1], Dense(5, name="new")])
    assert new.output_shape == (None, 5)
    assert new.layers[0].kernel is old.layers[0].kernel
    with pytest.raises(ValueError, match="expects inputs of shape"):
        Sequential([Input((6, 5, 3)), *old.layers])
