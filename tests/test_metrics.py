"""Metrics: values by hand over several batches, weights, names, the meaning of "accuracy"."""

import math

import numpy as np
import pytest

from fastconv import losses, metrics

PROBABILITIES = np.array([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.2, 0.3, 0.5], [0.25, 0.35, 0.4]])
LABELS = np.array([1, 2, 2, 0])


def test_mean_over_batches():
    mean = metrics.Mean(name="loss")
    assert mean.result() == 0
    mean.update_state(4.0)
    mean.update_state([1.0, 2.0, 6.0])
    assert mean.result() == 13 / 4
    mean.update_state(2.5, sample_weight=4)
    assert mean.result() == 23 / 8
    mean.reset_state()
    assert mean.result() == 0
    assert isinstance(mean([1.0, 2.0]), float)
    assert mean.name == "loss"


def test_mean_averages_further_axes_per_sample():
    values = np.arange(12.0).reshape(2, 3, 2)
    assert metrics.Mean()(values) == 5.5
    # Per sample 2.5 and 8.5.
    assert metrics.Mean()(values, [1, 3]) == pytest.approx((2.5 + 3 * 8.5) / 4, rel=1e-14)
    weights = np.array([[1.0, 0, 0], [0, 0, 2]])
    # Per row 0.5 (weight 1) and 10.5 (weight 2); both sums are thirds of these.
    assert metrics.Mean()(values, weights) == pytest.approx((0.5 + 21) / 3, rel=1e-14)


def test_mean_of_nan():
    assert math.isnan(metrics.Mean()([1.0, np.nan]))


def test_accuracies_by_hand():
    one_hot = np.eye(3)[LABELS]
    assert metrics.SparseCategoricalAccuracy()(LABELS, PROBABILITIES) == 0.5
    assert metrics.SparseCategoricalAccuracy()(LABELS[:, None], PROBABILITIES) == 0.5
    assert metrics.CategoricalAccuracy()(one_hot, PROBABILITIES) == 0.5
    assert metrics.SparseTopKCategoricalAccuracy(k=2)(LABELS, PROBABILITIES) == 0.75
    assert metrics.TopKCategoricalAccuracy(k=2)(one_hot, PROBABILITIES) == 0.75
    assert metrics.SparseTopKCategoricalAccuracy(k=1)(LABELS, PROBABILITIES) == 0.5
    assert metrics.TopKCategoricalAccuracy()(one_hot, PROBABILITIES) == 1
    assert metrics.BinaryAccuracy()([[1], [0], [1], [0]], [[0.9], [0.5], [0.4], [0.1]]) == 0.75
    assert metrics.BinaryAccuracy(threshold=0.3)([1, 0, 1, 0], [[0.9], [0.5], [0.4], [0.1]]) == 0.75
    assert metrics.Accuracy()([1, 2, 3], [[1], [0], [3]]) == pytest.approx(2 / 3)


def test_weighted_accuracy_over_batches():
    metric = metrics.SparseCategoricalAccuracy()
    metric.update_state(LABELS[:3], PROBABILITIES[:3], sample_weight=[3, 1, 0])
    metric.update_state(LABELS[3:], PROBABILITIES[3:], sample_weight=[4])
    assert metric.result() == 3 / 8


def test_nan_predictions_are_wrong():
    nan = np.full((2, 3), np.nan)
    assert metrics.SparseTopKCategoricalAccuracy(k=3)([0, 1], nan) == 0
    assert metrics.BinaryAccuracy()([1, 1], nan[:, 0]) == 0
    assert math.isnan(metrics.MeanSquaredError()(np.zeros((2, 3)), nan))


def test_errors_by_hand():
    y_true, y_pred = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[1.0, 2.0], [1.0, 4.0]])
    assert metrics.MeanSquaredError()(y_true, y_pred) == 3.5
    assert metrics.RootMeanSquaredError()(y_true, y_pred) == pytest.approx(math.sqrt(3.5), rel=1e-14)
    assert metrics.MeanAbsoluteError()(y_true, y_pred) == 1.5
    rmse = metrics.RootMeanSquaredError()
    rmse.update_state(np.zeros(3), np.ones(3))
    rmse.update_state(np.zeros(1), np.full(1, 3.0))
    assert rmse.result() == pytest.approx(math.sqrt(3), rel=1e-14)


