"""Kernels compiled by a second process while this one compiles others: the first step of a new installation.

Numba compiles one function at a time in a process, which takes as long for a small network as hundreds of its steps.
The second process begins with what the step needs last, writes into the same cache and ends; whoever of the two comes
to a kernel that the other has compiled reads it from there. Where it cannot run, nothing is lost.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastconv import kernels
from fastconv.layers.pooling import Pooling
from fastconv.layers.weighted import KernelLayer
from fastconv.models.backward_plan import BackwardPlan
from fastconv.models.fusing import ConvPool
from fastconv.ops.dispatch import kernel_for


def compile_ahead(plan: BackwardPlan, shapes: Sequence[tuple[int, ...]]) -> threading.Thread | None:
    """Start the second process if no kernel has been compiled here yet, and there is a second core.

    Args:
        plan: of the model, on the CPU.
        shapes: of its inputs.

    Returns:
        The thread that waits for it, if it was started.
    """
    from fastconv.kernels.cpu_jit import cache_folder

    alone = (os.cpu_count() or 1) < 2 or not sys.executable or getattr(sys, "frozen", False)
    if alone or next(cache_folder().rglob("*.nbi"), None) is not None:
        return None
    work: dict[tuple[str, str, str], None] = {}
    for op, problem in _work(plan, shapes):
        work[op, kernel_for(op, problem).name, str(replace(problem, N=1))] = None
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "fastconv.ahead"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "NUMBA_NUM_THREADS": "1", "NUMBA_CACHE_DIR": str(cache_folder().parent)},
            text=True,
        )
    except OSError:
        return None
    waiting = threading.Thread(target=process.communicate, args=(json.dumps(list(work)[::-1]),), daemon=True)
    waiting.start()
    return waiting


def _work(plan: BackwardPlan, shapes: Sequence[tuple[int, ...]]) -> Iterator[tuple[str, Any]]:
    """(op, problem) of the kernels that a step needs, in their order."""
    places = plan.forward.shapes(shapes)
    backward = {id(step.layer): step for step in plan.steps}
    back: list[tuple[str, Any]] = []
    for _, layer, source, _ in plan.calls:
        if isinstance(layer, ConvPool):
            ops = layer.ops(places[source])
        elif isinstance(layer, KernelLayer):
            problem = layer.as_problem(places[source])
            ops = [(op, problem) for op in ("conv2d", "conv2d_backward_filter", "conv2d_backward_data")]
        elif isinstance(layer, Pooling):
            problem = layer.as_problem(places[source])
            ops = [(layer.op, problem), (f"{layer.op}_backward", problem)]
        else:
            continue
        yield from (entry for entry in ops if "backward" not in entry[0])
        step = backward.get(id(layer))
        if step is not None:
            unneeded = () if step.need_input_grad else ("conv2d_backward_data",)
            back = [entry for entry in ops if "backward" in entry[0] and entry[0] not in unneeded] + back
    yield from back


def main() -> None:
    """Compile what stands on the standard input, by running it on zeros."""
    from fastconv.testing.kernel_cases import empty_arrays

    for op, name, text in json.load(sys.stdin):
        kernel, problem = kernels.get(op, name), kernels.problem_type(op).parse(text)
        arrays = [np.zeros_like(array) for array in empty_arrays(op, problem)]
        kernel(problem, *arrays, workspace=np.zeros(kernel.workspace_bytes(problem) + 64, np.uint8))


if __name__ == "__main__":
    main()
