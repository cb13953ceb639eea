"""Losses beside Keras's: values, gradients, reductions, sample weights, names and configs."""

import numpy as np
import peers
import pytest

from fastconv import losses

pytestmark = peers.MARK

N, K = 6, 4
RNG = np.random.default_rng(5)
SHARES = RNG.uniform(0.05, 0.95, (N, K)).astype(np.float32)
TARGETS = RNG.uniform(0.05, 0.95, (N, K)).astype(np.float32)
LABELS = RNG.integers(0, K, N)
ONE_HOT = np.eye(K, dtype=np.float32)[LABELS]
PROBABILITIES = SHARES / SHARES.sum(axis=1, keepdims=True)
LOGITS = RNG.normal(0, 2, (N, K)).astype(np.float32)
WEIGHTS = RNG.uniform(0.5, 2, N).astype(np.float32)

# class, options, y_true, y_pred
CASES = [
    ("MeanSquaredError", {}, TARGETS, SHARES),
    ("MeanAbsoluteError", {}, TARGETS, SHARES),
    ("MeanAbsolutePercentageError", {}, TARGETS - 0.5, SHARES),
    ("MeanSquaredLogarithmicError", {}, TARGETS, LOGITS),
    ("Huber", {}, TARGETS, LOGITS),
    ("Huber", {"delta": 0.3}, TARGETS, LOGITS),
    ("LogCosh", {}, TARGETS, LOGITS),
    ("Poisson", {}, TARGETS, SHARES),
    ("Hinge", {}, ONE_HOT, LOGITS),
    ("Hinge", {}, 2 * ONE_HOT - 1, LOGITS),
    ("SquaredHinge", {}, ONE_HOT, LOGITS),
    ("CategoricalHinge", {}, ONE_HOT, LOGITS),
    ("KLDivergence", {}, TARGETS, PROBABILITIES),
    ("CosineSimilarity", {}, TARGETS, LOGITS),
    ("CosineSimilarity", {"axis": 0}, TARGETS, LOGITS),
    ("BinaryCrossentropy", {}, ONE_HOT, SHARES),
    ("BinaryCrossentropy", {"label_smoothing": 0.2}, ONE_HOT, SHARES),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, ONE_HOT, LOGITS),
    ("BinaryFocalCrossentropy", {}, ONE_HOT, SHARES),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "alpha": 0.3, "gamma": 1.5}, ONE_HOT, SHARES),
    ("BinaryFocalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, ONE_HOT, LOGITS),
    ("CategoricalCrossentropy", {}, ONE_HOT, PROBABILITIES),
    ("CategoricalCrossentropy", {}, TARGETS, SHARES),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, ONE_HOT, LOGITS),
    ("CategoricalFocalCrossentropy", {}, ONE_HOT, PROBABILITIES),
    ("CategoricalFocalCrossentropy", {"alpha": 0.7, "gamma": 1.2, "label_smoothing": 0.1}, ONE_HOT, SHARES),
    ("CategoricalFocalCrossentropy", {"from_logits": True}, ONE_HOT, LOGITS),
    ("CategoricalGeneralizedCrossEntropy", {}, LABELS, PROBABILITIES),
    ("CategoricalGeneralizedCrossEntropy", {"q": 0.8}, LABELS, PROBABILITIES),
    ("SparseCategoricalCrossentropy", {}, LABELS, PROBABILITIES),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, LABELS, LOGITS),
    ("SparseCategoricalCrossentropy", {"ignore_class": 2}, LABELS, PROBABILITIES),
    ("Dice", {}, ONE_HOT, SHARES),
    ("Dice", {"axis": 1}, ONE_HOT, SHARES),
    ("Tversky", {}, ONE_HOT, SHARES),
    ("Tversky", {"alpha": 0.2, "beta": 0.9, "axis": (1,)}, ONE_HOT, SHARES),
]
IDS = [f"{name}-{options}" for name, options, *_ in CASES]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight", "none"])
@pytest.mark.parametrize(("name", "options", "y_true", "y_pred"), CASES, ids=IDS)
def test_values_and_gradients(name, options, y_true, y_pred, reduction, weighted):
    keras = peers.keras()
    weights = WEIGHTS if weighted else None
    if options == {"axis": 0} and weighted:
        weights = WEIGHTS[:K]  # one value for each column
    theirs = getattr(keras.losses, name)(**options, reduction=reduction)
    ours = getattr(losses, name)(**options, reduction=reduction)
    want = np.asarray(theirs(y_true, y_pred, weights))
    np.testing.assert_allclose(ours(y_true, y_pred, weights), want, rtol=2e-5, atol=1e-6)
    assert ours.name == theirs.name
    assert set(ours.get_config()) >= set(theirs.get_config())  # Keras forgets some options
    slope = peers.gradient(lambda p: keras.ops.sum(theirs(y_true, p, weights)), y_pred)
    got = ours.gradient(y_true, y_pred, weights)
    np.testing.assert_allclose(got, slope, rtol=2e-4, atol=1e-6 * max(1, np.abs(slope).max()))


@pytest.mark.parametrize(
    "name", ["mse", "MSE", "mae", "MAE", "mape", "MAPE", "msle", "MSLE", "bce", "BCE", "kld", "KLD"]
)
def test_short_names(name):
    theirs = peers.keras().losses.get(name)(TARGETS, SHARES)
    np.testing.assert_allclose(losses.get(name).per_sample(TARGETS, SHARES), theirs, rtol=2e-5)


@pytest.mark.parametrize(("name", "options", "y_true", "y_pred"), CASES, ids=IDS)
def test_function_forms(name, options, y_true, y_pred):
    if {"axis": 0} == options:
        pytest.skip("the class is compared above")
    function = losses.get(getattr(losses, name)).name.removesuffix("_loss")
    needs = {"q": 0.5} if "Generalized" in name else {}
    theirs = getattr(peers.keras().losses, function)(y_true, y_pred, **{**needs, **options})
    np.testing.assert_allclose(getattr(losses, function)(y_true, y_pred, **options), theirs, rtol=5e-5, atol=1e-6)


def test_every_loss_of_keras_is_here_or_known_to_be_missing():
    keras = peers.keras()
    theirs = {name for name in dir(keras.losses) if not name.startswith("_")}
    assert {name for name in theirs if not hasattr(losses, name)} == {
        "CTC",
        "Circle",
        "circle",
        "ctc",
        "legacy",
    } & theirs