# Those of all the batch are no mean over samples.
@pytest.mark.parametrize("name", [name for name in sorted(losses.NAMES) if name.lower() not in ("dice", "tversky")])
def test_every_loss_is_a_metric(name):
    metric = metrics.get(name)
    rng = np.random.default_rng(2)
    y_pred = rng.uniform(0.1, 0.9, (5, 3))
    y_true = (
        rng.integers(0, 3, 5) if "parse" in name or "eneralized" in name else rng.integers(0, 2, (5, 3)).astype(float)
    )
    metric.update_state(y_true[:2], y_pred[:2])
    metric.update_state(y_true[2:], y_pred[2:])
    sign = -1 if metric.name == "cosine_similarity" else 1  # As in Keras, the loss is minus the metric.
    assert metric.result() == pytest.approx(sign * losses.get(name)(y_true, y_pred), rel=1e-12)


def test_own_function():
    def error_share(y_true, y_pred):
        return np.abs(y_true - y_pred) / np.abs(y_true)

    metric = metrics.get(error_share)
    assert metric.name == "error_share"
    assert metric([1.0, 2.0], [2.0, 3.0]) == 0.75
    assert metrics.MeanMetricWrapper(error_share, name="share").name == "share"
    assert metrics.MeanMetricWrapper(lambda t, p, power: (p - t) ** power, power=3)([0, 0], [1, 2]) == 4.5


def test_get():
    assert metrics.get(None) is None
    mean = metrics.Mean()
    assert metrics.get(mean) is mean
    assert isinstance(metrics.get(metrics.BinaryAccuracy), metrics.BinaryAccuracy)
    assert metrics.get(losses.Huber()).name == "huber_loss"
    assert metrics.get(losses.mean_squared_error).name == "mean_squared_error"
    with pytest.raises(ValueError, match="Unknown metric 'accurate'. Known: .*accuracy.*huber"):
        metrics.get("accurate")
    with pytest.raises(TypeError, match="3 cannot serve as metric"):
        metrics.get(3)


@pytest.mark.parametrize(
    ("true_shape", "pred_shape", "kind"),
    [
        ((8, 1), (8, 1), "Binary"),
        ((8,), (8, 1), "Binary"),
        ((8,), (8, 10), "SparseCategorical"),
        ((8, 1), (8, 10), "SparseCategorical"),
        ((8, 28, 28), (8, 28, 28, 10), "SparseCategorical"),
        ((None, 10), (None, 10), "Categorical"),
    ],
)
def test_resolve_by_shapes(true_shape, pred_shape, kind):
    for name in ("accuracy", "acc", "Accuracy"):
        metric = metrics.resolve(name, true_shape, pred_shape)
        assert type(metric).__name__ == f"{kind}Accuracy"
        assert metric.name == name
    for name in ("crossentropy", "ce"):
        metric = metrics.resolve(name, true_shape, pred_shape)
        assert type(metric).__name__ == f"{kind}Crossentropy"
        assert metric.name == name


def test_resolve_keeps_the_users_name():
    assert metrics.resolve("mse", (8, 2), (8, 2)).name == "mse"
    own = metrics.SparseCategoricalAccuracy(name="own")
    assert metrics.resolve(own, (8,), (8, 2)) is own
    assert own.name == "own"


@pytest.mark.parametrize(
    ("metric", "y_true", "message"),
    [
        (metrics.SparseCategoricalAccuracy(), np.zeros(3), r"\(3,\).*\(4, 3\)"),
        (metrics.CategoricalAccuracy(), LABELS, r"\(4,\).*\(4, 3\).*sparse"),
        (metrics.BinaryAccuracy(), np.zeros((4, 2)), r"\(4, 2\) does not fit y_pred of shape \(4, 3\)"),
        (metrics.MeanSquaredError(), np.zeros((4, 2)), r"\(4, 2\) does not fit"),
    ],
)
def test_bad_shapes(metric, y_true, message):
    with pytest.raises(ValueError, match=message):
        metric.update_state(y_true, PROBABILITIES)
    assert metric.result() == 0


def test_bad_weights_and_options():
    with pytest.raises(ValueError, match=r"sample_weight of shape \(3,\)"):
        metrics.Mean()([1.0, 2.0], [1, 2, 3])
    with pytest.raises(TypeError, match="logits"):
        metrics.CategoricalCrossentropy(logits=True)


NEEDED = {
    metrics.IoU: {"num_classes": 3, "target_class_ids": [0, 2]},
    metrics.OneHotIoU: {"num_classes": 3, "target_class_ids": [1]},
    metrics.MeanIoU: {"num_classes": 3},
    metrics.OneHotMeanIoU: {"num_classes": 3},
    metrics.SensitivityAtSpecificity: {"specificity": 0.5},
    metrics.SpecificityAtSensitivity: {"sensitivity": 0.5},
    metrics.PrecisionAtRecall: {"recall": 0.5},
    metrics.RecallAtPrecision: {"precision": 0.5},
}


