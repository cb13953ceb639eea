"""Transfer learning: a network that was trained before is used, frozen or trained on, for other classes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastconv import Model, Sequential, utils
from fastconv.applications import VGG16
from fastconv.layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Input,
    MaxPooling2D,
)
from fastconv.layers.budget import shapes_only
from fastconv.models import clone_model
from fastconv.optimizers import SGD, RMSprop


@pytest.fixture(autouse=True)
def names_begin_anew():
    utils.clear_session()
    utils.set_random_seed(3)


@pytest.fixture
def data():
    """Images whose left or right half is lighter, and a second task: which of upper and lower."""
    rng = np.random.default_rng(2)
    images = rng.random((96, 12, 12, 3), np.float32)
    sides, ends = rng.integers(0, 2, 96), rng.integers(0, 2, 96)
    for image, side, end in zip(images, sides, ends, strict=True):
        image[:, 6:] += 0.5 * side
        image[6:] += 0.5 * end
    return images, sides, ends


def small_base():
    """As VGG: two blocks and no classifier."""
    return Sequential(
        [
            Input((12, 12, 3)),
            Conv2D(4, 3, padding="same", activation="relu", name="block1_conv1"),
            MaxPooling2D(2, name="block1_pool"),
            Conv2D(8, 3, padding="same", activation="relu", name="block2_conv1"),
            MaxPooling2D(2, name="block2_pool"),
        ],
        name="base",
    )


def trained_base(images, labels):
    base = small_base()
    model = Sequential([base, Flatten(), Dense(1, activation="sigmoid")])
    model.compile(RMSprop(0.01), "binary_crossentropy")
    model.fit(images, labels, epochs=4, verbose=0)
    return base


def head():
    return Sequential([Flatten(), Dense(8, activation="relu"), Dropout(0.2), Dense(1, activation="sigmoid")])


def test_bottleneck_features(data):
    """What the base makes of all images, worked out once, is the input of a small model."""
    images, sides, ends = data
    base = trained_base(images, sides)
    features = base.predict(images, batch_size=32, verbose=0)
    assert features.shape == (96, 3, 3, 8)
    top = head()
    top.compile(RMSprop(0.01), "binary_crossentropy", metrics=["accuracy"])
    history = top.fit(features, ends, epochs=40, verbose=0).history
    assert history["accuracy"][-1] > 0.9
    whole = Sequential([base, top])
    np.testing.assert_array_equal(whole.predict(images, verbose=0), top.predict(features, verbose=0))


@pytest.mark.parametrize("functional", [False, True], ids=["Sequential", "Model"])
def test_a_frozen_base_then_fine_tuning(data, functional):
    images, sides, ends = data
    base = trained_base(images, sides)
    base.trainable = False
    top = head()
    if functional:
        image = Input((12, 12, 3))
        model = Model(image, top(base(image, training=False)))
    else:
        model = Sequential([base, top])
    model.compile(RMSprop(0.01), "binary_crossentropy", metrics=["accuracy"])
    assert len(model.trainable_weights) == 4 and len(model.non_trainable_weights) == 4
    before = base.get_weights()
    model.fit(images, ends, epochs=30, verbose=0)
    for old, new in zip(before, base.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert all(weight.gradient is None or "dense" in weight.path for weight in model.weights[4:])
    assert {step.layer for step in model.backward_plan.steps}.isdisjoint(base.layers)

    base.trainable = True
    for layer in base.layers:
        layer.trainable = layer.name.startswith("block2")
    model.compile(SGD(1e-2, momentum=0.9), "binary_crossentropy", metrics=["accuracy"])
    assert [layer.name for layer in {step.layer: 0 for step in model.backward_plan.steps}][-1] == "block2_conv1"
    model.fit(images, ends, epochs=3, verbose=0)
    changed = [(old != new).any() for old, new in zip(before, base.get_weights(), strict=True)]
    assert changed == [False, False, True, True]
    assert model.evaluate(images, ends, verbose=0)[1] > 0.85


def test_a_frozen_base_costs_no_gradients_and_no_memory_for_them(data):
    images, _, ends = data
    base = small_base()
    base.trainable = False
    model = Sequential([base, GlobalAveragePooling2D(), Dense(1, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    model.fit(images, ends, verbose=0)
    assert all(weight.gradient is None for weight in base.weights)
    assert not any(
        name.startswith("input_grad") and owner in map(id, base.layers) for owner, name in model._buffers._blocks
    )
    assert all(slot.shape in [(8, 1), (1,), ()] for slot in model.optimizer.variables)


def test_the_statistics_of_a_frozen_normalization_stay(data):
    images, _, ends = data
    base = Sequential([Input((12, 12, 3)), Conv2D(4, 3), BatchNormalization()])
    base.trainable = False
    model = Sequential([base, Flatten(), Dense(1)])
    model.compile("sgd", "mse")
    before = base.get_weights()
    model.fit(images, ends, verbose=0)
    for old, new in zip(before, base.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_statistics_stay_where_the_call_says_so_though_the_weights_are_trained(data):
    images, _, ends = data
    base = Sequential([Input((12, 12, 3)), Conv2D(4, 3), BatchNormalization()])
    image = Input((12, 12, 3))
    model = Model(image, Dense(1)(Flatten()(base(image, training=False))))
    model.compile(SGD(1e-3), "mse")
    before = base.get_weights()
    model.fit(images, ends, verbose=0)
    changed = [(old != new).any() for old, new in zip(before, base.get_weights(), strict=True)]
    assert changed == [True, True, True, True, False, False]


def test_a_new_top_on_a_model_cut_off(data):
    """The last layers are left out: the output of an inner layer is the input of new ones."""
    images, sides, _ = data
    old = Sequential([small_base(), Flatten(), Dense(5, activation="softmax")])
    inner = old.layers[0]
    model = Model(inner.inputs, Dense(2, activation="softmax")(Flatten()(inner.get_layer("block1_pool").output)))
    model.compile("adam", "sparse_categorical_crossentropy")
    before = inner.get_layer("block1_conv1").get_weights()[0]
    model.fit(images, sides, verbose=0)
    assert (inner.get_layer("block1_conv1").get_weights()[0] != before).any()
    old.pop()
    old.add(Dense(2, activation="softmax"))
    assert old.predict(images[:4], verbose=0).shape == (4, 2)


def test_copying_weights_layer_by_layer(data):
    base = small_base()
    other = clone_model(base)
    for mine, its in zip(base.layers, other.layers, strict=True):
        its.set_weights(mine.get_weights())
    np.testing.assert_array_equal(other.predict(data[0], verbose=0), base.predict(data[0], verbose=0))


def test_vgg16_with_a_new_top():
    """The program of the notes, in shapes: a frozen VGG16 of 14.7 million weights under two dense layers."""
    with shapes_only():
        base = VGG16(weights=None, include_top=False, input_shape=(48, 48, 3))
        base.trainable = False
        model = Sequential([base, Flatten(), Dense(256, activation="relu"), Dense(1, activation="sigmoid")])
    assert model.output_shape == (None, 1)
    assert sum(math.prod(weight.shape) for weight in model.non_trainable_weights) == 14_714_688
    assert len(model.trainable_weights) == 4
    for layer in base.layers:
        layer.trainable = layer.name in ("block5_conv1", "block5_conv2", "block5_conv3")
    assert len(model.trainable_weights) == 4  # the base as a whole is still frozen
    base.trainable = True
    for layer in base.layers[:-4]:
        layer.trainable = False
    assert len(model.trainable_weights) == 4 + 6
