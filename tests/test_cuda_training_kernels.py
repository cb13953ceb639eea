"""The kernels of a training step on a GPU beside the ops': simulated, and compared with what the CPU computes."""

import importlib
import os

import numpy as np
import pytest
from lab import run

from fastconv import activations, losses, metrics
from fastconv.gpu.elementwise import code
from fastconv.gpu.objective import judge_of_loss, judge_of_metric
from fastconv.kernels import cpu_dropout, cuda, cuda_activations, cuda_dropout, cuda_losses, cuda_updates
from fastconv.optimizers import SGD, Adadelta, Adagrad, Adam, Adamax, Ftrl, Lion, Nadam, RMSprop
from fastconv.variable import Variable

ELEMENTWISE = [
    activations.relu,
    activations.ReLU(0.1, 6, 1),
    activations.relu6,
    activations.leaky_relu,
    activations.elu,
    activations.selu,
    activations.sigmoid,
    activations.tanh,
    activations.softplus,
    activations.softsign,
    activations.exponential,
    activations.hard_sigmoid,
    activations.silu,
    activations.hard_silu,
    activations.gelu,
    activations.GELU(approximate=True),
    activations.mish,
    activations.celu,
    activations.CELU(0.3),
    activations.hard_tanh,
    activations.hard_shrink,
    activations.HardShrink(2.0),
    activations.soft_shrink,
    activations.SoftShrink(2.0),
    activations.threshold,
    activations.Threshold(1.0, -3.0),
    activations.sparse_plus,
    activations.squareplus,
    activations.SquarePlus(0.5),
    activations.log_sigmoid,
    activations.sparse_sigmoid,
    activations.tanh_shrink,
]
ROWS, COLUMNS = 11, 37


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def close(found, expected, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("activation", ELEMENTWISE, ids=lambda a: f"{a.name}{len(a.get_config())}")
def test_an_activation_and_its_slope(activation, rng):
    x = (4 * rng.normal(size=(7, 300))).astype("float32")
    x[0, :6] = np.nan, np.inf, -np.inf, 0, 100, -100
    kind, parameters = code(activation)
    y, gx = np.empty_like(x), np.empty_like(x)
    with np.errstate(all="ignore"):
        run(cuda_activations.forward(kind, parameters, x, y))
        expected = activation.forward(x, np.empty_like(x))
        close(y, expected)
        gy = rng.normal(size=x.shape).astype("float32")
        run(cuda_activations.backward(kind, parameters, gy, expected, x, gx))
        close(gx, activation.backward(gy, expected, x, np.empty_like(x)))


def test_every_activation_has_a_kernel():
    by_themselves = {activation.name for activation in ELEMENTWISE}
    assert by_themselves | {"linear", "softmax", "log_softmax", "sparsemax", "glu"} == set(activations._DEFAULTS)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_a_gated_unit_and_its_slope(axis, rng):
    x = (4 * rng.normal(size=(6, 8, 10))).astype("float32")
    x[0, 0, 0], x[5, 7, 9] = np.inf, -200
    gate = activations.GLU(axis)
    y, gx = np.full(gate.output_shape(x.shape), np.nan, "float32"), np.full_like(x, np.nan)
    inner = int(np.prod(y.shape[axis % 3 :]))
    run(cuda_activations.glu(x, y, inner))
    close(y, gate(x.astype(float)))
    x[0, 0, 0] = 3
    gy = rng.normal(size=y.shape).astype("float32")
    run(cuda_activations.glu_backward(gy, x, gx, inner))
    wide = x.astype(float)
    close(gx, gate.backward(gy.astype(float), None, wide, np.empty_like(wide)))


def judged(rng):
    """Name: loss, predictions, targets, whether past the last activation."""
    logits = (3 * rng.normal(size=(ROWS, COLUMNS))).astype("float32")
    p = activations.softmax(logits)
    p[1] = 0
    p[1, 4] = 1  # a certain one
    one_hot = np.eye(COLUMNS, dtype="float32")[rng.integers(0, COLUMNS, ROWS)]
    mixed = activations.softmax(rng.normal(size=(ROWS, COLUMNS)).astype("float32"))
    labels = one_hot.argmax(-1)
    bits = (rng.random((ROWS, COLUMNS)) < 0.5).astype("float32")
    values = (2 * rng.normal(size=(ROWS, COLUMNS))).astype("float32")
    return {
        "sparse": (losses.SparseCategoricalCrossentropy(), p, labels, False),
        "sparse fused": (losses.SparseCategoricalCrossentropy(), p, labels, True),
        "sparse logits": (losses.SparseCategoricalCrossentropy(True), logits, labels, False),
        "ignore": (losses.SparseCategoricalCrossentropy(ignore_class=labels[0]), p, labels, False),
        "categorical": (losses.CategoricalCrossentropy(), 2 * p, mixed, False),
        "one-hot": (losses.CategoricalCrossentropy(label_smoothing=0.1), p, one_hot, False),
        "categorical fused": (losses.CategoricalCrossentropy(), p, mixed, True),
        "categorical logits": (losses.CategoricalCrossentropy(True), logits, mixed, False),
        "categorical hinge": (losses.CategoricalHinge(), logits, one_hot, False),
        "cosine": (losses.CosineSimilarity(), values, logits, False),
        "binary": (losses.BinaryCrossentropy(), activations.sigmoid(3 * logits), bits, False),
        "binary fused": (losses.BinaryCrossentropy(), activations.sigmoid(logits), bits, True),
        "binary logits": (losses.BinaryCrossentropy(True, 0.2), logits, bits, False),
        "squared": (losses.MeanSquaredError(), values, logits, False),
        "absolute": (losses.MeanAbsoluteError(), values, logits, False),
        "huber": (losses.Huber(0.7), values, logits, False),
        "log cosh": (losses.LogCosh(), values, logits, False),
        "poisson": (losses.Poisson(), np.abs(values) + np.float32(0.1), np.abs(logits), False),
        "hinge": (losses.Hinge(), values, bits, False),
        "squared hinge": (losses.SquaredHinge(), values, bits, False),
        "percentage": (losses.MeanAbsolutePercentageError(), values, logits, False),
        "logarithmic": (losses.MeanSquaredLogarithmicError(), values, logits, False),
        "kl": (losses.KLDivergence(), p, mixed, False),
    }


@pytest.mark.parametrize("name", judged(np.random.default_rng(0)))
def test_a_loss_its_gradient_and_its_sum(name, rng):
    loss, y_pred, y_true, fused = judged(rng)[name]
    weights = rng.random(ROWS).astype("float32")
    both = loss.value_and_logits_gradient if fused else loss.value_and_gradient
    value, expected = both(y_true, y_pred, weights)
    judge = judge_of_loss(loss)
    target, columns = judge.targets(y_true, y_pred)
    factors = np.ascontiguousarray(loss.factors(np.zeros(ROWS, "float32"), loss.mask(y_true), weights), "float32")
    values, gradient = np.full(ROWS, np.nan, "float32"), np.full_like(y_pred, np.nan)
    totals, row = np.zeros((3, 2), "float32"), np.array([1], "float32")
    target = np.ascontiguousarray(target, "float32")
    given = {"columns": columns, "labels": judge.labels, "fused": fused, "parameter": judge.parameter}
    run(cuda_losses.loss(judge.kind, y_pred, target, factors, values, gradient, **given))
    run(cuda_losses.weighted_sum(values, factors, totals, row, 1))
    counts = factors != 0
    close(values[counts], loss.per_sample(y_true, y_pred)[counts])
    close(gradient, expected, rtol=2e-5)
    close(totals, [[0, 0], [0, value], [0, 0]])


def test_every_loss_is_judged_but_these():
    others = {cls.__name__ for cls in losses._CLASSES if judge_of_loss(losses.get(cls.__name__)) is None}
    assert others == {
        "BinaryFocalCrossentropy",
        "CategoricalFocalCrossentropy",
        "CategoricalGeneralizedCrossEntropy",
        "Dice",
        "Tversky",
    }
    assert judge_of_loss(losses.CategoricalCrossentropy(axis=1)) is None


METRICS = [
    metrics.CategoricalAccuracy(),
    metrics.SparseCategoricalAccuracy(),
    metrics.TopKCategoricalAccuracy(),
    metrics.TopKCategoricalAccuracy(k=3),
    metrics.SparseTopKCategoricalAccuracy(k=2),
    metrics.BinaryAccuracy(threshold=0.3),
    metrics.BinaryAccuracy(),
    metrics.Accuracy(),
    metrics.RootMeanSquaredError(),
    metrics.MeanAbsoluteError(),
    metrics.get(losses.Huber(0.5)),
    metrics.get("poisson"),
]


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_a_metric(metric, rng):
    y_pred = (np.round(4 * rng.normal(size=(ROWS, COLUMNS))) / 2).astype("float32")  # with equal ones
    y_pred[0, [5, 30]] = np.nan
    y_pred[2], y_pred[3] = 0, -np.inf
    if metric.name in ("poisson", "mean_absolute_error", "root_mean_squared_error", "huber_loss"):
        y_pred = np.abs(rng.normal(size=(ROWS, COLUMNS))).astype("float32")
    y_true = np.where(rng.random((ROWS, COLUMNS)) < 0.7, y_pred, (rng.random((ROWS, COLUMNS)) < 0.5)).astype("float32")
    judge = judge_of_metric(metric)
    if judge.labels:
        y_true = rng.integers(0, COLUMNS, ROWS)
        y_true[5:] = np.nanargmax(y_pred, -1)[5:]
    target, columns = judge.targets(y_true, y_pred)
    values = np.full(ROWS, np.nan, "float32")
    target, unused = np.ascontiguousarray(target, "float32"), np.zeros(ROWS, "float32")
    given = {"columns": columns, "labels": judge.labels, "parameter": judge.parameter}
    run(cuda_losses.loss(judge.kind, y_pred, target, unused, values, **given))
    expected = np.asarray(metric.fn(y_true, y_pred, **metric.options), float)
    close(values, expected.reshape(ROWS, -1).mean(-1))
    assert 0 < np.mean(values) and (metric.name in ("poisson", "huber_loss") or np.std(values) > 0)


def test_metrics_of_the_users_own_are_not_judged():
    assert judge_of_metric(metrics.get(lambda y_true, y_pred: y_true)) is None
    assert judge_of_metric(metrics.Mean()) is None


@pytest.mark.parametrize("key", [0, 5, 0xDEADBEEFCAFEBABE])
@pytest.mark.parametrize("count", [1, 101, 256, 1000])
def test_dropout_draws_what_the_cpu_draws(count, key):
    for call in (0, 7, 70000, 2**31 + 5):
        expected = np.empty(count, "float32")
        cpu_dropout.draw(expected, key, call, 0.3)
        x = np.arange(1, count + 1, dtype="float32")
        halves = np.array([call & 0xFFFF, call >> 16], "float32")
        y = np.empty_like(x)
        run(cuda_dropout.dropout(x, y, key, halves, 0.3))
        close(y, x * expected, atol=0)


def test_random_numbers_are_philoxs():
    """Against the published test vector of ten rounds, and a second implementation."""

    def rounds(a, c, k0, k1):
        b = d = 0
        for _ in range(10):
            low, high = 0xD2511F53 * a, 0xCD9E8D57 * c
            a, b, c, d = high >> 32 ^ b ^ k0, high & 0xFFFFFFFF, low >> 32 ^ d ^ k1, low & 0xFFFFFFFF
            k0, k1 = k0 + 0x9E3779B9 & 0xFFFFFFFF, k1 + 0xBB67AE85 & 0xFFFFFFFF
        return a, b, c, d

    assert rounds(0, 0, 0, 0) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    mask = np.empty(512, "float64")
    cpu_dropout.draw(mask, 5 << 32 | 3, 9, 0.25)
    drawn = [rounds(64 * (i // 256) + i % 64, 9, 3, 5)[i % 256 // 64] for i in range(512)]
    np.testing.assert_array_equal(mask > 0, [(bits >> 8) * 2.0**-24 >= 0.25 for bits in drawn])
    assert set(mask) == {0, 1 / 0.75}


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(0.1),
        SGD(0.1, momentum=0.9),
        SGD(0.1, momentum=0.9, nesterov=True),
        Adam(0.1),
        Adam(0.1, amsgrad=True),
        RMSprop(0.1),
        RMSprop(0.1, momentum=0.5, centered=True),
        Adagrad(0.1),
        Adadelta(0.1),
        Adamax(0.1),
        Ftrl(0.1, l1_regularization_strength=0.02, l2_regularization_strength=0.1, beta=0.2),
        Ftrl(0.1, learning_rate_power=-0.7, l2_shrinkage_regularization_strength=0.1),
        Lion(0.1),
        Nadam(0.1),
        SGD(0.1, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=2),
        Nadam(0.1, gradient_accumulation_steps=2, use_ema=True, clipvalue=0.5, weight_decay=0.1),
    ],
    ids=lambda o: "-".join(f"{key}" for key in (o.name, o.get_config().get("momentum"), o.get_config().get("amsgrad"))),
)
def test_an_update(optimizer, rng):
    from fastconv.gpu import updates
    from fastconv.gpu.memory import Memory
    from fastconv.gpu.parameters import Parameters
    from fastconv.gpu.program import Recorder

    start = rng.normal(size=300).astype("float32")
    with cuda.launched_by(lambda launch: None):
        memory = Memory()
    other = type(optimizer).from_config(optimizer.get_config())
    theirs, ours = Variable(start.copy()), Variable(start.copy())
    optimizer.build([theirs])
    other.build([ours])
    updates.check(other, [ours])
    parameters = Parameters(memory, [ours], [], updates.state_of(other, [ours]))
    parameters.push()
    rates, programs = np.zeros(updates.NUMBERS, "float32"), []
    for collects in (False, True):
        recorder = Recorder(memory)
        updates.record(recorder, other, parameters, rates, collects)
        programs.append(recorder.program())
    for _ in range(4):
        gradient = rng.normal(size=300).astype("float32")
        optimizer.apply([gradient], [theirs])
        parameters.gradient_of(ours)[...] = gradient
        rates[:] = updates.next_numbers(other)
        run(programs[other.only_collects].launches)
        parameters.changed()
        other.count_step()
    close(ours.value, theirs.value)
    for mine, expected in zip(other.variables, optimizer.variables, strict=True):
        close(mine.value, expected.value)


def test_pieces_of_an_update(rng):
    value, gradient = rng.normal(size=(2, 300)).astype("float32")
    value[:3] = 0, 1, -1
    start = value.copy()
    run(cuda_updates.decay(value, np.array([9, 0.25], "float32")))
    close(value, 0.75 * start)
    clipped = gradient.copy()
    run(cuda_updates.clip(clipped, 0.5))
    close(clipped, np.clip(gradient, -0.5, 0.5))


MODULES = ["cuda_activations", "cuda_batch_norm", "cuda_losses", "cuda_strided", "cuda_update_variants"]
MODULES += ["cuda_affine", "cuda_normal", "cuda_sample_norm"]
if os.environ.get("FASTCONV_TEST_EVERYTHING"):  # those that take fewer registers, too
    MODULES += ["cuda_clipping", "cuda_constraints", "cuda_dropout", "cuda_global_max"]
    MODULES += ["cuda_penalties", "cuda_prelu", "cuda_resample", "cuda_softmax", "cuda_tone"]
    MODULES += ["cuda_units", "cuda_updates"]


@pytest.mark.parametrize("module", MODULES)
def test_compiled_without_spills_and_without_float64(module):
    inspecting = pytest.importorskip("fastconv.inspecting.compile")
    from fastconv.inspecting.architectures import find

    found = vars(importlib.import_module(f"fastconv.kernels.{module}")).values()
    kernels = [value for value in found if isinstance(value, cuda.CudaKernel)]
    assert kernels
    for kernel in kernels:
        try:
            compiled = inspecting.compile_kernel(kernel, find("sm_90"))
        except inspecting.ToolkitError as error:
            pytest.skip(str(error))
        assert compiled.resources.spill_bytes == compiled.resources.stack_bytes == 0
        assert compiled.resources.registers <= 40
        assert not [
            i.text for i in compiled.instructions if i.text.startswith(("DADD", "DMUL", "DFMA", "DSETP", "F2F.F64"))
        ]
