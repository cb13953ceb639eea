"""Runs CUDA kernels in Numba's simulator, which must be switched on before numba.cuda is imported: hence a program.

    NUMBA_ENABLE_CUDASIM=1 python cudasim_worker.py FOLDER

FOLDER is for the faulty kernels' files. Prints a line of JSON for each check: its id, what failed or null, a message.
"""

import json
import math
import os
import sys
from pathlib import Path

import numpy as np
from cuda_cases import PLANTED, cuda_kernels, shapes

from fastconv.kernels import registry
from fastconv.kernels.cuda import Launch
from fastconv.testing import KernelMismatch, check_kernel
from fastconv.testing.kernel_cases import empty_arrays

EVERYTHING = bool(os.environ.get("FASTCONV_TEST_EVERYTHING"))  # takes several times as long
SHAPES = 4  # of a kernel, else
LONG = 512  # threads: with barriers each takes Numba's simulator a millisecond or two
TOO_LONG = 4096  # unless it is the least that a kernel has
NOT_NOW = "unsupported", "Numba's simulator takes long: set FASTCONV_TEST_EVERYTHING=1"


def threads(kernel, problem):
    """How many threads the kernel's launches have."""
    workspace = np.empty(kernel.workspace_bytes(problem), np.uint8)
    launches = kernel.run(problem, *empty_arrays(kernel.op, problem), workspace)
    return sum(math.prod(launch.grid + launch.block) for launch in launches if isinstance(launch, Launch))


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


def chosen(kernel, number):
    """The shapes to run a kernel on; with the others' all shapes have their turn. `number`: the kernel's."""
    supported = {name: p for name, p in shapes(kernel.op).items() if kernel.unsupported(p) is None}
    length = {name: threads(kernel, problem) for name, problem in supported.items()}
    if EVERYTHING:
        return length
    least = min((count for count in length.values() if count), default=0)
    names = [name for name, count in length.items() if count <= max(TOO_LONG, least)]
    places = {0} | {(number + i * len(names) // SHAPES) % len(names) for i in range(1, SHAPES)}
    return {name: length[name] for place, name in enumerate(names) if place in places}


for number, kernel in enumerate(cuda_kernels()):
    length = chosen(kernel, number)
    for name, problem in shapes(kernel.op).items():
        if name in length or kernel.unsupported(problem) is not None:
            only = None if name == "plain" or length.get(name, 0) < LONG else ("integers",)
            found = outcome(kernel, problem, only)
        else:
            found = NOT_NOW
        report(f"{kernel.op}-{kernel.name}-{name}", found)

tried = set()
for index, planted in enumerate(PLANTED):
    if EVERYTHING or (planted.op, planted.kernel) not in tried:
        kernel = registry.load(planted.op, planted.write(Path(sys.argv[1]), index))
        checks = ("integers", *planted.checks)
        outcomes = (outcome(kernel, problem, checks) for problem in shapes(planted.op).values())
        found = next((found for found in outcomes if found[0] not in (None, "unsupported")), (None, ""))
    else:
        found = NOT_NOW
    tried.add((planted.op, planted.kernel))
    report(f"planted-{index}", found)
