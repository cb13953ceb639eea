"""Runs CUDA kernels in Numba's simulator, which must be switched on before numba.cuda is imported: hence a program.

    NUMBA_ENABLE_CUDASIM=1 python cudasim_worker.py FOLDER

FOLDER is for the faulty kernels' files. Prints a line of JSON for each check: its id, what failed or null, a message.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
from cuda_cases import PLANTED, cuda_kernels, shapes

from fastconv.kernels import registry
from fastconv.testing import KernelMismatch, check_kernel
from fastconv.testing.kernel_cases import empty_arrays

LONG = 512  # threads: with barriers each takes Numba's simulator a millisecond or two


def threads(kernel, problem):
    """How many threads the kernel's launches have."""
    workspace = np.empty(kernel.workspace_bytes(problem), np.uint8)
    launches = kernel.run(problem, *empty_arrays(kernel.op, problem), workspace)
    return sum(math.prod(launch.grid + launch.block) for launch in launches)


def outcome(kernel, problem, only):
    """The check that failed and its message; (None, "") if all is well."""
    reason = kernel.unsupported(problem)
    if reason is not None:
        return "unsupported", reason
    try:
        check_kernel(kernel, problem, only=only)
    except KernelMismatch as mismatch:
        return mismatch.check, str(mismatch)
    except Exception as error:  # an index out of bounds, for one
        return "error", f"{type(error).__name__}: {error}"
    return None, ""


def report(name, found):
    print(json.dumps({"id": name, "check": found[0], "message": found[1]}), flush=True)


for kernel in cuda_kernels():
    for name, problem in shapes(kernel.op).items():
        all_checks = name == "plain" or threads(kernel, problem) < LONG
        report(f"{kernel.op}-{kernel.name}-{name}", outcome(kernel, problem, None if all_checks else ("integers",)))

for index, planted in enumerate(PLANTED):
    kernel = registry.load(planted.op, planted.write(Path(sys.argv[1]), index))
    checks = ("integers", *planted.checks)
    outcomes = (outcome(kernel, problem, checks) for problem in shapes(planted.op).values())
    report(f"planted-{index}", next((found for found in outcomes if found[0] not in (None, "unsupported")), (None, "")))
