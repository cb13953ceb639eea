"""Layers of all kinds, and graphs of them, on the GPU: the CPU's outputs, gradients and weights."""

import numpy as np
import pytest
from lab import lab

import fastconv as keras
from fastconv import device, layers, optimizers
from fastconv.gpu.recorded import Unsupported

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
            losses = [model.train_on_batch(x, Y) for _ in range(steps)]
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


@pytest.mark.parametrize(
    "build, reason",
    [
        (lambda x: layers.UpSampling2D(2, interpolation="bilinear")(x), "the interpolation bilinear is for the CPU"),
        (lambda x: layers.PReLU()(x), r"\(PReLU\) has no kernels for a GPU"),
    ],
)
def test_what_is_refused(build, reason):
    image = layers.Input((4, 6, 3))
    model = keras.Model(image, build(image))
    with lab(), device("gpu"), pytest.raises(Unsupported, match=reason):
        model.predict(X, verbose=0)
