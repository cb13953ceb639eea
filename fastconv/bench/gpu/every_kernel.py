"""Runs every GPU kernel once on every tiny shape: what compute-sanitizer watches.

python -m fastconv.bench.gpu.every_kernel. Arrays end where their memory ends: CuPy's pools are off, in which an access
out of bounds would meet other memory of the pool, and outputs begin unwritten. Results are compared, too.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from fastconv import kernels
from fastconv.bench.gpu import stand_in
from fastconv.kernels import Kernel
from fastconv.testing.comparison import difference, rough_difference
from fastconv.testing.kernel_cases import OPS, allowed, array_shape, float_case, magnitudes
from fastconv.testing.shapes import shapes_for

_DRY_SHAPES = 3  # of an op, in a dry run


def main() -> int:
    """Run all and print what failed; the exit code is 1 if anything did."""
    stand_in.take_the_gpus_place()
    cupy = importlib.import_module("cupy")
    cupy.cuda.set_allocator(None)
    cupy.cuda.set_pinned_memory_allocator(None)
    launched, wrong = 0, 0
    work = list(runs())
    for kernel, shape, problem in work:
        try:
            text = outcome(cupy, kernel, problem)
        except Exception as error:  # an access out of bounds ends everything that comes behind it
            text = f"{type(error).__name__}: {error}"
        launched += 1
        if text is not None:
            wrong += 1
            print(f"{kernel.op} {kernel.name} {shape}: {text}")
    print(f"launched {launched} of {len(work)} runs, {wrong} wrong")
    return int(wrong > 0)


def runs() -> list[tuple[Kernel, str, Any]]:
    """(kernel, name of the shape, problem) for all that a kernel supports."""
    found = []
    for op in kernels.ops():
        for kernel in kernels.variants(op, "gpu"):
            taken = list(shapes_for(op, "lab").items())[: _DRY_SHAPES if stand_in.wanted() else None]
            found += [(kernel, name, problem) for name, problem in taken if kernel.unsupported(problem) is None]
    return found


def outcome(cupy: Any, kernel: Kernel, problem: Any) -> str | None:
    """Run the kernel; what is wrong with its results, or None."""
    op, case = OPS[kernel.op], float_case(kernel.op, problem)
    inputs = {name: cupy.asarray(array) for name, array in case.inputs.items()}
    outputs = {name: cupy.empty(array_shape(name, problem), problem.dtype) for name in op.outputs}
    workspace = cupy.empty(kernel.workspace_bytes(problem), "uint8")
    arrays = [inputs[name] for name in op.inputs] + [outputs[name] for name in op.outputs]
    kernel(problem, *arrays, workspace=workspace)
    for name, expected in case.expected.items():
        got = cupy.asnumpy(outputs[name])
        if kernel.exact:
            text = difference(name, got, expected, allowed(case, kernel, problem, name))
        else:
            text = rough_difference(name, got, expected, magnitudes(kernel.op, problem, case.inputs)[name])
        if text is not None:
            return text
    return None


if __name__ == "__main__":
    sys.exit(main())
