"""Losses: values by hand, gradients against differences (also fused), weights, reductions, shapes, names."""

import math

import numpy as np
import pytest

from fastconv import activations, losses

N, K = 6, 4
LOSSES = {
    "categorical": (losses.CategoricalCrossentropy, {}),
    "categorical smoothed": (losses.CategoricalCrossentropy, {"label_smoothing": 0.2}),
    "categorical logits": (losses.CategoricalCrossentropy, {"from_logits": True, "label_smoothing": 0.1}),
    "sparse": (losses.SparseCategoricalCrossentropy, {}),
    "sparse logits": (losses.SparseCategoricalCrossentropy, {"from_logits": True}),
    "sparse ignoring": (losses.SparseCategoricalCrossentropy, {"ignore_class": -1}),
    "binary": (losses.BinaryCrossentropy, {}),
    "binary smoothed": (losses.BinaryCrossentropy, {"label_smoothing": 0.2}),
    "binary logits": (losses.BinaryCrossentropy, {"from_logits": True, "label_smoothing": 0.1}),
    "squared": (losses.MeanSquaredError, {}),
    "absolute": (losses.MeanAbsoluteError, {}),
    "huber": (losses.Huber, {"delta": 0.4}),
    "log cosh": (losses.LogCosh, {}),
    "poisson": (losses.Poisson, {}),
    "hinge": (losses.Hinge, {}),
    "categorical hinge": (losses.CategoricalHinge, {}),
    "divergence": (losses.KLDivergence, {}),
    "cosine": (losses.CosineSimilarity, {}),
    "percentage": (losses.MeanAbsolutePercentageError, {}),
    "logarithmic": (losses.MeanSquaredLogarithmicError, {}),
    "squared hinge": (losses.SquaredHinge, {}),
    "binary focal": (losses.BinaryFocalCrossentropy, {"apply_class_balancing": True, "gamma": 1.5}),
    "binary focal logits": (losses.BinaryFocalCrossentropy, {"from_logits": True, "label_smoothing": 0.1}),
    "focal": (losses.CategoricalFocalCrossentropy, {"alpha": [0.1, 0.2, 0.3, 0.4], "label_smoothing": 0.1}),
    "focal logits": (losses.CategoricalFocalCrossentropy, {"from_logits": True, "gamma": 1.5}),
    "sparse generalized": (losses.CategoricalGeneralizedCrossEntropy, {"q": 0.3}),
    "dice": (losses.Dice, {}),
    "dice of rows": (losses.Dice, {"axis": -1}),
    "tversky": (losses.Tversky, {"alpha": 0.3, "beta": 0.9}),
    "tversky of rows": (losses.Tversky, {"alpha": 0.3, "axis": (1,)}),
}
FUSED = ["categorical", "categorical smoothed", "sparse", "sparse ignoring", "binary", "binary smoothed"]
REDUCTIONS = ["sum_over_batch_size", "sum", "mean_with_sample_weight", "none"]


def problem(name, rng):
    """Targets and predictions that are not normalised, away from points where a derivative jumps."""
    y_pred = rng.uniform(0.05, 0.95, (N, K))
    if name.startswith("sparse"):
        y_true = rng.integers(0, K, N)
        if "ignoring" in name:
            y_true[[1, 4]] = -1
        return y_true, y_pred
    if "hinge" in name:
        return np.eye(K)[rng.integers(0, K, N)], 3 * y_pred - 1
    return rng.uniform(0.05, 0.95, (N, K)), y_pred * (4 if "logits" in name else 1)


def differences(function, x, step=1e-6):
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (function(up) - function(down)) / (2 * step)
    return gradient


