"""The second process that compiles: when it is started, what it is given, and that it can do it."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import fastconv as keras
from fastconv import ahead, kernels, layers
from fastconv.kernels import cpu_jit

OPS = [  # of a step, forward and backward
    "conv2d_max_pool2d",
    "conv2d",
    "max_pool2d",
    "conv2d",
    "conv2d_backward_filter",
    "conv2d_backward_data",
    "max_pool2d_backward",
    "conv2d_backward_filter",
    "conv2d_backward_data",
    "conv2d_max_pool2d_backward_filter",
]


def model():
    parts = [layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D(), layers.Conv2D(17, 2), layers.MaxPooling2D()]
    made = keras.Sequential([layers.Input((13, 14, 1)), *parts, layers.Flatten(), layers.Dense(3)])
    made.compile("sgd", "mse")
    return made


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The cache is empty; what a process would be started with."""
    found = []

    class Process:
        def __init__(self, command, **options):
            found.append([command, options])

        def communicate(self, text):
            found[-1].append(text)

    monkeypatch.setattr(cpu_jit, "cache_folder", lambda: tmp_path / "numba" / "0123")
    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    return found


def test_the_first_step_starts_it_with_what_comes_last_first(started, tmp_path):
    this, x = model(), np.ones((4, 13, 14, 1), "float32")
    this.train_on_batch(x, np.ones((4, 3)))
    this.train_on_batch(x, np.ones((4, 3)))
    ((command, options, text),) = started
    assert command == [sys.executable, "-m", "fastconv.ahead"]
    assert options["env"]["NUMBA_CACHE_DIR"] == str(tmp_path / "numba")
    work = json.loads(text)
    expected = list(reversed(OPS))
    assert [op for op, _, _ in work] == expected
    for op, name, problem in work:
        assert kernels.get(op, name).unsupported(kernels.problem_type(op).parse(problem)) is None
        assert problem.startswith("N=1 ")


def test_it_is_not_started_where_kernels_are_there_or_no_core_is_left(started, tmp_path, monkeypatch):
    plan, shapes = model().backward_plan.fused, [(4, 13, 14, 1)]
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert ahead.compile_ahead(plan, shapes) is None
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    (tmp_path / "numba" / "0123" / "kernels").mkdir(parents=True)
    (tmp_path / "numba" / "0123" / "kernels" / "some.nbi").touch()
    assert ahead.compile_ahead(plan, shapes) is None and not started


def test_a_system_that_starts_no_process_is_all_right(started, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("no more processes")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert ahead.compile_ahead(model().backward_plan.fused, [(4, 13, 14, 1)]) is None


def test_what_it_is_given_is_run(monkeypatch):
    work = [
        ["max_pool2d", "cpu_direct", "N=1 H=4 W=5 C=2 R=2 S=2"],
        ["conv2d", "reference", "N=1 H=1 W=1 C=2 R=1 S=1 K=3"],
    ]
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(work)))
    ran, call = [], kernels.Kernel.__call__

    def note(self, problem, *arrays, **options):
        ran.append([self.op, self.name, str(problem)])
        call(self, problem, *arrays, **options)

    monkeypatch.setattr(kernels.Kernel, "__call__", note)
    ahead.main()
    assert ran == work
