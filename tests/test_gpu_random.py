"""Noise, augmentation and resizing on the GPU: the CPU's choices, outputs, gradients and weights for a seed."""

import numpy as np
import pytest
from lab import lab

import fastconv as keras
from fastconv import device, layers, optimizers
from fastconv.gpu.network import recorded_class
from fastconv.gpu.recorded import Unsupported

LAST = {"data_format": "channels_last"}
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


def trained(name, build, data_format, between=lambda model, step: None):
    """What comes of two steps, an evaluation and predictions on a device."""
    model = a_model(build, {"data_format": data_format})
    x = X if data_format == "channels_last" else np.ascontiguousarray(X.transpose(0, 3, 1, 2))
    with lab(), device(name):
        losses = []
        for step in range(2):
            between(model, step)
            losses.append(model.train_on_batch(x, Y))
        losses.append(model.evaluate(x[:3], Y[:3], verbose=0))
        return [np.array(losses), model.predict(x[:3], verbose=0), *model.get_weights()]


def same_on_both(*args, **options):
    cpu, gpu = (trained(name, *args, **options) for name in ("cpu", "gpu"))
    for one, other in zip(cpu, gpu, strict=True):
        np.testing.assert_allclose(one, other, rtol=5e-5, atol=5e-6)


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
    same_on_both(build, data_format)


def test_each_step_draws_anew_and_the_same_for_a_seed_without_another_program():
    def outcome():
        model = a_model(lambda of: [layers.GaussianNoise(0.5), layers.RandomRotation(0.2)], LAST)
        with lab(), device("gpu"):
            losses = [model.train_on_batch(X, Y)]
            (step,) = model._runner._steps.values()
            before = model._runner.memory.allocated_bytes, step._program.launches
            for _ in range(2):
                model.optimizer.learning_rate = 0.0  # a number that is read anew
                losses.append(model.train_on_batch(X, Y))
            assert list(model._runner._steps.values()) == [step]
            assert (model._runner.memory.allocated_bytes, step._program.launches) == before
        return losses, model.get_weights()

    (losses, weights), again = outcome(), outcome()
    assert losses[1] != losses[2], "the weights stay, what is drawn does not"
    assert losses == again[0]
    for one, other in zip(weights, again[1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_gradient_that_nobody_needs_is_not_computed():
    model = keras.Sequential([layers.Input((5, 7, 2)), layers.RandomZoom(0.3), layers.Flatten(), layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with lab() as launches, device("gpu"):
        model.train_on_batch(X, Y)
    names = {launch.kernel.name for launch in launches}
    assert "_affine" in names and "_affine_backward" not in names


def test_a_subclass_that_changes_images_its_own_way_is_refused():
    class Mine(layers.RandomFlip):
        def change(self, images, draw, buffers):
            return images, ()

    with pytest.raises(Unsupported, match=r"\(Mine\) has no kernels for a GPU"):
        recorded_class(Mine())


# Options that are changed between steps.


def set_to(**values):
    """Change attributes of the layer in the middle after the first step."""

    def between(model, step):
        if step:
            for name, value in values.items():
                setattr(model.layers[2], name, value)

    return between


def change_penalty(model, step):
    model.layers[1].kernel.regularizer = keras.regularizers.L2(0.1) if step else None


def change_optimizer(model, step):
    model.optimizer.momentum = 0.5 + 0.3 * step
    model.optimizer.clipvalue = 0.001 if step else None


CHANGES = {
    "rate": (lambda of: [layers.Dropout(0.0, seed=1)], set_to(rate=0.6)),
    "no rate": (lambda of: [layers.Dropout(0.6, seed=1)], set_to(rate=0.0)),
    "stddev": (lambda of: [layers.GaussianNoise(0.1, seed=1)], set_to(stddev=0.9)),
    "momentum of means": (lambda of: [layers.BatchNormalization()], set_to(momentum=0.2)),
    "frozen means": (lambda of: [layers.BatchNormalization()], set_to(trainable=False)),
    "factor": (lambda of: [layers.RandomBrightness(0.1, (-1, 1), seed=1)], set_to(factor=(0.5, 0.6))),
    "penalty": (lambda of: [], change_penalty),
    "optimizer": (lambda of: [], change_optimizer),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_option_counts_from_the_next_step_on(name):
    build, change = CHANGES[name]
    same_on_both(build, "channels_last", between=change)
    unchanged, changed = (trained("cpu", build, "channels_last", *given) for given in ((), (change,)))
    assert any(not np.array_equal(one, other) for one, other in zip(unchanged, changed, strict=True))


def test_a_program_is_made_anew_for_changed_options_only():
    model = a_model(lambda of: [layers.Dropout(0.5)], LAST)
    with lab(), device("gpu"):
        model.train_on_batch(X, Y)
        model.predict(X, verbose=0)
        train, predict = model._runner._steps.values()
        model.loss, model._objective.loss.reduction  # noqa: B018  what is only looked at changes nothing
        model.train_on_batch(X, Y)
        assert set(model._runner._steps.values()) == {train, predict}
        model.optimizer.nesterov = True
        model.predict(X, verbose=0)
        model.train_on_batch(X, Y)
        assert train not in model._runner._steps.values() and predict in model._runner._steps.values()
        keras.config.set_epsilon(1e-5)
        try:
            model.predict(X, verbose=0)
        finally:
            keras.config.set_epsilon(1e-7)
        assert predict not in model._runner._steps.values()
