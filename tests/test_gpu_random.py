"""Noise, augmentation and resizing on the GPU: the CPU's choices, outputs, gradients and weights for a seed."""

import numpy as np
import pytest
from lab import lab

import fastconv as keras
from fastconv import device, layers, optimizers
from fastconv.gpu.network import recorded_class
from fastconv.gpu.recorded import Unsupported

X = np.random.default_rng(0).normal(size=(6, 5, 7, 2)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 6)


def a_model(build, of):
    """Convolution, the layers that `build` makes, Dense: a gradient goes through all of them."""
    keras.utils.set_random_seed(3)
    image = layers.Input(X.shape[1:] if of["data_format"] == "channels_last" else (2, 5, 7))
    x = layers.Conv2D(3, 1, activation="tanh", **of)(image)
    for layer in build(of):
        x = layer(x)
    model = keras.Model(image, layers.Dense(3, "softmax")(layers.Flatten()(x)))
    model.compile(optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
    return model


def trained(name, build, data_format):
    """What comes of two steps, an evaluation and predictions on a device."""
    model = a_model(build, {"data_format": data_format})
    x = X if data_format == "channels_last" else np.ascontiguousarray(X.transpose(0, 3, 1, 2))
    with lab(), device(name):
        losses = [model.train_on_batch(x, Y) for _ in range(2)]
        losses.append(model.evaluate(x[:3], Y[:3], verbose=0))
        return [np.array(losses), model.predict(x[:3], verbose=0), *model.get_weights()]


def noise(of):
    yield layers.GaussianNoise(0.5, seed=2)
    yield layers.GaussianDropout(0.4, seed=3)
    yield layers.GaussianNoise(0.0)
    yield layers.ActivityRegularization(0.1, 0.2)
    yield layers.AlphaDropout(0.3, noise_shape=(None, 1, 1, None), seed=4)
    yield layers.Reshape((35, 3))
    yield layers.SpatialDropout1D(0.4, seed=5)
    yield layers.AlphaDropout(0.3, seed=6)


def warps(of):
    yield layers.RandomFlip("horizontal", seed=1, **of)
    yield layers.RandomTranslation((-0.7, 0.9), 0.6, "wrap", "nearest", seed=2, **of)
    yield layers.RandomFlip("vertical", seed=3, **of)
    yield layers.RandomRotation(0.3, "constant", seed=4, fill_value=0.5, **of)
    yield layers.RandomZoom(0.8, (-0.2, 0.9), seed=5, **of)


def tones_and_sizes(of):
    yield layers.RandomContrast((0.7, 0.5), (-0.7, 0.5), seed=4, **of)
    yield layers.RandomBrightness(0.3, (-0.6, 0.6), seed=5, **of)
    yield layers.RandomCrop(3, 4, seed=4, **of)
    yield layers.Resizing(5, 3, pad_to_aspect_ratio=True, fill_value=0.3, **of)
    yield layers.RandomCrop(3, 3, seed=4, **of)
    yield layers.Resizing(3, 4, "bicubic", antialias=True, **of)
    yield layers.CenterCrop(2, 3, **of)


@pytest.mark.parametrize(
    "build, data_format",
    [
        (noise, "channels_last"),
        (warps, "channels_last"),
        (tones_and_sizes, "channels_last"),
        (tones_and_sizes, "channels_first"),
    ],
)
def test_steps_give_the_cpus_weights(build, data_format):
    cpu, gpu = (trained(name, build, data_format) for name in ("cpu", "gpu"))
    for one, other in zip(cpu, gpu, strict=True):
        np.testing.assert_allclose(one, other, rtol=5e-5, atol=5e-6)


def small(*middle, optimizer=None):
    """A model in whose middle something draws or has options."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential([layers.Input((2, 3, 2)), *middle, layers.Flatten(), layers.Dense(3, "softmax")])
    model.compile(optimizer or optimizers.SGD(0.1, momentum=0.5), "sparse_categorical_crossentropy")
    return model


FEW, LABELS = X[:4, :2, :3], Y[:4]


def test_each_step_draws_anew_and_the_same_for_a_seed_without_another_program():
    def outcome():
        model = small(layers.GaussianNoise(0.5, seed=1), layers.RandomRotation(0.2, seed=2))
        with lab(), device("gpu"):
            losses = [model.train_on_batch(FEW, LABELS)]
            (step,) = model._runner._steps.values()
            before = model._runner.memory.allocated_bytes, step._program.launches
            for _ in range(2):
                model.optimizer.learning_rate = 0.0  # a number that is read anew
                losses.append(model.train_on_batch(FEW, LABELS))
            assert list(model._runner._steps.values()) == [step]
            assert (model._runner.memory.allocated_bytes, step._program.launches) == before
        return losses, model.get_weights()

    (losses, weights), again = outcome(), outcome()
    assert len(set(losses)) == 3
    assert losses == again[0]
    for one, other in zip(weights, again[1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_gradient_that_nobody_needs_is_not_computed():
    with lab() as launches, device("gpu"):
        small(layers.RandomZoom(0.3)).train_on_batch(FEW, LABELS)
    names = {launch.kernel.name for launch in launches}
    assert "_affine" in names and "_affine_backward" not in names


def test_a_subclass_that_changes_images_its_own_way_is_refused():
    class Mine(layers.RandomFlip):
        def change(self, images, draw, buffers):
            return images, ()

    with pytest.raises(Unsupported, match=r"\(Mine\) has no kernels for a GPU"):
        recorded_class(Mine())


def test_images_that_are_too_large_for_the_maps_are_for_the_cpu():
    model = keras.Sequential([layers.Input((4097, 1, 1)), layers.RandomFlip(), layers.GlobalAveragePooling2D()])
    model.compile("sgd", "mse")
    x, y = np.zeros((1, 4097, 1, 1), "float32"), np.zeros((1, 1), "float32")
    with lab(), device("gpu"), pytest.raises(Unsupported, match='"random_flip.*at most 4096 pixels a side'):
        model.train_on_batch(x, y)
    with lab(), device("auto"):
        assert model.train_on_batch(x, y) == 0


# Options that are changed between steps.


def set_to(**values):
    def change(model):
        for name, value in values.items():
            setattr(model.layers[0], name, value)

    return change


def penalise(model):
    model.layers[-1].kernel.regularizer = keras.regularizers.L2(0.1)


def change_optimizer(model):
    model.optimizer.momentum, model.optimizer.clipvalue, model.optimizer.weight_decay = 0.8, 0.01, 0.3


CHANGES = {
    "rate": (lambda: layers.Dropout(0.0, seed=1), set_to(rate=0.6)),
    "no rate": (lambda: layers.Dropout(0.6, seed=1), set_to(rate=0.0)),
    "stddev": (lambda: layers.GaussianNoise(0.1, seed=1), set_to(stddev=0.9)),
    "momentum of means": (lambda: layers.BatchNormalization(), set_to(momentum=0.2)),
    "frozen means": (lambda: layers.BatchNormalization(), set_to(trainable=False)),
    "factor": (lambda: layers.RandomBrightness(0.1, (-1, 1), seed=1), set_to(factor=(0.5, 0.6))),
    "penalty": (lambda: layers.Identity(), penalise),
    "frozen without compile": (lambda: layers.Dense(2, kernel_regularizer="l2"), set_to(trainable=False)),
    "optimizer": (lambda: layers.Identity(), change_optimizer),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_option_counts_from_the_next_step_on(name):
    build, change = CHANGES[name]
    results = []
    for where, changes in (("cpu", True), ("gpu", True), ("cpu", False)):
        model, losses = small(build()), []
        with lab(), device(where):
            for step in range(3):
                if changes and step == 1:
                    change(model)
                losses.append(model.train_on_batch(FEW, LABELS))
        results.append([losses, *model.get_weights()])
    for cpu, gpu in zip(*results[:2], strict=True):
        np.testing.assert_allclose(gpu, cpu, rtol=2e-5, atol=2e-6)
    assert any(not np.allclose(one, other, rtol=1e-3) for one, other in zip(results[0], results[2], strict=True))


def test_a_program_is_made_anew_for_changed_options_only():
    model = small(layers.Dropout(0.5))
    with lab(), device("gpu"):
        model.train_on_batch(FEW, LABELS)
        model.predict(FEW, verbose=0)
        steps = model._runner._steps
        train, predict = steps.values()
        model.train_on_batch(FEW, LABELS)
        assert set(steps.values()) == {train, predict}
        model.optimizer.nesterov = True
        model.predict(FEW, verbose=0)
        model.train_on_batch(FEW, LABELS)
        assert train not in steps.values() and predict in steps.values()
        keras.config.set_epsilon(1e-5)
        try:
            model.predict(FEW, verbose=0)
        finally:
            keras.config.set_epsilon(1e-7)
        assert predict not in steps.values()
        model.layers[0].activation = keras.activations.get("relu6")  # what the layer has not, harms nothing
        before = model.get_weights()
        model.layers[-1].activation = type("Mine", (keras.activations.Sigmoid,), {})()
        with pytest.raises(Unsupported, match="the activation .* is for the CPU"):
            model.train_on_batch(FEW, LABELS)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
