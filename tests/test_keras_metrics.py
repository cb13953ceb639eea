"""Metrics beside Keras's: results over two batches, with and without weights, names and configs."""

import numpy as np
import peers
import pytest

from fastconv import metrics

pytestmark = peers.MARK

RNG = np.random.default_rng(6)
N, K = 30, 4
LABELS = RNG.integers(0, K, N)
GUESSES = np.where(RNG.random(N) < 0.6, LABELS, RNG.integers(0, K, N))
ONE_HOT = np.eye(K, dtype=np.float32)[LABELS]
LOGITS = (RNG.normal(0, 1, (N, K)) + 1.5 * ONE_HOT).astype(np.float32)
PROBABILITIES = (np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)).astype(np.float32)
MANY = RNG.integers(0, 2, (N, K)).astype(np.float32)  # several ones a sample
SHARES = np.clip(RNG.random((N, K)) * 0.7 + 0.3 * MANY, 0, 1).astype(np.float32)
BITS = RNG.integers(0, 2, N).astype(np.float32)
CHANCE = np.clip(RNG.random(N) * 0.8 + 0.2 * BITS, 0, 1).astype(np.float32)
COARSE = (np.round(CHANCE * 8) / 8).astype(np.float32)  # many at thresholds exactly
WEIGHTS = RNG.uniform(0.5, 2, N).astype(np.float32)
NUMBERS = RNG.normal(size=(N, K)).astype(np.float32)
NEAR = (NUMBERS + RNG.normal(0, 0.5, (N, K))).astype(np.float32)

# class, options, y_true, y_pred
CASES = [
    ("Accuracy", {}, LABELS, GUESSES),
    ("BinaryAccuracy", {}, BITS, CHANCE),
    ("BinaryAccuracy", {"threshold": 0.7}, MANY, SHARES),
    ("CategoricalAccuracy", {}, ONE_HOT, LOGITS),
    ("SparseCategoricalAccuracy", {}, LABELS, LOGITS),
    ("TopKCategoricalAccuracy", {"k": 2}, ONE_HOT, LOGITS),
    ("SparseTopKCategoricalAccuracy", {"k": 3}, LABELS, LOGITS),
    *[
        (name, options, *data)
        for name in ("TruePositives", "FalsePositives", "TrueNegatives", "FalseNegatives", "Precision", "Recall")
        for options, data in (
            ({}, (BITS, CHANCE)),
            ({"thresholds": [0.2, 0.8, 0.5]}, (MANY, SHARES)),
            ({"thresholds": [0, 0.25, 0.5, 0.75, 1]}, (BITS, COARSE)),
        )
    ],
    ("Precision", {"top_k": 2}, ONE_HOT, PROBABILITIES),
    ("Recall", {"top_k": 1, "class_id": 2}, ONE_HOT, PROBABILITIES),
    ("Precision", {"class_id": 1, "thresholds": 0.3}, ONE_HOT, PROBABILITIES),
    *[
        (name, options, *data)
        for name in ("SensitivityAtSpecificity", "SpecificityAtSensitivity", "PrecisionAtRecall", "RecallAtPrecision")
        for options, data in (
            ({}, (BITS, CHANCE)),
            ({"num_thresholds": 1}, (BITS, CHANCE)),
            ({"num_thresholds": 9}, (BITS, COARSE)),
            ({"class_id": 2}, (MANY, SHARES)),
        )
    ],
    *[
        ("AUC", {"curve": curve, "summation_method": method, **options}, *data)
        for curve in ("ROC", "PR", "PRGAIN")
        for method in ("interpolation", "minoring", "majoring")
        for options, data in (
            ({}, (BITS, CHANCE)),
            ({"num_thresholds": 9}, (BITS, COARSE)),
            ({"thresholds": [0.3, 0.1, 0.85]}, (MANY, SHARES)),
            ({"multi_label": True, "num_labels": K}, (MANY, SHARES)),
        )
    ],
    ("AUC", {"multi_label": True, "label_weights": [1.0, 2.0, 0.5, 1.5]}, MANY, SHARES),
    ("AUC", {"label_weights": [1.0, 2.0, 0.5, 1.5]}, MANY, SHARES),
    ("AUC", {"from_logits": True}, MANY, NEAR),
    *[("F1Score", {"average": average}, ONE_HOT, PROBABILITIES) for average in (None, "micro", "macro", "weighted")],
    ("F1Score", {"threshold": 0.4}, MANY, SHARES),
    ("FBetaScore", {"beta": 2.0, "threshold": 0.6, "average": "macro"}, MANY, SHARES),
    ("IoU", {"num_classes": K, "target_class_ids": [1, 3]}, LABELS, GUESSES),
    ("BinaryIoU", {}, BITS, CHANCE),
    ("BinaryIoU", {"target_class_ids": [1], "threshold": 0.3}, MANY, SHARES),
    ("MeanIoU", {"num_classes": K + 2}, LABELS, GUESSES),
    ("MeanIoU", {"num_classes": K, "ignore_class": 1}, LABELS, GUESSES),
    ("OneHotIoU", {"num_classes": K, "target_class_ids": [0, 2]}, ONE_HOT, PROBABILITIES),
    ("OneHotMeanIoU", {"num_classes": K}, ONE_HOT, PROBABILITIES),
    ("R2Score", {}, NUMBERS, NEAR),
    ("R2Score", {"class_aggregation": "variance_weighted_average", "num_regressors": 3}, NUMBERS, NEAR),
    ("R2Score", {"class_aggregation": None}, NUMBERS, NEAR),
    ("PearsonCorrelation", {}, NUMBERS, NEAR),
    ("ConcordanceCorrelation", {"axis": -1}, NUMBERS, NEAR),
    ("MeanSquaredError", {}, NUMBERS, NEAR),
    ("RootMeanSquaredError", {}, NUMBERS, NEAR),
    ("MeanAbsoluteError", {}, NUMBERS, NEAR),
    ("MeanAbsolutePercentageError", {}, NUMBERS, NEAR),
    ("MeanSquaredLogarithmicError", {}, NUMBERS, NEAR),
    ("LogCoshError", {}, NUMBERS, NEAR),
    ("CosineSimilarity", {}, NUMBERS, NEAR),
    ("Hinge", {}, ONE_HOT, LOGITS),
    ("SquaredHinge", {}, ONE_HOT, LOGITS),
    ("CategoricalHinge", {}, ONE_HOT, LOGITS),
    ("KLDivergence", {}, PROBABILITIES, PROBABILITIES[::-1]),
    ("Poisson", {}, MANY, SHARES),
    ("BinaryCrossentropy", {"label_smoothing": 0.1}, MANY, SHARES),
    ("CategoricalCrossentropy", {"from_logits": True}, ONE_HOT, LOGITS),
    ("SparseCategoricalCrossentropy", {}, LABELS, PROBABILITIES),
]
IDS = [f"{name}-{options}" for name, options, *_ in CASES]
_ASKED = {
    "SensitivityAt": "specificity",
    "SpecificityAt": "sensitivity",
    "PrecisionAt": "recall",
    "RecallAt": "precision",
}