def test_a_metric_that_needs_arguments_is_no_name():
    with pytest.raises(ValueError, match="'mean_io_u' needs arguments .*num_classes"):
        metrics.get("mean_io_u")


@pytest.mark.parametrize(
    "cls", dict.fromkeys(metrics._TABLE.find(name) for name in sorted(metrics._TABLE)), ids=lambda cls: cls.__name__
)
def test_serialization(cls):
    metric = cls(**NEEDED.get(cls, {}), name="own")
    config = metrics.serialize(metric)
    assert config["module"] == "keras.metrics"
    assert config["config"]["dtype"] == "float32"
    again = metrics.deserialize(config)
    assert type(again) is cls
    assert again.name == "own"
    assert metrics.serialize(again) == config


def test_options_survive_serialization():
    metric = metrics.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    again = metrics.deserialize(metrics.serialize(metric))
    logits = np.array([[0.0, 2.0]])
    assert again([[0, 1]], logits) == metric([[0, 1]], logits) != metrics.CategoricalCrossentropy()([[0, 1]], logits)
    assert metrics.deserialize(metrics.serialize(metrics.TopKCategoricalAccuracy(k=3))).get_config()["k"] == 3


BITS = np.array([0, 0, 1, 1, 1])
CHANCES = np.array([0.1, 0.6, 0.4, 0.5, 0.9])  # at 0.5: tn, fp, fn, fn (a half is not above a half), tp


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        (metrics.TruePositives(), 1),
        (metrics.FalsePositives(), 1),
        (metrics.TrueNegatives(), 1),
        (metrics.FalseNegatives(), 2),
        (metrics.Precision(), 1 / 2),
        (metrics.Recall(), 1 / 3),
        (metrics.Recall(thresholds=[0.7, 0.3]), [1 / 3, 1]),
        (metrics.Precision(thresholds=1.0), 0),
        (metrics.AUC(num_thresholds=1000), 4 / 6),  # pairs in order: those with 0.1, and 0.9 over 0.6
        (metrics.SpecificityAtSensitivity(0.9), 0.5),
        (metrics.RecallAtPrecision(0.9), 1 / 3),
        (metrics.BinaryIoU(), (1 / 3 + 2 / 4) / 2),  # here a half is a one
    ],
)
def test_positives_and_negatives_by_hand(metric, value):
    for rows in (slice(0, 2), slice(2, 5)):
        metric.update_state(BITS[rows], CHANCES[rows])
    np.testing.assert_allclose(metric.result(), value, rtol=1e-6)


def test_weights_and_one_class_of_positives():
    recall = metrics.Recall()
    recall.update_state(BITS, CHANCES, sample_weight=[1, 1, 2, 1, 5])
    assert recall.result() == pytest.approx(5 / 8)
    of_class = metrics.Precision(class_id=2, thresholds=0.35)
    of_class.update_state(np.eye(3)[LABELS], PROBABILITIES)
    assert of_class.result() == pytest.approx(1 / 2)
    top = metrics.Recall(top_k=2)
    top.update_state(np.eye(3)[LABELS], PROBABILITIES)
    assert top.result() == pytest.approx(3 / 4)
    assert metrics.TruePositives()(BITS, np.full(5, np.nan)) == 0
    with pytest.raises(ValueError, match=r"does not fit"):
        recall.update_state(LABELS, PROBABILITIES)
    with pytest.raises(ValueError, match="thresholds must be from 0 to 1, not 1.5"):
        metrics.Precision(thresholds=1.5)
    with pytest.raises(ValueError, match="recall must be from 0 to 1, not 2"):
        metrics.PrecisionAtRecall(2)


def test_auc_curves_and_columns():
    y_true = np.stack([BITS, 1 - BITS], axis=1)
    y_pred = np.stack([CHANCES, CHANCES], axis=1)
    columns = metrics.AUC(multi_label=True, num_thresholds=1000)
    assert columns(y_true, y_pred) == pytest.approx((4 / 6 + 2 / 6) / 2, abs=1e-6)
    weighted = metrics.AUC(multi_label=True, num_thresholds=1000, label_weights=[3, 1])
    assert weighted(y_true, y_pred) == pytest.approx((3 * 4 / 6 + 2 / 6) / 4, abs=1e-6)
    below, above = (
        metrics.AUC(summation_method=way, thresholds=[0.45])(BITS, CHANCES) for way in ("minoring", "majoring")
    )
    # The curve goes through (0, 0), (1/2, 2/3) and (1, 1).
    assert (below, above) == (pytest.approx(1 / 3), pytest.approx(5 / 6))
    with pytest.raises(ValueError, match=r"y_pred must have shape \(samples, 2\)"):
        columns.update_state(BITS, CHANCES)
    with pytest.raises(ValueError, match="curve must be one of ROC, PR, PRGAIN"):
        metrics.AUC(curve="XY")


