"""The kernels on vectors of other widths: AVX2, which an AVX-512 machine runs, and Arm, for which they are compiled."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastconv.kernels import cpu_normal

_AARCH64 = """
import re
import llvmlite.binding as llvm
import numpy as np
from fastconv.kernels import cpu_limits

arrays = [np.zeros(shape, "float32") for shape in cpu_limits.fma_shapes(1, "float32")]
cpu_limits.fma(*arrays, 1)
(compiled,) = cpu_limits._fma_thread.overloads.values()
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
triple = "aarch64-unknown-linux-gnu"
machine = llvm.Target.from_triple(triple).create_target_machine(cpu="neoverse-n1", opt=3)
code = compiled.library.get_llvm_str()
code = re.sub('target triple = "[^"]*"', f'target triple = "{triple}"', code)
code = re.sub('target datalayout = "[^"]*"', f'target datalayout = "{machine.target_data}"', code)
print(machine.emit_assembly(llvm.parse_assembly(code)))
"""


def run(cpu, cache, *command):
    environment = {**os.environ, "NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_avx2(tmp_path):
    from fastconv.machine import cpu_features

    if "avx2" not in cpu_features():
        pytest.skip("this processor has no AVX2")
    tests = str(Path(__file__).parent / "test_kernels.py")
    names = "winograd or depthwise or grouped or patches or stream or cpu_direct or cpu_few"
    chosen = f"conv2d and ({names}) and (ragged or groups or K_65 or C_17 or matrix or float64 or Q_13)"
    environment = ["-m", "pytest", "-q", "-p", "no:cacheprovider", tests, "-k", chosen]
    assert " passed" in run("haswell", tmp_path, *environment)


_NORMAL = """
import numpy as np
from fastconv.kernels import cpu_normal

drawn = np.empty(1001, "float32")
cpu_normal.draw(drawn, 5, 7, 1.0, 0.0)
print(drawn.tobytes().hex())
"""


def test_normal_numbers_without_fused_multiply_adds_are_the_same(tmp_path):
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("it is about processors of Intel's kind")
    drawn = np.empty(1001, "float32")
    cpu_normal.draw(drawn, 5, 7, 1.0, 0.0)
    assert run("nehalem", tmp_path, "-c", _NORMAL).strip() == drawn.tobytes().hex()


def test_arm(tmp_path):
    code = run("generic", tmp_path, "-c", _AARCH64)
    loop = [line.strip() for line in code.splitlines() if line.strip().startswith("fmla")]
    assert len(loop) == 16, loop  # a tile of 8 x 2 vectors
    assert all(".4s" in line for line in loop)
    assert not [line for line in code.splitlines() if "\tq" in line and "[sp" in line and "d8" not in line], (
        "spilled sums"
    )
