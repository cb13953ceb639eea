"""Every built-in loss and metric as a GPU computes it: simulated, and compared with what the CPU computes."""

import types

import numpy as np
import pytest
from lab import lab, planted

from fastconv import activations, losses, metrics
from fastconv.gpu import judges, tallies
from fastconv.gpu.judges import judge_of_metric
from fastconv.gpu.memory import Memory
from fastconv.gpu.objective import Kept, Row, Scores
from fastconv.gpu.program import Recorder
from fastconv.gpu.tallies import counts_on_device
from fastconv.kernels import cuda_correlations, cuda_focal, cuda_overlap, cuda_places
from fastconv.testing import SimulationError

ROWS, COLUMNS = 11, 37


def random(*shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype("float32")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def close(found, expected, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


class Device:
    """A loss and metrics of predictions of one shape, in the simulator."""

    def __init__(self, y_pred, y, weights=None, loss=None, metrics=(), weighted=(), fused=False, scale=1.0):
        every = [(metric, False) for metric in metrics] + [(metric, True) for metric in weighted]
        objective = types.SimpleNamespace(loss=loss, all_metrics=every)
        with lab():
            self.memory = Memory()
            self.kept = Kept(self.memory)
            self.scores = Scores(objective, scale, y_pred.shape, self.kept)
            given, _ = self.scores.of_batch(y, weights)
            self.y_pred, self.given = np.array(y_pred), [np.full(array.size, np.nan, "float32") for array in given]
            self.gradient = np.full_like(y_pred, np.nan) if loss is not None else None
            self.totals = np.full((2, 1 + self.scores.width), np.nan, "float32")
            recorder = Recorder(self.memory)
            row = Row(self.totals, np.array([1], "float32"), 1)
            self.scores.record(recorder, self.y_pred, self.given, row, self.gradient, fused)
            self.scores.watch(self.y_pred, y, weights)
            self.program = recorder.program()

    def step(self, y_pred, y, weights=None):
        """Take a batch; returns the loss."""
        with lab():
            given, counts = self.scores.of_batch(y, weights)
            self.y_pred[...] = y_pred
            for array, values in zip(self.given, given, strict=True):
                array[...] = values.reshape(-1)
            before = self.memory.allocated_bytes
            self.program.run()
            self.scores.queued(y, weights)
            assert self.memory.allocated_bytes == before, "a step allocates nothing"
            return self.scores.take(self.totals[1, 1:].astype(float), counts, iter(self.scores.by_hand))


def judged():
    """Name: loss, predictions, targets, whether past the last activation."""
    logits = 3 * normal(ROWS, COLUMNS)
    p = activations.softmax(logits)
    p[1] = 0
    p[1, 4] = 1  # a certain one
    one_hot = np.eye(COLUMNS, dtype="float32")[np.random.default_rng(1).integers(0, COLUMNS, ROWS)]
    mixed = activations.softmax(normal(ROWS, COLUMNS, seed=2))
    labels = one_hot.argmax(-1)
    bits = (random(ROWS, COLUMNS, seed=3) < 0.5).astype("float32")
    values = 2 * normal(ROWS, COLUMNS, seed=4)
    masks, seen = (random(3, 5, 4, 2, seed=5) < 0.4).astype("float32"), random(3, 5, 4, 2, seed=6)
    one_hot_masks = np.eye(5, dtype="float32")[np.random.default_rng(1).integers(0, 5, (3, 4, 2))].transpose(0, 3, 1, 2)
    sides = activations.sigmoid(logits)
    focal, binary_focal = losses.CategoricalFocalCrossentropy, losses.BinaryFocalCrossentropy
    return {
        "sparse": (losses.SparseCategoricalCrossentropy(), p, labels, False),
        "sparse fused": (losses.SparseCategoricalCrossentropy(), p, labels, True),
        "sparse logits": (losses.SparseCategoricalCrossentropy(True), logits, labels, False),
        "ignore": (losses.SparseCategoricalCrossentropy(ignore_class=labels[0]), p, labels, False),
        "categorical": (losses.CategoricalCrossentropy(), 2 * p, mixed, False),
        "one-hot": (losses.CategoricalCrossentropy(label_smoothing=0.1), p, one_hot, False),
        "categorical fused": (losses.CategoricalCrossentropy(), p, mixed, True),
        "categorical logits": (losses.CategoricalCrossentropy(True), logits, mixed, False),
        "categorical along": (losses.CategoricalCrossentropy(axis=1), seen, one_hot_masks, False),
        "categorical hinge": (losses.CategoricalHinge(), logits, one_hot, False),
        "cosine": (losses.CosineSimilarity(), values, logits, False),
        "cosine along": (losses.CosineSimilarity(axis=-2), seen, masks, False),
        "binary": (losses.BinaryCrossentropy(), activations.sigmoid(3 * logits), bits, False),
        "binary fused": (losses.BinaryCrossentropy(), sides, bits, True),
        "binary logits": (losses.BinaryCrossentropy(True, 0.2), logits, bits, False),
        "binary focal": (binary_focal(gamma=1.5, label_smoothing=0.1), activations.sigmoid(3 * logits), bits, False),
        "binary focal plain": (binary_focal(True, 0.3, gamma=0), sides, bits, False),
        "binary focal logits": (binary_focal(True, 0.3, from_logits=True), logits, bits, False),
        "focal": (focal(alpha=0.3), 2 * p, mixed, False),
        "focal logits": (focal(alpha=random(COLUMNS), gamma=0.5, from_logits=True), logits, one_hot, False),
        "focal along": (focal(gamma=0, axis=1, label_smoothing=0.2), seen, one_hot_masks, False),
        "generalized": (losses.CategoricalGeneralizedCrossEntropy(0.3), activations.softmax(logits), labels, False),
        "dice": (losses.Dice(), seen, masks, False),
        "dice of samples": (losses.Dice(axis=(1, 2, 3)), seen, masks, False),
        "dice of classes": (losses.Dice(axis=(0, 1, 2), reduction="sum"), seen, masks, False),
        "tversky": (losses.Tversky(0.3, 0.8, axis=(1, -1)), seen, masks, False),
        "tversky of all": (
            losses.Tversky(0.3, 0.8),
            random(3, 50, 40, 1),
            np.round(random(3, 50, 40, 1, seed=1)),
            False,
        ),
        "squared": (losses.MeanSquaredError(), values, logits, False),
        "squared pixels": (losses.MeanSquaredError(reduction="sum"), seen[..., :1], masks[..., 0], False),
        "absolute": (losses.MeanAbsoluteError("mean_with_sample_weight"), values, logits, False),
        "huber": (losses.Huber(0.7, "none"), values, logits, False),
        "log cosh": (losses.LogCosh(), values, logits, False),
        "poisson": (losses.Poisson(), np.abs(values) + np.float32(0.1), np.abs(logits), False),
        "hinge": (losses.Hinge(), values, bits, False),
        "squared hinge": (losses.SquaredHinge(), values, bits, False),
        "percentage": (losses.MeanAbsolutePercentageError(), values, logits, False),
        "logarithmic": (losses.MeanSquaredLogarithmicError(), values, logits, False),
        "kl": (losses.KLDivergence(), p, mixed, False),
    }


@pytest.mark.parametrize("name", judged())
def test_a_loss_and_its_gradient(name):
    loss, y_pred, y_true, fused = judged()[name]
    weights = None if name == "dice of classes" else random(len(y_pred), seed=9) + np.float32(0.5)
    both = loss.value_and_logits_gradient if fused else loss.value_and_gradient
    value, expected = both(y_true, y_pred, weights)
    device = Device(y_pred, y_true, weights, loss, fused=fused, scale=0.5)
    close(device.step(y_pred, y_true, weights), value)
    close(device.gradient, 0.5 * expected, rtol=3e-5)
    assert np.isnan(device.totals[0]).all() and np.isnan(device.totals[1, 0]), "only its own place is written"


def test_a_loss_that_counts_nothing_has_no_gradient():
    y_pred, y = normal(3, 2), normal(3, 2, seed=1)
    y_pred[0] = np.inf
    device = Device(y_pred, y, None, losses.MeanSquaredError(), scale=0.0)
    assert device.step(y_pred, y) == np.inf
    np.testing.assert_array_equal(device.gradient, 0)


def scored():
    """Name: what makes a metric, predictions, targets."""
    p = activations.softmax(2 * normal(ROWS, 6))
    one_hot = np.eye(6, dtype="float32")[np.random.default_rng(1).integers(0, 6, ROWS)]
    labels = one_hot.argmax(-1)
    bits, sides = (random(ROWS, 6, seed=3) < 0.4).astype("int64"), np.round(50 * random(ROWS, 6)) / np.float32(50)
    numbers, others = normal(ROWS, 6) + 3, normal(ROWS, 6, seed=1) + 3
    rough = (np.round(4 * normal(ROWS, COLUMNS)) / 2).astype("float32")  # with equal ones
    rough[0, [5, 30]] = np.nan
    rough[2], rough[3] = 0, -np.inf
    mostly = np.where(random(ROWS, COLUMNS) < 0.7, rough, (random(ROWS, COLUMNS) < 0.5)).astype("float32")
    places = np.random.default_rng(2).integers(0, COLUMNS, ROWS)
    places[5:] = np.nanargmax(rough, -1)[5:]
    pixels = np.random.default_rng(3).integers(-1, 4, (3, 5, 4))
    scenes, first = normal(3, 5, 4, 3), normal(3, 3, 5, 4)
    as_classes = np.random.default_rng(4).integers(0, 5, (3, 5, 4, 1)).astype("float32") + np.float32(0.25)
    one_hot_pixels = np.eye(3, dtype="float32")[pixels.clip(0, 2)].transpose(0, 3, 1, 2)
    thirds = [0.9, 0.1, 0.35]
    m = metrics
    return {
        "AUC": (m.AUC, sides, bits),
        "AUC of few": (lambda: m.AUC(thresholds=thirds, curve="PR"), sides, bits),
        "AUC of labels": (lambda: m.AUC(5, multi_label=True, label_weights=[1, 2, 3, 1, 0, 1]), sides, bits),
        "AUC weighted": (lambda: m.AUC(9, label_weights=[1, 2, 3, 1, 0, 1], summation_method="minoring"), sides, bits),
        "AUC of logits": (lambda: m.AUC(20, from_logits=True), numbers, bits),
        "TruePositives": (m.TruePositives, sides, bits),
        "FalsePositives": (lambda: m.FalsePositives(thirds), sides, bits),
        "TrueNegatives": (m.TrueNegatives, rough[:, :6], bits),
        "FalseNegatives": (lambda: m.FalseNegatives(0.9), sides[:, :1], bits[:, 0]),
        "Precision": (m.Precision, sides, bits),
        "Precision of one": (lambda: m.Precision(class_id=2), sides, bits),
        "Recall": (lambda: m.Recall(top_k=2), rough[:, :6], bits),
        "Recall of top and one": (lambda: m.Recall(thirds, top_k=3, class_id=1), sides, bits),
        "SensitivityAtSpecificity": (lambda: m.SensitivityAtSpecificity(0.5, 7), sides, bits),
        "SpecificityAtSensitivity": (lambda: m.SpecificityAtSensitivity(0.5, class_id=3), sides, bits),
        "PrecisionAtRecall": (lambda: m.PrecisionAtRecall(0.5, 1), sides, bits),
        "RecallAtPrecision": (lambda: m.RecallAtPrecision(0.3, 2), sides, bits),
        "IoU": (lambda: m.IoU(4, [1, 2], sparse_y_pred=False, ignore_class=2), scenes, pixels),
        "MeanIoU": (lambda: m.MeanIoU(4), as_classes, pixels),
        "MeanIoU of channels_first": (lambda: m.MeanIoU(3, sparse_y_pred=False, axis=1), first, pixels),
        "BinaryIoU": (lambda: m.BinaryIoU((1,), 0.3), sides[:, :1], bits[:, 0]),
        "OneHotIoU": (lambda: m.OneHotIoU(3, [0, 2], axis=1), first, one_hot_pixels),
        "OneHotMeanIoU": (lambda: m.OneHotMeanIoU(6), p, one_hot),
        "F1Score": (m.F1Score, np.round(4 * p) / 4, one_hot),
        "FBetaScore": (lambda: m.FBetaScore("weighted", 0.5, 0.2), p, random(ROWS, 6, seed=8)),
        "FBetaScore of all": (lambda: m.FBetaScore("micro"), rough[:, :6], one_hot),
        "R2Score": (m.R2Score, numbers, others + 1000),
        "R2Score of one": (lambda: m.R2Score(None, num_regressors=2), numbers[:, :1], others[:, 0]),
        "PearsonCorrelation": (m.PearsonCorrelation, numbers, others),
        "PearsonCorrelation along": (lambda: m.PearsonCorrelation(axis=1), scenes, normal(3, 5, 4, 3, seed=2)),
        "PearsonCorrelation of one": (m.PearsonCorrelation, numbers[:, :1], others[:, 0]),
        "ConcordanceCorrelation": (m.ConcordanceCorrelation, numbers, others),
        "Accuracy": (m.Accuracy, rough, mostly),
        "Accuracy of one": (m.Accuracy, rough[:, 0:1], mostly[:, 0]),
        "BinaryAccuracy": (lambda: m.BinaryAccuracy(threshold=0.3), rough, mostly),
        "CategoricalAccuracy": (m.CategoricalAccuracy, rough, mostly),
        "SparseCategoricalAccuracy": (m.SparseCategoricalAccuracy, rough, places),
        "TopKCategoricalAccuracy": (lambda: m.TopKCategoricalAccuracy(k=3), rough, mostly),
        "SparseTopKCategoricalAccuracy": (m.SparseTopKCategoricalAccuracy, rough, places),
        "MeanSquaredError": (m.MeanSquaredError, numbers, others),
        "RootMeanSquaredError": (m.RootMeanSquaredError, numbers, others),
        "RootMeanSquaredError of one": (m.RootMeanSquaredError, numbers[:, :1], others[:, 0]),
        "MeanAbsoluteError": (m.MeanAbsoluteError, numbers, others),
        "MeanAbsolutePercentageError": (m.MeanAbsolutePercentageError, numbers, others),
        "MeanSquaredLogarithmicError": (m.MeanSquaredLogarithmicError, numbers, others),
        "LogCoshError": (m.LogCoshError, numbers, others),
        "BinaryCrossentropy": (lambda: m.BinaryCrossentropy(label_smoothing=0.2), sides, bits),
        "CategoricalCrossentropy": (lambda: m.CategoricalCrossentropy(axis=1), random(3, 3, 5, 4), one_hot_pixels),
        "SparseCategoricalCrossentropy": (lambda: m.SparseCategoricalCrossentropy(ignore_class=labels[0]), p, labels),
        "KLDivergence": (m.KLDivergence, p, one_hot),
        "Poisson": (m.Poisson, p, others),
        "Hinge": (m.Hinge, numbers, bits),
        "SquaredHinge": (m.SquaredHinge, numbers, bits),
        "CategoricalHinge": (m.CategoricalHinge, numbers, one_hot),
        "CosineSimilarity": (m.CosineSimilarity, numbers, others),
        "CosineSimilarity along": (lambda: m.CosineSimilarity(axis=1), first, one_hot_pixels),
        "Huber as a metric": (lambda: m.get(losses.Huber(0.5)), numbers, others),
        "dice": (lambda: m.get(losses.Dice(axis=(1, 2, 3))), random(3, 3, 5, 4), one_hot_pixels),
    }


@pytest.mark.parametrize("name", scored())
def test_a_metric(name):
    """Two batches, each of them twice: without weights and with them."""
    make, y_pred, y = scored()[name]
    expected, plain, weighted = make(), make(), make()
    expected_weighted = make()
    shape = y.shape[:1]
    if name in ("IoU", "MeanIoU", "MeanIoU of channels_first", "OneHotIoU"):
        shape = (3, 5, 4)  # of the pixels
    weights = random(*(y.shape if name in ("AUC", "Accuracy") else shape), seed=9)
    device = Device(y_pred, y, weights, None, [plain], [weighted])
    with np.errstate(all="ignore"):
        for _ in range(2):
            device.step(y_pred, y, weights)
            expected.update_state(y, y_pred)
            expected_weighted.update_state(y, y_pred, weights)
            y_pred = np.ascontiguousarray(y_pred[::-1])
            device.kept.settle()
    assert not device.kept.later
    for found, wanted in ((plain, expected), (weighted, expected_weighted)):
        rtol = 2e-4 if name == "PearsonCorrelation of one" else 1e-5
        with np.errstate(all="ignore"):
            close(found.result(), wanted.result(), rtol=rtol)
    with np.errstate(all="ignore"):
        assert "of one" in name or np.any(plain.result() != make().result()), "something was counted"
    assert judge_of_metric(plain) is not None or counts_on_device(plain), "nothing is left to the host"


# What is none of (y_true, y_pred): the host updates them as it does on the CPU.
ON_HOST = {"Mean": "takes values", "Sum": "takes values"}


def test_every_loss_and_metric_is_computed_by_the_device():
    """A class that is added to the packages is missing in the tables above."""
    assert {type(loss).__name__ for loss, *_ in judged().values()} == {cls.__name__ for cls in losses._CLASSES}
    metric_classes = {metrics._TABLE.find(name).__name__ for name in metrics._TABLE}
    assert {type(make()).__name__ for make, *_ in scored().values()} - {"MeanMetricWrapper"} == metric_classes - set(
        ON_HOST
    )
    for name in ON_HOST:
        metric = metrics.get(name)
        assert judge_of_metric(metric) is None and not counts_on_device(metric)


class Largest(metrics.Metric):
    """What a user writes: the largest product so far."""

    def __init__(self):
        super().__init__()
        self.reset_state()

    def update_state(self, y_true, y_pred, sample_weight=None):
        weights = 1 if sample_weight is None else sample_weight[:, None]
        self.largest.append(float((weights * y_true * y_pred).max()))

    def result(self):
        return max(self.largest, default=0.0)

    def reset_state(self):
        self.largest = []


class Rare(metrics.Precision):
    """Counts otherwise than its base class."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(1 - y_true, y_pred, sample_weight)


class Percent(metrics.Precision):
    """Counts as its base class does."""

    def result(self):
        return 100 * super().result()


def ours(y_true, y_pred):
    return np.abs(y_true - y_pred).max(axis=-1)


def test_metrics_of_the_users_own_are_computed_by_the_host():
    batches = [random(4, 3, seed=seed) for seed in range(5)]
    y, weights = np.round(random(4, 3, seed=8)), random(4, seed=9)
    every = [Largest(), metrics.get(ours), Rare(), Percent(), Largest()]
    expected = [Largest(), metrics.get(ours), Rare(), Percent(), Largest()]
    device = Device(batches[0], y, weights, None, every[:-1], every[-1:])
    for count, y_pred in enumerate(batches, 1):
        reused = y.copy()
        device.step(y_pred, reused, weights)
        reused[...] = -1  # the next batch's
        assert len(every[0].largest) == max(0, count - 2), "the host is two steps behind at most"
        for metric in expected[:-1]:
            metric.update_state(y, y_pred)
        expected[-1].update_state(y, y_pred, weights)
    device.kept.settle()
    assert every[0].largest == expected[0].largest and every[-1].largest == expected[-1].largest
    for found, wanted in zip(every, expected, strict=True):
        close(found.result(), wanted.result())
    assert [counts_on_device(metric) for metric in every] == [False, False, False, True, False]


class Own(losses.MeanSquaredError):
    """What a user writes: half the squared error."""

    def values(self, y_true, y_pred):
        return super().values(y_true, y_pred) / 2

    def slopes(self, y_true, y_pred):
        return super().slopes(y_true, y_pred) / 2


@pytest.mark.parametrize("scale", [0.5, 0.0])
def test_a_loss_of_the_users_own_is_computed_by_the_host(scale):
    y, weights, own = normal(4, 3), random(4), Own()
    metric = metrics.get(own)
    device = Device(normal(4, 3), y, weights, own, metrics=[metric], scale=scale)
    for seed in (1, 2):
        y_pred = normal(4, 3, seed=seed)
        value, gradient = own.value_and_gradient(y, y_pred, weights)
        assert device.step(y_pred, y, weights) == value
        close(device.gradient, scale * gradient)
    device.kept.settle()
    assert metric.result() > 0


@pytest.mark.parametrize(
    "metric, y_pred, y, reason",
    [
        (metrics.F1Score(), (4, 3), (4,), r"must have one shape, \(samples, classes\), not \(4,\)"),
        (metrics.R2Score(), (4, 3, 2), (4, 3, 2), r"y_pred must have shape \(samples, outputs\), not \(4, 3, 2\)"),
        (metrics.AUC(multi_label=True, num_labels=2), (4, 3), (4, 3), r"must have shape \(samples, 2\), not \(4, 3\)"),
        (metrics.MeanIoU(3), (4, 3, 2), (4, 3), "12 true classes do not fit 24 predicted ones"),
        (metrics.Recall(), (4, 3), (4, 2), r"\(4, 2\) does not fit y_pred of shape \(4, 3\)"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_a_metric_refuses_it_refuses_on_a_gpu(metric, y_pred, y, reason):
    arrays = np.zeros(y, "float32"), np.zeros(y_pred, "float32")
    for update in (metric.update_state, lambda y, y_pred: Device(y_pred, y, metrics=[metric])):
        with pytest.raises(ValueError, match=reason):
            update(*arrays)


METRIC, LOSS = test_a_metric, test_a_loss_and_its_gradient
PLANTED = [
    (tallies, cuda_places, "v > p or", "v >= p or", METRIC, "Recall"),
    (tallies, cuda_places, "v == p and other < i", "v == p", METRIC, "Recall"),
    (tallies, cuda_places, "max(passed, int32(cuts.least))", "passed", METRIC, "AUC"),
    (tallies, cuda_places, "ascending[uint32(middle)] < p", "ascending[uint32(middle)] <= p", METRIC, "AUC of few"),
    (tallies, cuda_places, "item // uint32(per)", "item % uint32(per)", METRIC, "Precision"),
    (tallies, cuda_places, "weight *= of_columns[uint32(i - first)]", "pass", METRIC, "Precision of one"),
    (tallies, cuda_places, "if not v <= largest:", "if v <= largest:", METRIC, "IoU"),
    (tallies, cuda_places, "p > float32(-1) and p < float32(number)", "True", METRIC, "MeanIoU"),
    (tallies, cuda_places, "weight * (float32(1) - t)", "weight", METRIC, "FBetaScore"),
    (tallies, cuda_places, "p >= limit and", "p > limit and", METRIC, "F1Score"),
    (judges, cuda_correlations, " + apart * apart", "", METRIC, "ConcordanceCorrelation"),
    (judges, cuda_overlap, "both * (t - alpha * t", "both * (t + alpha * t", LOSS, "dice"),
    (judges, cuda_overlap, "row = uint32(i // uint32(columns))", "row = uint32(0)", LOSS, "tversky"),
    (judges, cuda_focal, "weight * slope * share", "slope * share", LOSS, "binary focal logits"),
    (judges, cuda_focal, "_focal_slope(p, gamma, epsilon) - product", "_focal_slope(p, gamma, epsilon)",
     LOSS, "focal along"),
    (judges, cuda_focal, "slope if column == label", "slope if column >= label", LOSS, "generalized"),
]  # fmt: skip


@pytest.mark.parametrize("user, module, right, wrong, check, name", PLANTED, ids=range(len(PLANTED)))
def test_a_planted_fault_is_found(user, module, right, wrong, check, name, tmp_path, monkeypatch):
    faulty = planted(module, right, wrong, tmp_path)
    monkeypatch.setattr(user, module.__name__.rpartition(".")[2], faulty)
    with pytest.raises((AssertionError, SimulationError)):
        check(name)
