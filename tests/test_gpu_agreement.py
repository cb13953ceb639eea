"""A training as people run it, on the CPU and through the GPU's path: step for step the same within float32's rounding.

Batches of two sizes, validation, a schedule and callbacks that change the rate, weights that are set in between, and a
model that is saved on one device and goes on on the other. 20 steps; with FASTCONV_TEST_EVERYTHING=1 100 of them.
"""

import os

import numpy as np
import pytest
from lab import lab

import fastconv as keras
from fastconv import device, layers, optimizers

EPOCHS = 50 if os.environ.get("FASTCONV_TEST_EVERYTHING") else 10  # of two steps
X = np.random.default_rng(0).normal(size=(6, 4, 3, 1)).astype("float32")
Y = np.random.default_rng(1).integers(0, 2, 6)


def a_model(optimizer):
    keras.utils.set_random_seed(4)
    model = keras.Sequential(
        [
            layers.Input((4, 3, 1)),
            layers.Conv2D(2, 2, activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(name, folder):
    """Everything that was seen on the way, as arrays."""
    seen = []

    def look(batch, logs):
        seen.append([logs["loss"], logs["accuracy"]])

    def change(epoch, logs):
        if epoch == 1:
            model.layers[0].kernel.assign(model.layers[0].kernel.numpy() * 0.9)
        elif epoch == 2:
            model.set_weights([weight + 0.01 for weight in model.get_weights()])
        seen.append(model.predict(X[:2], verbose=0))

    with lab(), device(name):
        model = a_model(optimizers.Adam(0.01))
        halves = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9)
        changes = keras.callbacks.LambdaCallback(on_train_batch_end=look, on_epoch_end=change)
        fit = {"batch_size": 4, "verbose": 0, "callbacks": [halves, changes], "validation_data": (X[1:4], Y[1:4])}
        history = model.fit(X, Y, epochs=EPOCHS, **fit).history
        seen += [np.array(values) for values in history.values()]
        model.save(folder / f"{name}.keras")
    return seen + model.get_weights() + [variable.numpy() for variable in model.optimizer.variables]


def close(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: train(name, folder) for name in ("cpu", "gpu")} | {"folder": folder}


def test_each_step_agrees(runs):
    close(runs["gpu"], runs["cpu"])
    kernels = [values for values in runs["cpu"] if np.shape(values) == (2, 2, 1, 2)]
    assert np.abs(kernels[0]).max() > 0 and len(kernels) >= 3, "there are weights and slots to compare"


def test_a_training_saved_on_one_device_goes_on_on_the_other(runs):
    """Each saved file, trained for two more steps on each device: with a schedule's state and Adam's."""
    results = []
    for saved in ("cpu", "gpu"):
        for name in ("cpu", "gpu"):
            keras.utils.set_random_seed(5)  # of the masks from here on
            model = keras.models.load_model(runs["folder"] / f"{saved}.keras")
            with lab(), device(name):
                model.fit(X[:4], Y[:4], batch_size=2, verbose=0, shuffle=False)
            assert model.optimizer.iterations == 2 * EPOCHS + 2
            results.append([*model.get_weights(), *(variable.numpy() for variable in model.optimizer.variables)])
    for found in results[1:]:
        close(found, results[0])


def test_a_schedule_gives_each_step_its_rate():
    results = []
    for name in ("cpu", "gpu", "gpu"):
        model = a_model(optimizers.SGD(optimizers.schedules.ExponentialDecay(0.5, 1, 0.1), momentum=0.5))
        with lab(), device(name):
            rates = []
            for _ in range(3):
                model.train_on_batch(X[:4], Y[:4])
                rates.append(model.optimizer.learning_rate)
        np.testing.assert_allclose(rates, [0.05, 0.005, 0.0005])
        results.append(model.get_weights())
    close(results[1], results[0])
    for one, other in zip(results[1], results[2], strict=True):
        np.testing.assert_array_equal(one, other, "same seed, same bits")
