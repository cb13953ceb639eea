"""CUDA kernels without a GPU: run by Numba's simulator against the reference, and their launches as data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cuda_cases import PLANTED, cuda_kernels, shapes

HERE = Path(__file__).parent
CASES = [f"{kernel.op}-{kernel.name}-{name}" for kernel in cuda_kernels() for name in shapes(kernel.op)]


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
    assert found["check"] in (*PLANTED[index].checks, "error"), found["message"] or "it was not found"