@pytest.mark.filterwarnings("ignore:You are passing weight as", "ignore:Explicitly requested dtype int64")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("name", "options", "y_true", "y_pred"), CASES, ids=IDS)
def test_results(name, options, y_true, y_pred, weighted):
    keras = peers.keras()
    keras.utils.clear_session()  # the numbers in names
    for beginning, argument in _ASKED.items():
        if name.startswith(beginning):
            options = {argument: 0.6, **options}
    ours, theirs = getattr(metrics, name)(**options), getattr(keras.metrics, name)(**options)
    weights = (np.ceil(WEIGHTS) if "IoU" in name else WEIGHTS) if weighted else None
    if "IoU" in name and weighted and y_true.ndim == 2 and name == "BinaryIoU":
        weights = np.repeat(weights[:, None], y_true.shape[1], 1)  # Keras wants one for each pixel
    for part in (slice(0, 19), slice(19, None)):
        weight = None if weights is None else weights[part]
        ours.update_state(y_true[part], y_pred[part], weight)
        theirs.update_state(y_true[part], y_pred[part], weight)
    np.testing.assert_allclose(ours.result(), np.asarray(theirs.result()), rtol=2e-4, atol=2e-6)
    assert ours.name == theirs.name
    direction = getattr(theirs, "_direction", None)
    assert ours.direction == direction
    again = keras.metrics.deserialize(metrics.serialize(ours))
    assert type(again).__name__ == name
    config = metrics.deserialize(keras.metrics.serialize(theirs)).get_config()
    assert {**config, "dtype": None} == {**ours.get_config(), "dtype": None}
    ours.reset_state()
    theirs.reset_state()
    ours.update_state(y_true, y_pred)
    theirs.update_state(y_true, y_pred)
    np.testing.assert_allclose(ours.result(), np.asarray(theirs.result()), rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("name", ["Sum", "Mean"])
@pytest.mark.parametrize("shape", [(), (N,), (N, K), (N, 1)])
@pytest.mark.parametrize("weighted", [False, True])
def test_of_values(name, shape, weighted):
    values = NUMBERS.reshape(-1)[: np.prod(shape, dtype=int)].reshape(shape)
    weights = WEIGHTS if weighted and shape else None
    theirs = getattr(peers.keras().metrics, name)()(values, weights)
    np.testing.assert_allclose(getattr(metrics, name)()(values, weights), theirs, rtol=1e-5)


def test_every_metric_of_keras_is_here():
    keras = peers.keras()
    theirs = {name for name in dir(keras.metrics) if not name.startswith("_")}
    assert {name for name in theirs if not hasattr(metrics, name)} <= {"legacy"}
