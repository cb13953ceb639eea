"""Files go both ways between fastconv and Keras 3: the same predictions, and the same weights after more training."""

from __future__ import annotations

import os

import numpy as np
import peers
import pytest

import fastconv

pytestmark = [peers.MARK, pytest.mark.filterwarnings("ignore")]  # of Keras and its backends


def chain(k):
    """Every layer that can stand in a chain and has weights, or changes shapes."""
    layers = k.layers
    return k.Sequential(
        [
            k.Input((9, 8, 2)),
            layers.Conv2D(3, 2, activation="relu", name="first", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(2, depth_multiplier=2),
            layers.ReLU(max_value=3.0, negative_slope=0.1),
            layers.LeakyReLU(),
            layers.PReLU(shared_axes=[1, 2]),
            layers.MaxPooling2D(),
            layers.AveragePooling2D(2, strides=1, padding="same"),
            layers.ZeroPadding2D(((1, 0), (2, 1))),
            layers.Cropping2D(((0, 1), (1, 0))),
            layers.UpSampling2D(),
            layers.Rescaling(0.5, 0.1),
            layers.Conv2D(4, 3, groups=2, use_bias=False),
            layers.Flatten(),
            layers.RepeatVector(2),
            layers.Permute((2, 1)),
            layers.Reshape((-1,)),
            layers.ELU(),
            layers.Dense(4, kernel_constraint="non_neg"),
            layers.Dropout(0.0),
            layers.Softmax(),
        ]
    )


def graph(k):
    """A shared layer, a model in the model, and one in that."""
    layers = k.layers
    inputs = k.Input((9, 8, 2), name="image")
    inner = k.Sequential([k.Input((9, 8, 3)), layers.Conv2D(3, 3, padding="same", use_bias=False)], name="inner")
    x = layers.Conv2D(3, 3, padding="same", activation="tanh")(inputs)
    shared = layers.Conv2D(3, 1)
    x = layers.Concatenate()([layers.Add()([shared(x), shared(inner(x))]), x])
    head_input = k.Input((9, 8, 6))
    head = k.Model(head_input, layers.GlobalAveragePooling2D()(layers.Conv2D(5, 2)(head_input)), name="head")
    return k.Model(inputs, layers.Dense(4, activation="softmax")(head(x)), name="graph")


OPTIMIZERS = {
    "sgd": lambda k: k.optimizers.SGD(0.05),
    "momentum": lambda k: k.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda k: k.optimizers.RMSprop(0.002, momentum=0.5, centered=True),
    "adam": lambda k: k.optimizers.Adam(0.002, epsilon=1e-3, clipnorm=1.0),
    "amsgrad": lambda k: k.optimizers.Adam(0.002, epsilon=1e-3, amsgrad=True),
    "adamw": lambda k: k.optimizers.AdamW(0.002, epsilon=1e-3),
    "adagrad": lambda k: k.optimizers.Adagrad(0.05),
    "adadelta": lambda k: k.optimizers.Adadelta(0.5),
    "adamax": lambda k: k.optimizers.Adamax(0.002, epsilon=1e-3),
    "nadam": lambda k: k.optimizers.Nadam(0.002, epsilon=1e-3),
    "ftrl": lambda k: k.optimizers.Ftrl(0.02),
    "lion": lambda k: k.optimizers.Lion(1e-5),
    "averages": lambda k: k.optimizers.SGD(0.05, momentum=0.5, use_ema=True, ema_momentum=0.9),
    "accumulated": lambda k: k.optimizers.SGD(0.05, momentum=0.5, gradient_accumulation_steps=2),
    "schedule": lambda k: k.optimizers.SGD(k.optimizers.schedules.ExponentialDecay(0.05, 2, 0.5), momentum=0.5),
}

STEPS = {"accumulated": 1}  # of three batches, with two to a step


def data():
    random = np.random.default_rng(0)
    return random.normal(size=(12, 9, 8, 2)).astype("float32"), np.arange(12) % 4


def train(model, epochs=1):
    model.fit(*data(), batch_size=4, epochs=epochs, shuffle=False, verbose=0)


def compiled(k, make, optimizer):
    k.utils.set_random_seed(1)
    model = make(k)
    model.compile(OPTIMIZERS[optimizer](k), "sparse_categorical_crossentropy", metrics=["accuracy"])
    train(model)
    return model


def assert_same_predictions(one, other):
    x, _ = data()
    np.testing.assert_allclose(one.predict(x, verbose=0), other.predict(x, verbose=0), atol=1e-5)


def assert_same_after_training(one, other):
    train(one, 2)
    train(other, 2)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, np.asarray(b), atol=1e-4)


CASES = [*((chain, optimizer) for optimizer in OPTIMIZERS), (graph, "momentum"), (graph, "adam")]


@pytest.mark.parametrize(("make", "optimizer"), CASES)
def test_ours_in_keras(tmp_path, make, optimizer):
    keras = peers.keras()
    ours = compiled(fastconv, make, optimizer)
    ours.save(tmp_path / "ours.keras")
    theirs = keras.saving.load_model(tmp_path / "ours.keras")
    assert int(theirs.optimizer.iterations) == ours.optimizer.iterations == STEPS.get(optimizer, 3)
    assert_same_predictions(ours, theirs)
    assert_same_after_training(ours, theirs)


