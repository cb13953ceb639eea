"""A first convolution and the max pooling behind it as one call: where, and with what results."""

import numpy as np
import pytest

import fastconv as keras
from fastconv import layers
from fastconv.buffers import ReusedBuffers
from fastconv.models.fusing import ConvPool
from fastconv.ops.dispatch import observed

SHAPE = (9, 12, 2)


def model_of(*parts, shape=SHAPE):
    made = keras.Sequential([layers.Input(shape), *parts, layers.Flatten(), layers.Dense(3)])
    made.compile(keras.optimizers.SGD(0.1), "mse")
    return made


def conv(filters=5, window=3, **options):
    return layers.Conv2D(filters, window, **{"activation": "relu", **options})


def calls_of(calls):
    return [layer for _, layer, _, _ in calls if isinstance(layer, ConvPool)]


FUSED = {
    "relu": [conv(), layers.MaxPooling2D()],
    "linear": [conv(activation=None), layers.MaxPooling2D()],
    "no_bias": [conv(use_bias=False), layers.MaxPooling2D()],
    "same": [conv(padding="same", strides=(1, 2)), layers.MaxPooling2D()],
    "frozen_after": [conv(), layers.MaxPooling2D(), conv(4, trainable=False)],
    "regularized": [conv(kernel_regularizer="l2"), layers.MaxPooling2D()],
    "channels_first": [
        conv(data_format="channels_first"),
        layers.MaxPooling2D(data_format="channels_first"),
    ],
}


def observed_ops(run):
    """The ops whose kernels `run` calls."""
    found = []

    def note(kernel, problem, call):
        found.append(kernel.op)
        call()

    with observed(note):
        run()
    return found


def data(model, count=7):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((count, *model.input_shape[1:])).astype("float32")
    return x, rng.standard_normal((count, 3)).astype("float32")


@pytest.mark.parametrize("name", FUSED)
def test_a_step_gives_the_gradients_of_the_layers_one_by_one(name):
    shape = (2, 9, 12) if name == "channels_first" else SHAPE
    model = model_of(*(type(part).from_config(part.get_config()) for part in FUSED[name]), shape=shape)
    x, _ = data(model)
    plan, forward, buffers = model.backward_plan, model.forward_plan, ReusedBuffers()
    assert len(calls_of(plan.fused.calls)) == 1 and not calls_of(plan.calls)

    gradients, outputs = [], []
    for this in (plan, plan.fused):
        (y,) = forward.run([x], True, buffers, this.calls)
        outputs.append(y.copy())
        this.run([np.random.default_rng(0).standard_normal(y.shape).astype("float32")], buffers)
        gradients.append([variable.gradient.copy() for variable in plan.variables])
    np.testing.assert_allclose(*outputs, rtol=1e-5, atol=1e-6)
    for apart, together in zip(*gradients, strict=True):
        assert np.abs(apart).max() > 0
        np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-5 * np.abs(apart).max())


def test_training_and_predict_use_it():
    model = model_of(conv(), layers.MaxPooling2D())
    x, y = data(model)
    ops = observed_ops(lambda: model.train_on_batch(x, y))
    assert [op for op in ops if "pool" in op] == ["conv2d_max_pool2d", "conv2d_max_pool2d_backward_filter"]
    for predict in (model.predict_on_batch, lambda x: model.predict(x, verbose=0)):
        assert [op for op in observed_ops(lambda: predict(x)) if "pool" in op] == ["conv2d_max_pool2d"]  # noqa: B023
    np.testing.assert_allclose(model.predict(x, verbose=0), model(x), rtol=1e-5, atol=1e-6)
    assert [op for op in observed_ops(lambda: model(x)) if "pool" in op] == ["max_pool2d"]


@pytest.mark.parametrize(
    "parts",
    [
        [conv(), layers.MaxPooling2D(3, 2)],
        [conv(), layers.AveragePooling2D()],
        [conv(activation="elu"), layers.MaxPooling2D()],
        [conv(activity_regularizer="l2"), layers.MaxPooling2D()],
        [conv(algorithm="cpu_direct"), layers.MaxPooling2D()],
        [conv(), layers.MaxPooling2D(algorithm="cpu_naive")],
        [layers.DepthwiseConv2D(3), layers.MaxPooling2D()],
        [conv(), layers.Dropout(0.5), layers.MaxPooling2D()],
    ],
)
def test_what_is_not_fused(parts):
    model = model_of(*parts)
    assert not calls_of(model.forward_plan.fused_calls) and not calls_of(model.backward_plan.fused.calls)


@pytest.mark.parametrize(
    "parts", [[conv(), layers.MaxPooling2D((3, 2))], [conv(groups=2, filters=4), layers.MaxPooling2D()]]
)
def test_without_a_kernel_the_layers_run_one_by_one(parts):
    model, apart = model_of(*parts), model_of(*(type(part).from_config(part.get_config()) for part in parts))
    apart.set_weights(model.get_weights())
    x, y = data(model)
    assert "max_pool2d" in observed_ops(lambda: model.train_on_batch(x, y))
    plan = apart.backward_plan
    (predicted,) = apart.forward_plan.run([x], True, ReusedBuffers(), plan.calls)
    plan.run([2 * (predicted - y) / y.size], ReusedBuffers())
    apart.optimizer.apply([variable.gradient for variable in plan.variables], plan.variables)
    for ours, expected in zip(model.get_weights(), apart.get_weights(), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_a_second_convolution_is_fused_in_inference_only():
    model = model_of(conv(), conv(4), layers.MaxPooling2D())
    assert len(calls_of(model.forward_plan.fused_calls)) == 1
    assert not calls_of(model.backward_plan.fused.calls)


def test_a_convolution_that_another_layer_sees_is_not_fused():
    given = layers.Input(SHAPE)
    seen = conv()(given)
    model = keras.Model(given, [layers.MaxPooling2D()(seen), layers.Flatten()(seen)])
    assert not calls_of(model.forward_plan.fused_calls)


def test_a_frozen_convolution_is_not_fused_in_training():
    model = model_of(conv(trainable=False), layers.MaxPooling2D())
    assert not calls_of(model.backward_plan.fused.calls)


def test_backward_by_hand_goes_through_every_layer():
    model = model_of(conv(), layers.MaxPooling2D())
    x, _ = data(model)
    y = model.forward(x, True)
    gx = model.backward(np.ones_like(y))
    assert gx.shape == x.shape and np.abs(gx).max() > 0


def test_a_profile_shows_it():
    model = model_of(conv(), layers.MaxPooling2D())
    text = []
    model.profile(data(model)[0], seconds=0.01, print_fn=text.append)
    assert "conv2d_max_pool2d_backward_filter" in text[0] and f"{model.layers[0].name} + " in text[0]


def test_without_samples():
    model = model_of(conv(), layers.MaxPooling2D())
    plan, buffers = model.backward_plan.fused, ReusedBuffers()
    (y,) = model.forward_plan.run([np.zeros((0, *SHAPE), "float32")], True, buffers, plan.calls)
    plan.run([y], buffers)
    assert y.shape == (0, 3) and not any(variable.gradient.any() for variable in plan.variables)
