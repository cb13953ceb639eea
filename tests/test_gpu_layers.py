"""Layers of all kinds, and graphs of them, on the GPU: the CPU's outputs, gradients and weights."""

import numpy as np
import pytest
from lab import lab

import fastconv as keras
from fastconv import activations, device, layers, optimizers

X = np.random.default_rng(0).normal(size=(5, 4, 6, 3)).astype("float32")
Y = np.random.default_rng(1).integers(0, 2, 5)


def same_on_both(build, x=X, steps=1, frozen=()):
    """Train the model whose last layers but a head `build` makes; compare all that comes of it."""
    results = []
    for name in ("cpu", "gpu"):
        keras.utils.set_random_seed(3)
        image = layers.Input(x.shape[1:])
        out = build(image)
        if len(out.shape) > 2:
            out = layers.Flatten()(out)
        model = keras.Model(image, layers.Dense(2, activation="softmax")(out))
        for layer in model.layers:
            layer.trainable = layer.name not in frozen
        model.compile(optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
        with lab(), device(name):
            losses = [model.train_on_batch(x, Y)]
            memory = model._runner and model._runner.memory.allocated_bytes
            losses += [model.train_on_batch(x, Y) for _ in range(steps - 1)]
            assert (model._runner and model._runner.memory.allocated_bytes) == memory, "a step allocates nothing"
            losses.append(model.evaluate(x[:3], Y[:3], verbose=0))
            results.append([losses, model.predict(x[:3], verbose=0), *model.get_weights()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=5e-5, atol=5e-6)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_layers_for_images_one_behind_another(data_format):
    of = {"data_format": data_format}
    axis = -1 if data_format == "channels_last" else 1

    def build(x):
        x = layers.Rescaling(0.5, 0.1)(x)
        x = layers.ZeroPadding2D(((1, 0), (2, 1)), **of)(x)
        x = layers.Conv2D(3, 2, activation="relu", **of)(x)
        x = layers.BatchNormalization(axis=axis, momentum=0.8, gamma_regularizer="l2", beta_constraint="non_neg")(x)
        x = layers.UpSampling2D((2, 1), **of)(x)
        x = layers.Cropping2D(((1, 2), (0, 1)), **of)(x)
        x = layers.DepthwiseConv2D(2, depth_multiplier=2, activation="relu", **of)(x)
        return layers.GlobalAveragePooling2D(**of)(x)

    x = X if data_format == "channels_last" else np.ascontiguousarray(X.transpose(0, 3, 1, 2))
    same_on_both(build, x, steps=2 if data_format == "channels_last" else 1)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_samples_normalized_by_themselves(data_format):
    axis = -1 if data_format == "channels_last" else 1

    def build(x):
        x = layers.Conv2D(4, 2, data_format=data_format)(x)
        x = layers.GroupNormalization(2, axis, gamma_regularizer="l2", beta_constraint="non_neg")(x)
        x = layers.LayerNormalization(axis, gamma_regularizer="l1")(x)
        x = layers.LayerNormalization([1, 2, 3], center=False, gamma_initializer="glorot_uniform")(x)
        x = layers.GroupNormalization(-1, axis, scale=False)(layers.UnitNormalization(axis)(x))
        return layers.GroupNormalization(1, axis, center=False, scale=False, name="still")(x)

    x = X if data_format == "channels_last" else np.ascontiguousarray(X.transpose(0, 3, 1, 2))
    same_on_both(build, x, steps=3 if data_format == "channels_last" else 1, frozen=("still",))


def test_normalization_along_axes_that_lie_apart():
    def build(x):
        x = layers.LayerNormalization([-1, 1], beta_initializer="glorot_uniform")(layers.Reshape((4, 3, 3, 2))(x))
        x = layers.LayerNormalization([1, 3])(x)  # too mixed to be walked through: a copy
        x = layers.GroupNormalization(3, axis=2)(x)
        x = layers.UnitNormalization([1, 3])(x)
        x = layers.Conv2D(2, 1, data_format="channels_first")(layers.Reshape((6, 3, 4))(x))
        return layers.UnitNormalization([1, 2])(layers.LayerNormalization(2)(x))

    same_on_both(build)


def test_slopes_that_are_learnt():
    def build(x):
        x = layers.PReLU("glorot_uniform", alpha_regularizer="l2", shared_axes=[1, 2])(layers.Conv2D(3, 2)(x))
        x = layers.PReLU(alpha_constraint="non_neg")(x)
        x = layers.PReLU("glorot_uniform", shared_axes=[2])(x)
        x = layers.Conv2D(2, 1, data_format="channels_first")(x)
        return layers.PReLU("he_normal", shared_axes=[2, 3], name="still")(x)

    same_on_both(build, steps=2, frozen=("still",))


def test_separable_convolutions():
    def build(x):
        x = layers.Conv2D(2, 1, activation="relu")(x)
        x = layers.SeparableConv2D(
            4,
            (2, 3),
            depth_multiplier=2,
            activation="relu",
            depthwise_regularizer="l2",
            pointwise_regularizer="l1",
            activity_regularizer="l2",
        )(x)
        x = layers.SeparableConv2D(3, 2, padding="same", name="still")(x)
        return layers.SeparableConv1D(2, 3, strides=2, activation="tanh")(layers.Reshape((12, 3))(x))

    same_on_both(build, frozen=("still",))


def test_normalization_that_adapts_between_steps():
    results = []
    for name in ("cpu", "gpu"):
        keras.utils.set_random_seed(3)
        adapting = layers.Normalization(axis=(1, 3))
        given = layers.Normalization(axis=None, mean=0.5, variance=2.0, invert=True)
        model = keras.Sequential([layers.Input((4, 6, 3)), adapting, given, layers.Flatten(), layers.Dense(2)])
        model.compile("sgd", "mse")
        with lab(), device(name):
            model.train_on_batch(X, np.eye(2)[Y])
            adapting.adapt(X)
            results.append([model.train_on_batch(X, np.eye(2)[Y]), *model.get_weights()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_larger_images():
    def build(x):
        x = layers.UpSampling2D((2, 1))(layers.Conv2D(2, 3)(x))
        x = layers.UpSampling2D((1, 2), "channels_first", "bicubic")(x)
        x = layers.UpSampling2D((1, 3), "channels_first")(x)
        x = layers.AveragePooling2D((3, 5))(layers.UpSampling2D(2, interpolation="bilinear")(x))
        return layers.UpSampling1D(3)(layers.Reshape((2, -1))(x))

    same_on_both(build)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_activations_along_any_axes(data_format):
    def build(x):
        x = layers.Conv2D(4, 1, activation="softmax", data_format=data_format, activity_regularizer="l2")(x)
        x = layers.Softmax([1, 3])(x)
        x = layers.Conv2D(4, 1, activation=activations.Sparsemax(2), data_format=data_format)(x)
        x = layers.Activation(activations.LogSoftmax(1))(x)
        x = layers.Activation(activations.GLU(2))(layers.Activation(activations.GLU(1))(x))
        return layers.Softmax([1, 3])(layers.Reshape((2, -1, 3, 1))(x))

    x = X if data_format == "channels_last" else np.ascontiguousarray(X.transpose(0, 3, 2, 1))
    same_on_both(build, x)


def test_layers_for_features_and_a_frozen_normalization():
    def build(x):
        x = layers.Conv2D(4, 3)(x)
        x = layers.BatchNormalization(name="still", center=False)(x)
        x = layers.GlobalMaxPooling2D(keepdims=True)(x)
        x = layers.Reshape((2, -1))(x)
        x = layers.Permute((2, 1))(x)
        x = layers.Flatten()(x)
        x = layers.BatchNormalization(scale=False)(x)
        return layers.Identity()(layers.RepeatVector(3)(x))

    same_on_both(build, frozen=("still",))


def test_transposed_convolutions_and_spatial_dropout():
    def build(x):
        x = layers.Conv2D(3, 1, activation="relu")(x)
        x = layers.SpatialDropout2D(0.4, seed=1)(x)
        x = layers.Conv2DTranspose(2, (3, 2), strides=(2, 1), padding="same", activation="relu", bias_regularizer="l2")(
            x
        )
        return layers.Conv2DTranspose(1, 2, output_padding=None)(x)

    same_on_both(build)


def test_sequences():
    def build(x):
        x = layers.Reshape((8, -1))(x)
        x = layers.ZeroPadding1D(1)(x)
        x = layers.Conv1D(3, 2, strides=2, activation="relu")(x)
        x = layers.MaxPooling1D(2)(x)
        return layers.GlobalMaxPooling1D()(x)

    same_on_both(build)


def test_branches_that_merge():
    def build(x):
        a = layers.Conv2D(2, (1, 2), padding="same", activation="relu")(x)
        b = layers.Conv2D(2, 1, padding="same")(x)
        gate = layers.Dense(2, activation="sigmoid")(layers.GlobalAveragePooling2D()(a))
        gated = layers.Multiply()([a, layers.Reshape((1, 1, 2))(gate)])  # summed where it is broadcast
        parts = [
            layers.Add()([gated, b, a]),
            layers.Subtract()([b, gated]),
            layers.Average()([a, b, gated]),
            layers.Maximum()([a, b]),
            layers.Minimum()([b, a, gated]),
        ]
        return layers.GlobalAveragePooling2D()(layers.Concatenate()(parts))

    same_on_both(build)


def test_a_layer_that_is_used_twice_and_a_model_within():
    def build(x):
        inner = layers.Input((4, 6, 3))
        block = keras.Model(inner, layers.Conv2D(3, 1, activation="relu")(layers.Dropout(0.3, seed=1)(inner)))
        twice = layers.Conv2D(3, (3, 1), padding="same", kernel_regularizer="l2")
        return layers.Concatenate(axis=1)([twice(twice(x)), block(x), layers.Dropout(0.5, seed=2)(x, training=True)])

    same_on_both(build)


def test_images_of_channels_first_are_joined_and_added():
    def build(x):
        of = {"data_format": "channels_first"}
        a = layers.Conv2D(2, 1, **of)(x)
        b = layers.BatchNormalization(axis=1)(a)
        return layers.Conv2D(1, 1, **of)(layers.Concatenate(axis=1)([layers.Add()([a, b]), x]))

    same_on_both(build)