@pytest.mark.parametrize(("make", "optimizer"), CASES)
def test_keras_in_ours(tmp_path, make, optimizer):
    keras = peers.keras()
    theirs = compiled(keras, make, optimizer)
    theirs.save(tmp_path / "theirs.keras")
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    ours = fastconv.saving.load_model(tmp_path / "theirs.keras")
    assert ours.optimizer.iterations == STEPS.get(optimizer, 3)
    assert_same_predictions(ours, theirs)
    again = fastconv.saving.load_model(tmp_path / "theirs.keras")
    train(again)
    again.load_weights(tmp_path / "theirs.weights.h5")
    for a, b in zip(again.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.optimizer.iterations == STEPS.get(optimizer, 3)
    if optimizer != "averages":  # after whose first fit() Keras 3.15.1 cannot train on, with JAX
        assert_same_after_training(ours, theirs)


@pytest.mark.parametrize("make", [chain, graph])
def test_older_files_both_ways(tmp_path, make):
    """Keras 3.15.1 itself does not train on with the optimizer that it takes from such a file; we do."""
    keras = peers.keras()
    ours = compiled(fastconv, make, "momentum")
    ours.save(tmp_path / "ours.h5")
    theirs = keras.saving.load_model(tmp_path / "ours.h5")
    assert_same_predictions(ours, theirs)
    ours.save_weights(tmp_path / "weights.h5")
    theirs.set_weights([np.zeros_like(weight) for weight in theirs.get_weights()])
    theirs.load_weights(tmp_path / "weights.h5")
    assert_same_predictions(ours, theirs)

    theirs = compiled(keras, make, "momentum")
    theirs.save(tmp_path / "theirs.h5")
    ours = fastconv.saving.load_model(tmp_path / "theirs.h5")
    assert ours.optimizer.iterations == 3
    assert_same_predictions(ours, theirs)
    assert_same_after_training(ours, theirs)


@pytest.mark.parametrize(
    ("file", "dataset", "scale"),
    [("mnist_cnn_purinat33_MIT.h5", "mnist", 1), ("fashion_mnist_cnn_anuraghalee_MIT.h5", "fashion_mnist", 255)],
)
def test_models_from_elsewhere(file, dataset, scale):
    path = os.path.join(os.environ.get("FASTCONV_DATA", ""), "pretrained", file)
    if not os.path.exists(path):
        pytest.skip(f"pretrained/{file} is not in the folder that the variable FASTCONV_DATA names")
    keras = peers.keras()
    x = getattr(fastconv.datasets, dataset).load_data()[1][0][:1000, ..., np.newaxis] / np.float32(scale)
    theirs = keras.saving.load_model(path, compile=False)
    ours = fastconv.saving.load_model(path)
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), atol=1e-5)


class Saved(list):
    """Notes what a checkpoint saves in place of saving it."""

    def save(self, path, overwrite=True):
        self.append(os.path.basename(path))


@pytest.mark.parametrize(
    "options",
    [
        {"filepath": "{epoch:02d}-{loss:.1f}.keras"},
        {"filepath": "{epoch}-{batch:03d}.keras", "save_freq": 2},
        {"filepath": "{epoch}.h5", "monitor": "loss", "save_best_only": True, "mode": "min"},
        {"filepath": "{epoch}.keras", "monitor": "val_accuracy", "save_best_only": True, "mode": "max"},
        {"filepath": "{epoch}.keras", "monitor": "loss", "save_best_only": True, "initial_value_threshold": 0.9},
        {"filepath": "{epoch}.weights.h5", "save_weights_only": True, "save_freq": 5},
        {"filepath": "{epoch}-{batch}.keras", "monitor": "loss", "save_best_only": True, "save_freq": 2, "mode": "min"},
    ],
)
def test_checkpoints_are_saved_when_keras_saves_them(options):
    """Both callbacks are told of the same training."""
    losses, accuracies = [1.0, 0.8, 0.85, 0.8, 0.7], [0.1, 0.5, 0.4, 0.6, 0.6]
    found = []
    for k in (fastconv, peers.keras()):
        callback, saved = k.callbacks.ModelCheckpoint(**options), Saved()
        model = _Model(saved)
        callback.set_model(model)
        callback.on_train_begin()
        for epoch, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True)):
            callback.on_epoch_begin(epoch)
            for batch in range(3):
                callback.on_train_batch_end(batch, {"loss": loss - 0.01 * batch, "accuracy": accuracy})
            callback.on_epoch_end(epoch, {"loss": loss, "accuracy": accuracy, "val_accuracy": accuracy})
        found.append(list(saved))
    assert found[0] == found[1]
    assert found[0]


class _Model:
    """As much of a model as a checkpoint looks at."""

    metrics_names = ("loss",)

    def __init__(self, saved):
        self.save = self.save_weights = saved.save
        self.metrics = [fastconv.metrics.Mean("loss")]