def test_f_scores_by_hand():
    y_true = np.eye(3)[LABELS]  # classes 1, 2, 2, 0; the largest are at 1, 0, 2, 2
    scores = metrics.F1Score()
    for rows in (slice(0, 1), slice(1, 4)):
        scores.update_state(y_true[rows], PROBABILITIES[rows])
    np.testing.assert_allclose(scores.result(), [0, 1, 1 / 2], atol=1e-6)
    averages = {name: metrics.F1Score(average=name)(y_true, PROBABILITIES) for name in ("micro", "macro", "weighted")}
    assert averages == pytest.approx({"micro": 1 / 2, "macro": 1 / 2, "weighted": 1 / 2}, abs=1e-6)
    assert metrics.FBetaScore(beta=2.0, average="micro", threshold=0.35)(y_true, PROBABILITIES) == pytest.approx(
        5 * (2 / 4) * (2 / 4) / (4 * 2 / 4 + 2 / 4), abs=1e-6
    )
    with pytest.raises(ValueError, match=r"\(samples, classes\), not \(4,\) and \(4, 3\).*to_categorical"):
        scores.update_state(LABELS, PROBABILITIES)


def test_regions_by_hand():
    y_true, y_pred = np.array([[0, 0], [1, 1]]), np.array([[0, 1], [1, 1]])
    assert metrics.MeanIoU(3)(y_true, y_pred) == pytest.approx((1 / 2 + 2 / 3) / 2, abs=1e-6)  # class 2 is not there
    assert metrics.IoU(2, [1])(y_true, y_pred) == pytest.approx(2 / 3, abs=1e-6)
    assert metrics.MeanIoU(2, ignore_class=0)(y_true, y_pred) == pytest.approx(1, abs=1e-6)
    assert metrics.OneHotIoU(2, [0])(np.eye(2)[y_true], np.eye(2)[y_pred]) == pytest.approx(1 / 2, abs=1e-6)
    weighted = metrics.IoU(2, [1])(y_true, y_pred, sample_weight=[[1, 2], [1, 1]])
    assert weighted == pytest.approx(2 / 4, abs=1e-6)


def test_scores_of_numbers_by_hand():
    y_true, y_pred = np.array([[1.0], [2.0], [3.0], [6.0]]), np.array([[1.0], [2.0], [4.0], [5.0]])
    assert metrics.R2Score()(y_true, y_pred) == pytest.approx(1 - 2 / 14)
    assert metrics.R2Score(num_regressors=1)(y_true, y_pred) == pytest.approx(1 - 2 / 14 * 3 / 2)
    rows = y_true.T, 2 * y_true.T + 1
    assert metrics.PearsonCorrelation()(*rows) == pytest.approx(1)
    assert metrics.ConcordanceCorrelation()(*rows) < 0.7
    assert metrics.Sum()([[1, 2], [3, 4]], [1, 10]) == 73
    assert metrics.LogCoshError().name == "logcosh"


def test_confusion_matrix():
    y_true, y_pred = ["cat", "cow", "cat", "dog"], ["cat", "cat", "dog", "dog"]
    matrix = metrics.confusion_matrix(y_true, y_pred)
    np.testing.assert_array_equal(matrix, [[1, 0, 1], [1, 0, 0], [0, 0, 1]])
    assert matrix.dtype.kind == "i"
    chosen = metrics.confusion_matrix(y_true, y_pred, labels=["dog", "cat"])
    np.testing.assert_array_equal(chosen, [[1, 0], [1, 1]])
    shares = metrics.confusion_matrix(y_true, y_pred, normalize="true", sample_weight=[1, 1, 3, 1])
    np.testing.assert_allclose(shares, [[1 / 4, 0, 3 / 4], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(metrics.confusion_matrix(np.eye(3)[LABELS], PROBABILITIES).sum(axis=1), [1, 1, 2])
    with pytest.raises(ValueError, match="one label for each sample, not 3 and 2"):
        metrics.confusion_matrix([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="normalize must be"):
        metrics.confusion_matrix([1], [1], normalize="rows")
