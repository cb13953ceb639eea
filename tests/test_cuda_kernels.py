"""CUDA kernels without a GPU: run by our simulator and by Numba's against the reference, and their launches as data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cuda_cases import PLANTED, cuda_kernels, shapes
from lab import simulate_launch

from fastconv.kernels import cuda, registry
from fastconv.testing import Mismatch, SimulationError, check_kernel

HERE = Path(__file__).parent
CASES = [f"{kernel.op}-{kernel.name}-{name}" for kernel in cuda_kernels() for name in shapes(kernel.op)]


def check_in_simulator(kernel, problem, only=None):
    """`check_kernel` with every launch simulated; a race, a wrong index and the like fail, too."""

    with cuda.launched_by(simulate_launch):
        check_kernel(kernel, problem, only=only)


@pytest.mark.parametrize("kernel", cuda_kernels(), ids=lambda kernel: f"{kernel.op}-{kernel.name}")
def test_clean_and_right_in_the_simulator(kernel):
    supported = [problem for problem in shapes(kernel.op).values() if kernel.unsupported(problem) is None]
    assert supported
    for problem in supported:
        check_in_simulator(kernel, problem)


@pytest.mark.parametrize("index", range(len(PLANTED)), ids=lambda i: f"{PLANTED[i].op}-{PLANTED[i].kernel}-{i}")
@pytest.mark.usefixtures("forget_user_kernels")
def test_a_planted_fault_is_found_in_the_simulator(index, tmp_path):
    planted = PLANTED[index]
    kernel = registry.load(planted.op, planted.write(tmp_path, index))
    with pytest.raises((Mismatch, SimulationError)):
        for problem in shapes(planted.op).values():
            if kernel.unsupported(problem) is None:
                check_in_simulator(kernel, problem, planted.checks)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """What came of every case in Numba's simulator, by id."""
    command = [sys.executable, "-W", "error", HERE / "cudasim_worker.py", tmp_path_factory.mktemp("planted")]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    shown = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert shown.returncode == 0, shown.stderr
    return {found["id"]: found for found in map(json.loads, shown.stdout.splitlines())}


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_reference_in_numbas_simulator(simulated, case):
    found = simulated[case]
    if found["check"] == "unsupported":
        pytest.skip(found["message"])
    assert found["check"] is None, found["message"]


@pytest.mark.parametrize("index", range(len(PLANTED)), ids=lambda i: f"{PLANTED[i].op}-{PLANTED[i].kernel}-{i}")
def test_a_planted_fault_is_found(simulated, index):
    found = simulated[f"planted-{index}"]
    if found["check"] == "unsupported":
        pytest.skip(found["message"])
    assert found["check"] in (*PLANTED[index].checks, "error"), found["message"] or "it was not found"
