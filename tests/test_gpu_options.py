"""What layers, weights and optimizers can be given besides, and images turned round: the CPU's results on the GPU."""

import numpy as np
import pytest
from lab import lab

import fastconv as keras
from fastconv import device, layers, optimizers, regularizers

X = np.random.default_rng(0).normal(size=(8, 5, 4, 2)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 8)


def same_on_both(build, optimizer, x=X, y=Y, loss="sparse_categorical_crossentropy", steps=2):
    """Train on both devices from the same seed; compare weights, losses, evaluation and predictions."""
    results = []
    for name in ("cpu", "gpu"):
        keras.utils.set_random_seed(3)
        model = keras.Sequential(build())
        model.compile(optimizer(), loss)
        with lab(), device(name):
            losses = [model.train_on_batch(x, y) for _ in range(steps)]
            losses.append(model.evaluate(x[:3], y[:3], verbose=0))
            results.append([*model.get_weights(), losses, model.predict(x[:3], verbose=0)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)
    return results[1]


def test_penalties_constraints_and_a_spread_mask():
    def build():
        return [
            layers.Input((5, 4, 2)),
            layers.Conv2D(3, 2, activation="relu", activity_regularizer="l1", kernel_constraint=norm),
            layers.Dropout(0.4, noise_shape=(None, 1, 1, None), seed=1),
            layers.Flatten(),
            layers.Dense(
                4,
                "sigmoid",
                kernel_regularizer=regularizers.OrthogonalRegularizer(0.1, "columns"),
                activity_regularizer=regularizers.L1L2(0.01, 0.02),
                kernel_constraint="unit_norm",
            ),
            layers.Dense(3, "softmax", bias_constraint="non_neg", activity_regularizer="orthogonal_regularizer"),
        ]

    norm = keras.constraints.MinMaxNorm(0.3, 0.6, 0.5, axis=[0, 1, 2])
    weights = same_on_both(build, lambda: optimizers.SGD(0.5, clipnorm=0.1))
    np.testing.assert_allclose(np.linalg.norm(weights[2], axis=0), 1, rtol=1e-5)
    assert (weights[5] >= 0).all() and (weights[5] == 0).any()


@pytest.mark.parametrize("outer, inner", [("channels_first", "channels_last"), ("channels_last", "channels_first")])
def test_layers_of_two_data_formats(outer, inner):
    def build():
        return [
            layers.Input((5, 4, 2)),
            layers.Conv2D(3, 2, padding="same", activation="relu", data_format=outer),
            layers.Conv2D(2, (2, 1), padding="same", data_format=inner),
            layers.AveragePooling2D((2, 1), data_format=outer),
            layers.Flatten(data_format=inner),
            layers.Dense(3, activation="softmax"),
        ]

    same_on_both(build, lambda: optimizers.Adam(0.01, global_clipnorm=0.5))


def test_images_of_channels_first_as_predictions():
    def build():
        convolution = layers.Conv2D(3, 2, data_format="channels_first", activity_regularizer="l2")
        return [layers.Input((5, 4, 2)), convolution, layers.Softmax()]

    y = np.random.default_rng(1).random((8, 3, 3, 1)).astype("float32")
    same_on_both(build, lambda: optimizers.SGD(0.1), y=y, loss="mse")


def test_one_weight_of_a_layer_is_not_trained():
    dense = layers.Dense(3, "softmax", kernel_regularizer="l2")
    dense.build((None, 40))
    dense.kernel.trainable = False
    model = keras.Sequential([layers.Input((5, 4, 2)), layers.Flatten(), dense])
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = model.get_weights()
    with lab(), device("gpu"):
        model.train_on_batch(X, Y)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    assert (model.get_weights()[1] != before[1]).all()


def test_running_means_of_weights_and_collected_gradients():
    def build():
        return [layers.Input((5, 4, 2)), layers.Flatten(), layers.Dense(3, "softmax", bias_constraint="non_neg")]

    options = {"gradient_accumulation_steps": 2, "use_ema": True, "ema_overwrite_frequency": 2, "clipnorm": 0.3}
    same_on_both(build, lambda: optimizers.Nadam(0.1, **options), steps=5)
