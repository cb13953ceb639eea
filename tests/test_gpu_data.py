"""Data in a GPU's memory as `fit`, `evaluate` and `predict` take them: never over the host."""

import sys
from contextlib import nullcontext

import numpy as np
import pytest
from gpu_arrays import GpuArray, Tensor, stand_in
from lab import lab

import fastconv as keras
from fastconv import device, layers

X = np.random.default_rng(0).normal(size=(7, 4, 3, 2)).astype("float32")
Y = np.random.default_rng(1).integers(0, 2, 7)


class Data(GpuArray):
    """One that the simulated device's memory can be filled from."""

    def __array__(self, dtype=None, copy=None):
        assert Data.may_be_read, "the host reads what is on the device"
        return self.host


@pytest.fixture(autouse=True)
def cupy(monkeypatch):
    module = stand_in()
    module.from_dlpack = lambda array: Data(array.host)
    module.ascontiguousarray = lambda array, dtype: Data(np.ascontiguousarray(array.host, dtype))
    module.ndarray = Data
    monkeypatch.setitem(sys.modules, "cupy", module)
    Data.may_be_read = False
    from fastconv.gpu.memory import Memory

    fill = Memory.fill

    def watched(memory, array, given):
        Data.may_be_read = True
        fill(memory, array, given)
        Data.may_be_read = False

    monkeypatch.setattr(Memory, "fill", watched)


def a_model(first=None):
    keras.utils.set_random_seed(1)
    of = {"data_format": first or "channels_last"}
    shape = (4, 3, 2) if first is None else (2, 4, 3)
    model = keras.Sequential(
        [layers.Input(shape), layers.Conv2D(3, 2, **of), layers.Flatten(**of), layers.Dense(2, activation="softmax")]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def results(model, x, y):
    """What comes of training with shuffled batches, the last of which is smaller, and all else."""
    with lab(), device("gpu"):
        losses = model.fit(x, y, batch_size=3, epochs=1, verbose=0, validation_split=0.3).history
        scores = model.evaluate(x, y, batch_size=4, verbose=0)
        outputs = model.predict(x, verbose=0), model.predict_on_batch(x)
        batch = model.train_on_batch(x, y)
        stream = model.fit(iter([(x, y), (x, y)]), verbose=0).history["loss"]
    return [*losses.values(), scores, *outputs, batch, stream, *model.get_weights()]


def test_results_are_those_of_data_on_the_host():
    expected = results(a_model(), X, Y)
    for one, other in zip(results(a_model(), Data(X), Tensor(Y)), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_images_of_channels_first():
    x = np.ascontiguousarray(X.transpose(0, 3, 1, 2))
    with lab(), device("gpu"):
        found = a_model("channels_first").predict(Tensor(x), verbose=0)
        np.testing.assert_array_equal(found, a_model("channels_first").predict(x, verbose=0))


def test_several_inputs_some_of_them_on_the_host():
    found = []
    numbers = X[:, 0, 0]
    for images, others in ((X, numbers), (Data(X), numbers), (Tensor(X), Data(numbers))):
        keras.utils.set_random_seed(1)
        first, second = layers.Input((4, 3, 2)), layers.Input((2,))
        x = layers.Concatenate()([layers.Flatten()(first), second])
        model = keras.Model([first, second], layers.Dense(2, activation="softmax")(x))
        model.compile("sgd", "sparse_categorical_crossentropy")
        with lab(), device("gpu"):
            losses = model.fit([images, others], Y, batch_size=4, verbose=0).history["loss"]
            found.append([losses, model.predict([images, others], verbose=0), *model.get_weights()])
        with device("cpu"), pytest.raises(TypeError, match="GPU's memory") if images is not X else nullcontext():
            model.predict([images, others], verbose=0)
    for others in found[1:]:
        for one, other in zip(others, found[0], strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_model_on_the_cpu_does_not_take_them_in_silence():
    with device("cpu"), pytest.raises(TypeError, match="x is in a GPU's memory, and the model runs on the CPU"):
        a_model().predict(Data(X), verbose=0)
