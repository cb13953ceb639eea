"""`Sequential.profile`: what it prints and counts, and that it changes nothing."""

import re

import numpy as np
import pytest

import fastconv as keras
from fastconv import kernels, random
from fastconv.bench import profile as profile_module
from fastconv.bench.compare import cost
from fastconv.bench.limits import Limits
from fastconv.layers import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D
from fastconv.ops import dispatch

LIMITS = Limits("cpu", 2, {"float32": 100.0, "float64": 50.0}, {1 << 20: 200.0, 1 << 28: 20.0})


@pytest.fixture(autouse=True)
def limits(monkeypatch):
    monkeypatch.setattr(profile_module, "measured", lambda: LIMITS)


def small(**compiled):
    model = keras.Sequential(
        [
            Input((9, 8, 2)),
            Conv2D(4, 3, activation="relu", name="conv"),
            MaxPooling2D(2, name="pool"),
            Flatten(name="flat"),
            Dropout(0.5, name="drop"),
            Dense(3, activation="softmax", name="dense"),
        ]
    )
    if compiled:
        model.compile(**compiled)
    return model


def batch(count=5):
    return np.random.default_rng(1).standard_normal((count, 9, 8, 2)).astype("float32")


def profiled(model, x, **options):
    texts = []
    found = model.profile(x, seconds=0.01, print_fn=texts.append, **options)
    (text,) = texts
    assert text == found.text()
    return found, text


def test_a_training_step_layer_by_layer():
    found, text = profiled(small(), batch())
    kernels_of = {}
    for row in found.rows:
        if row.op:
            kernels_of.setdefault(row.layer, []).append((row.op, row.kernel))
    assert kernels_of == {
        "conv + pool": [
            ("conv2d_max_pool2d", "cpu_few_channels"),
            ("conv2d_max_pool2d_backward_filter", "cpu_few_channels"),
        ],
        "dense": [
            ("conv2d", "cpu_direct"),
            ("conv2d_backward_filter", "cpu_direct"),
            ("conv2d_backward_data", "cpu_direct"),
        ],
    }
    assert "conv2d_backward_filter" in text and "conv + pool (ConvPool)" in text and "batch 5, 2 threads" in text
    assert found.steps >= 5 and found.seconds > 0
    # Medians of the parts are not the parts of the median.
    assert sum(row.seconds for row in found.rows) == pytest.approx(found.seconds, rel=0.5)


def test_inference_has_no_backward():
    found, text = profiled(small(), batch(), training=False)
    assert not any(row.backward for row in found.rows)
    assert [row.op for row in found.rows if row.op] == ["conv2d_max_pool2d", "conv2d"]
    assert "inference, batch 5" in text and "backward" not in text


def test_flops_bytes_and_the_limit_are_the_problems():
    found, text = profiled(small(), batch())
    row = next(row for row in found.rows if row.op == "conv2d_backward_filter" and row.layer == "dense")
    assert (row.flops, row.bytes) == cost(row.op, kernels.Conv2DProblem.parse("N=5 H=1 W=1 C=36 K=3 R=1 S=1"))
    assert (row.limit_s, row.bound) == LIMITS.least_seconds(row.flops, row.bytes)
    (line,) = [line for line in text.splitlines() if " conv2d_backward_filter " in line]
    shown = [float(cell) for cell in re.findall(r" ([\d.]+)(?= |$)", line)]
    expected = [
        1e3 * row.seconds,
        100 * row.seconds / found.seconds,
        row.flops / 1e6,
        row.bytes / 1e6,
        row.flops / row.seconds / 1e9,
        row.bytes / row.seconds / 1e9,
        100 * row.limit_s / row.seconds,
    ]
    assert shown == pytest.approx(expected, rel=0.05, abs=0.001)


def state(model):
    gradients = [None if w.gradient is None else w.gradient.copy() for w in model.weights]
    saved = [layer._saved for layer in model.layers]
    return model.get_weights(), gradients, saved, random.generator().bit_generator.state


def same(before, after):
    weights = all(np.array_equal(a, b) for a, b in zip(before[0], after[0], strict=True))
    gradients = all((a is None and b is None) or np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))
    return (
        weights
        and gradients
        and all(a is b for a, b in zip(before[2], after[2], strict=True))
        and before[3:] == after[3:]
    )


@pytest.mark.parametrize("trained", [True, False])
def test_nothing_changes(trained):
    model = small(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    y = keras.utils.to_categorical([0, 1, 2, 0, 1], 3)
    if trained:
        model.train_on_batch(batch(), y)
    before, metrics = state(model), [metric.result() for metric in model.metrics]
    profiled(model, batch())
    assert same(before, state(model))
    assert metrics == [metric.result() for metric in model.metrics]


def test_training_goes_on_with_the_same_bits():
    results = []
    for profiling in (False, True):
        keras.utils.set_random_seed(3)
        model = small(optimizer="adam", loss="categorical_crossentropy")
        y = keras.utils.to_categorical([0, 1, 2, 0, 1], 3)
        model.train_on_batch(batch(), y)
        if profiling:
            profiled(model, batch(7))
        model.train_on_batch(batch(), y)
        results.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


def test_a_frozen_layer_has_no_backward_of_its_weights():
    model = small()
    model.get_layer("conv").trainable = False
    found, _ = profiled(model, batch())
    assert [row.layer for row in found.rows if row.backward and row.op] == ["dense"]


def test_the_model_is_built_by_the_batch():
    model = keras.Sequential([Flatten(), Dense(2)])
    found, _ = profiled(model, batch())
    assert model.built and [row.kernel for row in found.rows if row.op] == ["cpu_direct"] * 2


@pytest.mark.parametrize(
    "x, message", [(np.zeros((0, 9, 8, 2)), "needs samples"), (np.zeros((2, 9, 9, 2)), "expects x of shape")]
)
def test_data_that_do_not_suit(x, message):
    with pytest.raises(ValueError, match=message):
        small().profile(x)


def test_kernels_run_unobserved_afterwards():
    profiled(small(), batch())
    assert dispatch._observer is None
