"""autotune: measured choices, remembered on disk and heeded by "auto"."""

import json
import subprocess
import sys

import numpy as np
import pytest

import fastconv
from fastconv import autotuning, config, kernels, layers
from fastconv.models import Sequential
from fastconv.ops import dispatch

PROBLEM = kernels.Conv2DProblem.parse("N=3 H=9 W=8 C=17 K=18 R=3 S=3")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCONV_AUTOTUNE_DIR", str(tmp_path / "autotune"))
    monkeypatch.setattr("fastconv.autotuning._REST_S", 0)
    dispatch.forget_choices()
    yield tmp_path / "autotune"
    dispatch.forget_choices()


def remember(kernel_names, op="conv2d", problem=PROBLEM):
    seconds = {name: 0.001 * (i + 1) for i, name in enumerate(kernel_names)}
    autotuning._remember(autotuning.Choice(op, problem, seconds, kernel_names[-1]))
    dispatch.forget_choices()


def test_a_model_is_measured_and_left_as_it_was(own_folder):
    model = Sequential(
        [layers.Conv2D(18, 3, activation="relu", input_shape=(9, 8, 17)), layers.MaxPooling2D(), layers.Flatten()]
    )
    before = [weight.copy() for weight in model.get_weights()]
    lines = []
    choices = fastconv.autotune(model, batch_size=3, seconds=0.01, print_fn=lines.append)
    assert [choice.op for choice in choices] == [
        "conv2d",
        "max_pool2d",
        "max_pool2d_backward",
        "conv2d_backward_filter",
    ]
    assert len(lines) == 4 and all(choice.kernel in line for choice, line in zip(choices, lines, strict=True))
    for choice in choices:
        assert list(choice.seconds.values()) == sorted(choice.seconds.values())
        assert dispatch.kernel_for(choice.op, choice.problem).name == choice.kernel
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    assert len(list(own_folder.rglob("*.json"))) == 4 and not list(own_folder.rglob("*.new"))


def test_only_inference():
    model = Sequential([layers.Dense(4, input_shape=(5,))])
    assert [choice.op for choice in fastconv.autotune(model, 2, False, 0.01, None)] == ["conv2d"]


def test_problems():
    pool = kernels.Pool2DProblem.parse("N=1 H=4 W=4 C=2 R=2 S=2 stride=2")
    work = autotuning._work_of([pool, PROBLEM, pool], 32, True)
    assert work == [(op, problem) for problem in (pool, PROBLEM) for op in autotuning._OPS[type(problem)]]


def test_auto_takes_what_was_remembered():
    remember(["cpu_im2col", "cpu_winograd", "cpu_direct"])
    assert dispatch.kernel_for("conv2d", PROBLEM).name == "cpu_im2col"
    assert dispatch.kernel_for("conv2d", PROBLEM, "cpu_direct").name == "cpu_direct"
    other = kernels.Conv2DProblem.parse("N=4 H=9 W=8 C=17 K=18 R=3 S=3")
    assert dispatch.kernel_for("conv2d", other).name != "cpu_im2col"


def test_winograd_stays_forbidden():
    remember(["cpu_winograd", "cpu_im2col", "cpu_direct"])
    assert dispatch.kernel_for("conv2d", PROBLEM).name == "cpu_winograd"
    config.set_winograd(False)
    try:
        assert dispatch.kernel_for("conv2d", PROBLEM).name == "cpu_im2col"
    finally:
        config.set_winograd(True)


def test_a_broken_file_is_as_good_as_none():
    remember(["cpu_im2col", "cpu_direct"])
    autotuning._place("conv2d", PROBLEM).write_text("{")
    dispatch.forget_choices()
    assert dispatch.kernel_for("conv2d", PROBLEM).name == kernels.choose("conv2d", PROBLEM).name


_WRITES = """
import sys
from fastconv import autotuning, kernels
problem = kernels.Conv2DProblem.parse(sys.argv[1])
for _ in range(200):
    autotuning._remember(autotuning.Choice("conv2d", problem, {sys.argv[2]: 0.001}, sys.argv[2]))
"""


def test_two_processes_at_once():
    names = ("cpu_direct", "cpu_im2col")
    writers = [subprocess.Popen([sys.executable, "-c", _WRITES, str(PROBLEM), name]) for name in names]
    place, seen = autotuning._place("conv2d", PROBLEM), 0
    while any(writer.poll() is None for writer in writers):
        if place.exists():
            assert json.loads(place.read_text())["kernels"][0] in names
            seen += 1
    assert seen and [writer.wait() for writer in writers] == [0, 0]


def test_refuses_what_it_cannot_measure():
    with pytest.raises(TypeError, match="target must"):
        fastconv.autotune("mnist")
    with pytest.raises(TypeError, match="such as kernels.Conv2DProblem"):
        fastconv.autotune([3])
    with pytest.raises(ValueError, match="does not know"):
        fastconv.autotune(Sequential([layers.Dense(4)]))