def reduced(loss, y_true, y_pred, weights):
    """The number that the gradient belongs to: for the reduction "none" the sum."""
    return float(np.sum(loss(y_true, y_pred, weights)))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_the_derivative(name, weighted, reduction):
    rng = np.random.default_rng(3)
    cls, options = LOSSES[name]
    loss = cls(**options, reduction=reduction)
    y_true, y_pred = problem(name, rng)
    weights = rng.uniform(0.5, 2, N) if weighted else None
    want = differences(lambda p: reduced(loss, y_true, p, weights), y_pred)
    np.testing.assert_allclose(loss.gradient(y_true, y_pred, weights), want, rtol=1e-6, atol=1e-8)
    value, gradient = loss.value_and_gradient(y_true, y_pred, weights, out=np.full_like(y_pred, np.nan))
    assert value == pytest.approx(reduced(loss, y_true, y_pred, weights), rel=1e-12)
    np.testing.assert_allclose(gradient, want, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", FUSED)
def test_fused_gradient(name, weighted, reduction):
    """By the logits, against differences through the activation itself."""
    rng = np.random.default_rng(4)
    cls, options = LOSSES[name]
    loss = cls(**options, reduction=reduction)
    activation = activations.get(loss.fused_activation)
    y_true, _ = problem(name, rng)
    logits = rng.normal(size=(N, K))
    weights = rng.uniform(0.5, 2, N) if weighted else None
    want = differences(lambda z: reduced(loss, y_true, activation(z), weights), logits)
    probabilities = activation(logits)
    value, gradient = loss.value_and_logits_gradient(y_true, probabilities, weights)
    assert value == pytest.approx(reduced(loss, y_true, probabilities, weights), rel=1e-12)
    np.testing.assert_allclose(gradient, want, rtol=1e-6, atol=1e-8)
    out = probabilities.copy()
    again, in_place = loss.value_and_logits_gradient(y_true, out, weights, out=out)
    assert in_place is out
    assert again == value
    np.testing.assert_array_equal(out, gradient)


def test_which_losses_fuse():
    assert [name for name, (cls, options) in LOSSES.items() if cls(**options).fused_activation] == FUSED


@pytest.mark.parametrize("name", LOSSES)
def test_float32_agrees_and_stays(name):
    cls, options = LOSSES[name]
    loss = cls(**options)
    y_true, y_pred = problem(name, np.random.default_rng(5))
    value, gradient = loss.value_and_gradient(y_true, y_pred.astype(np.float32))
    want_value, want = loss.value_and_gradient(y_true, y_pred)
    assert isinstance(value, float)
    assert gradient.dtype == np.float32
    assert value == pytest.approx(want_value, rel=1e-5)
    np.testing.assert_allclose(gradient, want, rtol=1e-4, atol=1e-6)
    view = np.full((N, K, 3), np.nan, np.float32)
    loss.value_and_gradient(y_true, y_pred.astype(np.float32), out=view[..., 1])
    np.testing.assert_array_equal(view[..., 1], gradient)
    assert np.isnan(view[..., ::2]).all()


@pytest.mark.parametrize("name", LOSSES)
def test_nan_is_not_hidden(name):
    cls, options = LOSSES[name]
    y_true, y_pred = problem(name, np.random.default_rng(5))
    y_pred[2, :] = np.nan
    value, gradient = cls(**options).value_and_gradient(y_true, y_pred)
    assert math.isnan(value)
    assert np.isnan(gradient[2]).any() or cls in (losses.Hinge, losses.CategoricalHinge)


@pytest.mark.parametrize(
    ("loss", "y_true", "y_pred", "values"),
    [
        (losses.CategoricalCrossentropy(), [[0, 1, 0]], [[0.1, 0.5, 0.4]], [math.log(2)]),
        # Not normalised: 2 of 8.
        (losses.CategoricalCrossentropy(), [[1, 0, 0]], [[2.0, 5.0, 1.0]], [math.log(4)]),
        (losses.CategoricalCrossentropy(from_logits=True), [[1, 0]], [[0.0, math.log(3)]], [math.log(4)]),
        (
            losses.CategoricalCrossentropy(label_smoothing=0.4),
            [[1, 0]],
            [[0.25, 0.75]],
            [0.8 * math.log(4) + 0.2 * math.log(4 / 3)],
        ),
        (losses.CategoricalCrossentropy(), [[1, 0]], [[0.0, 1.0]], [-math.log(1e-7)]),
        (
            losses.SparseCategoricalCrossentropy(),
            [2, 0],
            [[0.1, 0.4, 0.5], [0.25, 0.25, 0.5]],
            np.log([2, 4]),
        ),
        (losses.BinaryCrossentropy(), [[1, 0]], [[0.5, 0.75]], [(math.log(2) + math.log(4)) / 2]),
        (losses.BinaryCrossentropy(from_logits=True), [[1.0]], [[-math.log(3)]], [math.log(4)]),
        (
            losses.BinaryCrossentropy(label_smoothing=0.5),
            [[1.0]],
            [[0.2]],
            [-0.75 * math.log(0.2) - 0.25 * math.log(0.8)],
        ),
        (losses.MeanSquaredError(), [[1.0, 2.0]], [[3.0, 5.0]], [6.5]),
        (losses.MeanAbsoluteError(), [[1.0, 2.0]], [[3.0, 5.0]], [2.5]),
        (losses.Huber(), [[0.0, 0.0]], [[0.5, -3.0]], [(0.125 + 2.5) / 2]),
        (losses.LogCosh(), [[0.0]], [[-1.5]], [math.log(math.cosh(1.5))]),
        (losses.Poisson(), [[2.0]], [[1.0]], [1 - 2 * math.log(1 + 1e-7)]),
        (losses.Hinge(), [[0.0, 1.0]], [[0.5, 0.25]], [(1.5 + 0.75) / 2]),
        (losses.Hinge(), [[-1.0, 1.0]], [[-2.0, 0.25]], [0.75 / 2]),
        (losses.CategoricalHinge(), [[0, 1, 0]], [[0.5, 0.25, 0.75]], [1.5]),
        (losses.KLDivergence(), [[0.5, 0.5]], [[0.25, 0.75]], [0.5 * math.log(2) + 0.5 * math.log(2 / 3)]),
        (losses.CosineSimilarity(), [[3.0, 4.0]], [[4.0, 3.0]], [-0.96]),
        (losses.MeanAbsolutePercentageError(), [[2.0, -4.0]], [[3.0, -3.0]], [(50 + 25) / 2]),
        (losses.MeanSquaredLogarithmicError(), [[0.0, 3.0]], [[math.e - 1, 3.0]], [(1 - math.log(1 + 1e-7)) ** 2 / 2]),
        (losses.SquaredHinge(), [[0.0, 1.0]], [[0.5, 0.25]], [(1.5**2 + 0.75**2) / 2]),
        (losses.BinaryFocalCrossentropy(), [[1, 0]], [[0.5, 0.75]], [(math.log(2) / 4 + math.log(4) * 9 / 16) / 2]),
        (losses.BinaryFocalCrossentropy(True, alpha=0.2, gamma=1), [[1.0]], [[0.25]], [0.2 * 0.75 * math.log(4)]),
        (losses.CategoricalFocalCrossentropy(), [[0, 1, 0]], [[0.1, 0.5, 0.4]], [0.25 / 4 * math.log(2)]),
        (losses.CategoricalGeneralizedCrossEntropy(), [1], [[0.75, 0.25]], [(1 - 0.5) / 0.5]),
        (losses.Dice(), [[1, 0], [1, 1]], [[0.5, 0.5], [1.0, 0.0]], 1 - 2 * 1.5 / (3 + 2 + 1e-7)),
        (losses.Dice(axis=1), [[1, 0], [1, 1]], [[0.5, 0.5], [1.0, 0.0]], [1 - 1 / (2 + 1e-7), 1 - 2 / (3 + 1e-7)]),
        (losses.Tversky(0.2, 0.7), [[1, 0, 1]], [[1.0, 0.5, 0.0]], 1 - 1 / (1 + 0.2 + 0.35 + 1e-7)),
    ],
)
def test_values_by_hand(loss, y_true, y_pred, values):
    got = loss.per_sample(np.array(y_true), np.array(y_pred, np.float64))
    np.testing.assert_allclose(got, values, rtol=1e-12)


def test_reductions_by_hand():
    y_true, y_pred = np.zeros((3, 1)), np.array([[1.0], [2.0], [3.0]])
    weights = np.array([2.0, 0.5, 0.0])
    by_reduction = {
        "sum_over_batch_size": (14 / 3, 4 / 3),
        "mean": (14 / 3, 4 / 3),
        "sum": (14, 4),
        "mean_with_sample_weight": (14 / 3, 4 / 2.5),
    }
    for reduction, (plain, weighted) in by_reduction.items():
        loss = losses.MeanSquaredError(reduction=reduction)
        assert loss(y_true, y_pred) == pytest.approx(plain, rel=1e-14)
        assert loss(y_true, y_pred, weights) == pytest.approx(weighted, rel=1e-14)
        assert loss(y_true, y_pred, weights[:, None]) == pytest.approx(weighted, rel=1e-14)
    for reduction in ("none", None):
        got = losses.MeanSquaredError(reduction=reduction)(y_true, y_pred, weights)
        np.testing.assert_allclose(got, [2, 2, 0], rtol=1e-14)


def test_ignored_class_counts_neither_above_nor_below():
    loss = losses.SparseCategoricalCrossentropy(ignore_class=9)
    y_pred = np.array([[0.5, 0.5], [0.25, 0.75], [np.nan, np.nan]])
    value, gradient = loss.value_and_gradient(np.array([0, 0, 9]), y_pred)
    assert value == pytest.approx((math.log(2) + math.log(4)) / 2, rel=1e-12)
    np.testing.assert_array_equal(gradient[2], 0)
    assert np.isfinite(gradient).all()
    assert loss(np.array([9, 9, 9]), y_pred) == 0


@pytest.mark.parametrize(
    ("true_shape", "pred_shape"), [((5,), (5, 1)), ((5, 1), (5,)), ((5, 3), (5, 3, 1)), ((5, 3, 1), (5, 3))]
)
def test_missing_last_axis(true_shape, pred_shape):
    rng = np.random.default_rng(1)
    y_true, y_pred = rng.normal(size=true_shape), rng.normal(size=pred_shape)
    loss = losses.MeanSquaredError()
    value, gradient = loss.value_and_gradient(y_true, y_pred)
    error = y_pred.ravel() - y_true.ravel()
    assert value == pytest.approx((error**2).mean(), rel=1e-13)
    assert gradient.shape == pred_shape
    np.testing.assert_allclose(gradient.ravel(), 2 * error / error.size, rtol=1e-13)


def test_images_of_classes():
    """Per-pixel classes: (N, H, W) labels for (N, H, W, K) probabilities, in one-hot and sparse form."""
    rng = np.random.default_rng(6)
    logits, labels = rng.normal(size=(2, 3, 5, 4)), rng.integers(0, 4, (2, 3, 5))
    p = activations.softmax(logits)
    weights = rng.uniform(size=2)
    sparse = losses.SparseCategoricalCrossentropy().value_and_logits_gradient(labels, p, weights)
    dense = losses.CategoricalCrossentropy().value_and_logits_gradient(np.eye(4)[labels], p, weights)
    assert sparse[0] == pytest.approx(dense[0], rel=1e-12)
    np.testing.assert_allclose(sparse[1], dense[1], rtol=1e-9, atol=1e-15)
    want = differences(
        lambda z: losses.SparseCategoricalCrossentropy()(labels, activations.softmax(z), weights), logits
    )
    np.testing.assert_allclose(sparse[1], want, rtol=1e-6, atol=1e-9)


def test_class_axis():
    rng = np.random.default_rng(7)
    y_true, y_pred = rng.uniform(size=(3, 4, 5)), rng.uniform(0.1, 1, (3, 4, 5))
    loss = losses.CategoricalCrossentropy(axis=1, label_smoothing=0.1)
    last = losses.CategoricalCrossentropy(label_smoothing=0.1)
    moved = last.value_and_gradient(np.moveaxis(y_true, 1, -1), np.moveaxis(y_pred, 1, -1))
    value, gradient = loss.value_and_gradient(y_true, y_pred)
    assert loss.fused_activation is None
    assert value == pytest.approx(moved[0], rel=1e-13)
    np.testing.assert_allclose(gradient, np.moveaxis(moved[1], -1, 1), rtol=1e-12)


def test_saturated_softmax_still_learns():
    """A certain and wrong network: the clipped loss has no slope there, the fused gradient has."""
    p = np.array([[1.0, 0.0]], np.float32)
    loss = losses.SparseCategoricalCrossentropy()
    value, gradient = loss.value_and_logits_gradient(np.array([1]), p)
    assert value == pytest.approx(-math.log(1e-7), rel=1e-6)
    np.testing.assert_array_equal(gradient, [[1, -1]])
    np.testing.assert_array_equal(loss.gradient(np.array([1]), p), [[0, 0]])


def test_huge_logits():
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    value, gradient = loss.value_and_gradient(np.array([1]), np.array([[1000.0, -1000.0]], np.float32))
    assert value == 2000
    np.testing.assert_array_equal(gradient, [[1, -1]])
    binary = losses.BinaryCrossentropy(from_logits=True)
    assert binary(np.array([[0.0]]), np.array([[1000.0]], np.float32)) == 1000


P = np.full((3, 4), 0.25, np.float32)


@pytest.mark.parametrize(
    ("loss", "y_true", "message"),
    [
        ("sparse", [0, 4, 1], "class numbers from 0 to 3.*has 0 to 4"),
        ("sparse", [0, -1, 1], "class numbers from 0 to 3.*has -1 to 1"),
        ("sparse", [0, 0.5, 1], "whole class numbers"),
        ("sparse", [0, np.nan, 1], "whole class numbers"),
        ("sparse", np.eye(4)[:3], r"\(3, 4\).*\(3, 4\).*use categorical_crossentropy"),
        ("sparse", [0, 1], r"\(2,\).*\(3, 4\)"),
        ("categorical", [0, 1, 2], r"\(3,\).*\(3, 4\).*sparse_categorical_crossentropy"),
        ("categorical", np.eye(3), r"\(3, 3\).*\(3, 4\)"),
        ("squared", [0, 1, 2], r"y_true of shape \(3,\) does not fit y_pred of shape \(3, 4\)"),
        ("binary", np.zeros((3, 1)), r"y_true of shape \(3, 1\) does not fit"),
    ],
)
def test_bad_targets(loss, y_true, message):
    loss = LOSSES[loss][0]()
    for call in (loss, loss.per_sample, loss.gradient):
        with pytest.raises(ValueError, match=message):
            call(np.asarray(y_true), P)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.MeanSquaredError(reduction="average"), "reduction must be one of.*'average'"),
        (lambda: losses.CategoricalCrossentropy(label_smoothing=2), "label_smoothing must be from 0 to 1"),
        (lambda: losses.BinaryCrossentropy(axis=1), "axis=-1, not 1"),
        (lambda: losses.get("crossentropies"), "Unknown loss 'crossentropies'. Known: .*mse"),
        (
            lambda: losses.MeanSquaredError()(np.zeros((3, 4)), P, np.ones(2)),
            r"sample_weight of shape \(2,\)",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", sorted(losses.NAMES))
def test_names_and_serialization(name):
    loss = losses.get(name)
    assert loss.name == name
    config = losses.serialize(loss)
    assert config["module"] == "keras.losses"
    again = losses.deserialize(config)
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


def test_get():
    assert losses.get(None) is None
    assert isinstance(losses.get("mse"), losses.MeanSquaredError)
    assert isinstance(losses.get("kld"), losses.KLDivergence)
    assert isinstance(losses.get(losses.Huber), losses.Huber)
    by_function = losses.get(losses.sparse_categorical_crossentropy)
    assert isinstance(by_function, losses.SparseCategoricalCrossentropy)
    assert isinstance(losses.get({"class_name": "function", "config": "mse"}), losses.MeanSquaredError)
    with pytest.raises(TypeError, match="call_gradient"):
        losses.get(lambda y_true, y_pred: 0.0)


def test_function_forms():
    y_true, y_pred = np.array([0, 1]), np.array([[0.0, 1.0], [1.0, 3.0]])
    got = losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
    np.testing.assert_allclose(got, [math.log(1 + math.e), math.log(1 + math.exp(-2))], rtol=1e-12)
    assert losses.mean_squared_error(np.zeros((2, 2)), y_pred).shape == (2,)


@pytest.mark.parametrize(
    ("true_shape", "pred_shape", "cls"),
    [
        ((32, 1), (32, 1), losses.BinaryCrossentropy),
        ((32,), (32, 1), losses.BinaryCrossentropy),
        ((32,), (32, 10), losses.SparseCategoricalCrossentropy),
        ((32, 1), (32, 10), losses.SparseCategoricalCrossentropy),
        ((None, 10), (None, 10), losses.CategoricalCrossentropy),
    ],
)
def test_resolve_by_shapes(true_shape, pred_shape, cls):
    for name in ("crossentropy", "ce"):
        assert isinstance(losses.resolve(name, true_shape, pred_shape), cls)
    assert isinstance(losses.resolve("mse", true_shape, pred_shape), losses.MeanSquaredError)


def test_own_loss():
    class Cubed(losses.Loss):
        def call(self, y_true, y_pred):
            return ((y_pred - y_true) ** 3).sum(axis=-1)

        def call_gradient(self, y_true, y_pred, out):
            np.multiply((y_pred - y_true) ** 2, 3, out=out)

    loss = losses.get(Cubed())
    assert loss.name == "cubed"
    value, gradient = loss.value_and_gradient(np.zeros((2, 2)), np.array([[1.0, 2.0], [0.0, 1.0]]))
    assert value == 5
    np.testing.assert_array_equal(gradient, [[1.5, 6], [0, 1.5]])
