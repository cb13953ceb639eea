"""Compiling: what is said, what is kept, and that the garbage collector is on again."""

import os
import subprocess
import sys

_POOL = """
import gc
import numpy as np
from fastconv import ops
assert ops.max_pool(np.ones((1, 4, 4, 1), "float32"), 2).all()
assert gc.isenabled()
"""


def run(folder, program):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300)


def test_said_once_and_kept(tmp_path):
    first, again = run(tmp_path, _POOL), run(tmp_path, _POOL)
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    assert first.stderr.count("compiling kernels, on the first run only") == 1
    assert str(tmp_path) in first.stderr
    assert "compiling" not in again.stderr


def test_a_failed_compilation_leaves_the_garbage_collector_on(tmp_path):
    failed = run(
        tmp_path,
        "import gc\n"
        "from fastconv.kernels.cpu_jit import cpu_jit\n"
        "@cpu_jit\n"
        "def wrong(x): return x.nothing\n"
        "try: wrong(1)\n"
        "except Exception: print(gc.isenabled())\n",
    )
    assert failed.stdout == "True\n", failed.stderr
