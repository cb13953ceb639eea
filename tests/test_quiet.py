"""`time_quietly`: what is timed while something else runs is timed again, and what stays disturbed is said."""

import numpy as np
import pytest

from fastconv.bench import allocator, quiet
from fastconv.bench.limits import Limits, reference_call
from fastconv.bench.timing import Timing

LIMITS = Limits("cpu", 1, {"float32": 50.0, "float64": 25.0}, {1 << 20: 40.0, 1 << 28: 10.0})


@pytest.fixture
def tries(monkeypatch):
    """Tries in which the reference takes 1 / share of its least time; contestants take as many seconds as the try."""
    shares, done = [], []

    def in_turn(contestants, seconds, on_sample, measure=None):
        share = shares[len(done)]
        done.append(list(contestants))
        return {name: Timing(*[2.0 / share if name == "" else float(len(done))] * 3, 9) for name in contestants}

    monkeypatch.setattr(quiet, "reference_call", lambda limits: (lambda: None, 2.0))
    monkeypatch.setattr(quiet, "time_in_turn", in_turn)
    return shares, done


@pytest.mark.parametrize(
    "shares, expected_tries, reached",
    [([0.97], 1, 0.97), ([0.7, 0.96], 2, 0.96), ([0.7, 0.9, 0.8], 2, 0.9), ([0.9, 0.7, 0.6], 1, 0.9)],
)
def test_the_quietest_try_counts(tries, shares, expected_tries, reached):
    tries[0][:] = shares
    timings, share = quiet.time_quietly({"a": lambda: None}, LIMITS, 1.0)
    assert timings == {"a": Timing(*[float(expected_tries)] * 3, 9)}
    assert share == pytest.approx(reached)
    assert tries[1] == [["a", ""]] * len(shares)


def test_contestants_have_their_own_clock_and_the_reference_another(monkeypatch):
    def in_turn(contestants, seconds, on_sample, measure):
        return {name: Timing(*[measure(call, 3) / 3] * 3, 9) for name, call in contestants.items()}

    monkeypatch.setattr(quiet, "time_in_turn", in_turn)
    timings, share = quiet.time_quietly({"a": lambda: None}, LIMITS, 1.0, measure=lambda call, count: 7.0 * count)
    assert timings["a"].median_s == 7.0 and 0 < share < 1000


def test_a_gpu_has_no_reference(monkeypatch):
    given = {}
    monkeypatch.setattr(quiet, "time_in_turn", lambda *args, **options: given.update(options) or {})
    gpu = Limits("gpu", 0, {"float32": 1.0}, {1 << 28: 1.0})
    assert quiet.time_quietly({"a": lambda: None}, gpu, 1.0, measure="its own") == ({}, None)
    assert given == {"measure": "its own", "on_device": True}


def test_without_contestants_nothing_is_waited_for():
    assert quiet.time_quietly({}, LIMITS, 1.0) == ({}, None)


def test_the_reference_does_what_is_counted():
    call, least = reference_call(LIMITS)
    assert call() is None
    assert 0.2e-3 < least < 5e-3


def test_kept_memory_changes_no_result():
    allocator.keep_freed_memory()
    assert np.ones(1 << 22).sum() == 1 << 22
    assert set(allocator.ENVIRONMENT) == {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"}


def test_what_is_said():
    assert quiet.busy("conv2d a", 71.6) == (
        "conv2d a: the machine was busy with something else, too: the reference reached 72% of the limits"
    )
