"""Models with several inputs or outputs through the GPU's path, simulated: weights, logs and predictions of the CPU."""

import numpy as np
from lab import lab

import fastconv as keras
from fastconv import device, layers, losses, metrics

N = 3
RNG = np.random.default_rng(0)
IMAGES, NUMBERS = RNG.normal(size=(N, 3, 2, 1)).astype("float32"), RNG.normal(size=(N, 3)).astype("float32")
CLASSES, VALUES = RNG.integers(0, 3, N), RNG.normal(size=(N, 2)).astype("float32")
MASKS = (RNG.random((N, 3, 2, 1)) < 0.4).astype("float32")


def a_model(first="channels_last"):
    """Two inputs, three outputs; one of them goes on into another."""
    keras.utils.set_random_seed(1)
    shape = (3, 2, 1) if first == "channels_last" else (1, 3, 2)
    images, numbers = layers.Input(shape, name="images"), layers.Input((3,), name="numbers")
    convolution = layers.Conv2D(2, 2, padding="same", activation="relu", data_format=first, kernel_regularizer="l2")
    x = convolution(images)
    mask = layers.Conv2D(1, 1, activation="sigmoid", data_format=first, name="mask")(x)
    features = layers.Concatenate()([layers.Flatten(data_format=first)(x), numbers])
    value = layers.Dense(2, name="value")(features)
    classes = layers.Dense(3, activation="softmax", name="class")(layers.Concatenate()([features, value]))
    return keras.Model([images, numbers], [classes, value, mask])


class Worst(metrics.Metric):
    """A user's own."""

    def __init__(self):
        super().__init__()
        self.reset_state()

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.worst = max(self.worst, float(np.abs(y_true - y_pred).max()))

    def result(self):
        return self.worst

    def reset_state(self):
        self.worst = 0.0


def compiled(**changes):
    model = a_model()
    model.compile(
        **{
            "optimizer": keras.optimizers.Lamb(0.01),
            "loss": {"class": "sparse_categorical_crossentropy", "value": losses.Huber(0.5), "mask": losses.Dice()},
            "loss_weights": {"class": 1.0, "value": 0.25, "mask": 2.0},
            "metrics": {"class": ["accuracy"], "value": [Worst(), metrics.R2Score()], "mask": [metrics.AUC(20)]},
            "weighted_metrics": {"mask": [metrics.Precision()]},
            **changes,
        }
    )
    return model


def everything(model, x, y, weights):
    """What training with a smaller last batch, evaluation and prediction give."""
    history = model.fit(x, y, batch_size=2, epochs=1, verbose=0, shuffle=False, sample_weight=weights).history
    scores = model.evaluate(x, y, batch_size=2, verbose=0, sample_weight=weights, return_dict=True)
    batch = model.train_on_batch(x, y, return_dict=True)
    outputs = model.predict(x, batch_size=2, verbose=0)
    return {**{f"fit {name}": values for name, values in history.items()}, **scores, **{
        f"batch {name}": value for name, value in batch.items()
    }}, [*outputs, *model.get_weights()]  # fmt: skip


def same_on_both(build, x, y, weights=None):
    results = []
    for name in ("cpu", "gpu"):
        model = build()
        with lab(), device(name):
            results.append(everything(model, x, y, weights))
        assert (model._runner is None) == (name == "cpu")
    (logs, arrays), (found_logs, found) = results
    assert list(logs) == list(found_logs)
    for name, values in logs.items():
        np.testing.assert_allclose(found_logs[name], values, rtol=2e-5, atol=2e-6, err_msg=name)
    for one, other in zip(found, arrays, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


def test_losses_metrics_and_weights_of_each_output():
    weights = {"class": RNG.random(N), "value": RNG.random(N), "mask": RNG.random((N, 1))[:, 0]}
    same_on_both(compiled, [IMAGES, NUMBERS], [CLASSES, VALUES, MASKS], weights)


def dense(**compiled):
    """One input, three outputs."""
    keras.utils.set_random_seed(1)
    x = layers.Input((3,))
    hidden = layers.Dense(2, activation="relu")(x)
    names = {"class": 3, "value": 2, "mask": 1}
    model = keras.Model(x, [layers.Dense(size, name=name)(hidden) for name, size in names.items()])
    model.compile("sgd", **compiled)
    return model


def test_an_output_without_a_loss_and_one_that_counts_nothing():
    def build():
        logits = losses.SparseCategoricalCrossentropy(from_logits=True)
        metrics = [None, None, ["binary_accuracy"]]
        return dense(loss=[logits, "mse", None], loss_weights=[1, 0, 1], metrics=metrics)

    weights = {"value": RNG.random(N)}
    same_on_both(build, NUMBERS, {"class": CLASSES, "value": VALUES, "mask": MASKS[:, 0, 0]}, weights)


def test_targets_that_nobody_needs_may_be_missing():
    def build():
        return dense(loss={"class": None, "value": "mae", "mask": None})

    same_on_both(build, NUMBERS, {"value": VALUES}, RNG.random(N))


def test_images_of_channels_first_beside_numbers():
    results = []
    images, masks = (np.ascontiguousarray(array.transpose(0, 3, 1, 2)) for array in (IMAGES, MASKS))
    for name in ("cpu", "gpu"):
        model = a_model("channels_first")
        model.compile("sgd", ["sparse_categorical_crossentropy", "mse", "binary_crossentropy"])
        with lab(), device(name):
            logs = model.train_on_batch([images, NUMBERS], [CLASSES, VALUES, masks])
            results.append([logs, *model.predict_on_batch([images, NUMBERS]), *model.get_weights()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


def test_one_input_goes_out_twice():
    def build():
        keras.utils.set_random_seed(1)
        x = layers.Input((3,))
        hidden = layers.Dense(2, activation="relu", name="hidden")(x)
        model = keras.Model(x, [hidden, hidden, layers.Dense(2, name="last")(hidden)])
        model.compile("adam", "mse")
        return model

    same_on_both(build, NUMBERS, [VALUES, VALUES + 1, VALUES - 1])


def test_nothing_is_allocated_in_a_step():
    model = compiled()
    with lab(), device("gpu"):
        for _ in range(3):
            model.train_on_batch([IMAGES, NUMBERS], [CLASSES, VALUES, MASKS])
            allocated = model._runner.memory.allocated_bytes
            assert len(model._runner._steps) == 1
        model.train_on_batch([IMAGES, NUMBERS], [CLASSES, VALUES, MASKS])
        assert model._runner.memory.allocated_bytes == allocated


def test_a_loss_and_metrics_of_the_users_own():
    class Own(losses.MeanSquaredError):
        def values(self, y_true, y_pred):
            return super().values(y_true, y_pred) / 2

        def slopes(self, y_true, y_pred):
            return super().slopes(y_true, y_pred) / 2

    def build():
        own = [[Worst()] for _ in range(3)]
        return dense(loss=[losses.CategoricalHinge(), Own(), Own()], loss_weights=[1, 0.5, 2], metrics=own)

    one_hot = np.eye(3, dtype="float32")[CLASSES]
    same_on_both(build, NUMBERS, [one_hot, VALUES, MASKS[:, 0, 0]], RNG.random(N))
