"""`check_kernel`: does a kernel keep the contract that kernels/README.md states?"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastconv.kernels import Kernel
from fastconv.testing.comparison import KernelMismatch, difference, rough_difference
from fastconv.testing.guarded import Guarded
from fastconv.testing.kernel_cases import OPS, Arrays, Case, allowed, array_shape, cases, magnitudes


def check_kernel(kernel: Kernel, problem: Any, seed: int = 0, only: Collection[str] | None = None) -> None:
    """Run `kernel` on `problem` with several kinds of data and compare it with the op's reference.

    A kernel for a GPU runs on one, on copies of the arrays; or where its launches are simulated
    (`fastconv.kernels.cuda.simulated`), on the arrays themselves.

    The checks, by the name that a failure carries as `check`:
        integers: small integers, where the result must be exact (max pooling: with ties).
        floats: random numbers (max pooling: without ties), within a bound of the rounding error: the number of terms of
            a sum times the dtype's unit times the sum of the terms' magnitudes.
        optional: without bias, or without its gradient.
        special values: NaN, and infinities for max pooling, come out where the reference has them.
        an epilogue's name: each of `kernel.fuses`, applied to exact results and to NaN.
        bounds: nothing is written beside the outputs and the workspace, nothing in them is left unwritten (they begin
            as NaN, and NaN fails the checks above), and inputs lie between NaN.
        inputs: they are left as they were.
        repeat: a second run, on one thread, gives the same bits; so it does on arrays that begin on a cache line, while
            those of the other checks begin one element after it.
        in place: so does one whose output is its input, where the kernel allows that.

    A kernel that is not `exact` need not be so on integers, and of special values it may make more NaN; but in all its
    results together the error must be below 1e-5 (float32) of their Frobenius norm, and each element's below 64 units
    of the largest sum of magnitudes.

    A kernel whose `precision` is "tf32" may be off on floats by 2**-10 of the sum of magnitudes more: each factor is
    rounded to 11 bits. On integers and special values it must be as exact as others.

    Args:
        kernel, problem: what to check, on what.
        seed: of the data.
        only: names of checks, where there is no time for all; "bounds" and "inputs" are part of each.

    Raises:
        KernelMismatch: a check failed; the message says where and how to repeat it.
        ValueError: the kernel does not support the problem.
    """
    reason = kernel.unsupported(problem)
    if reason is not None:
        raise ValueError(f"{kernel.op} {kernel.name} does not support {problem}: {reason}")
    run = _Run(kernel, problem, seed)
    for case in cases(kernel.op, problem, seed):
        if only is not None and case.check not in only:
            continue
        outputs = run.outputs(case)
        run.compare(case.check, case, outputs)
        if case.check == "floats" and (only is None or "repeat" in only):
            with _one_thread():
                again = run.outputs(case, aligned=True)
            for name, first in outputs.items():
                if first.tobytes() != again[name].tobytes():
                    run.fail("repeat", difference(name, again[name], first) or f"{name}: NaN or 0 with other bits")
            if kernel.in_place(problem):
                run.check_in_place(case, outputs)
        for name in kernel.fuses if case.check in ("integers", "special values") else ():
            if only is not None and name not in only:
                continue
            epilogue = OPS[kernel.op].epilogues[name]
            argument = epilogue.argument(problem, np.random.default_rng(seed))
            outputs = run.outputs(case, **{name: argument})
            run.compare(name, case, outputs, lambda made: epilogue.apply(made, argument, case.inputs))  # noqa: B023


class _Run:
    """Runs of one kernel on one problem."""

    def __init__(self, kernel: Kernel, problem: Any, seed: int) -> None:
        self.kernel, self.problem, self.seed = kernel, problem, seed

    def outputs(self, case: Case, aligned: bool = False, **epilogue: Any) -> Arrays:
        """The outputs for a case, once bounds and inputs are seen to be respected."""
        op, problem, dtype = OPS[self.kernel.op], self.problem, self.problem.dtype
        offset = 0 if aligned else None
        inputs = {name: Guarded.copy_of(array, offset) for name, array in case.inputs.items()}
        outputs = {name: Guarded(array_shape(name, problem), dtype, offset) for name in case.expected}
        workspace = Guarded((self.kernel.workspace_bytes(problem),), np.uint8, offset=0)
        every = inputs | outputs | {"workspace": workspace}
        on_gpu = self.kernel.device == "gpu" and not _simulated()
        arrays = {name: guarded.to_gpu() if on_gpu else guarded.array for name, guarded in every.items()}
        if on_gpu:
            epilogue = {
                name: Guarded.copy_of(value).to_gpu() if isinstance(value, np.ndarray) else value
                for name, value in epilogue.items()
            }
        passed = [arrays.get(name) for name in (*op.inputs, *op.outputs)]
        self.kernel(problem, *passed, workspace=arrays["workspace"], **epilogue)
        for name, guarded in every.items():
            if on_gpu:
                guarded.from_gpu()
            violation = guarded.violation()
            if violation is not None:
                self.fail("bounds", f"{name}: {violation}")
        for name, guarded in inputs.items():
            if guarded.array.tobytes() != case.inputs[name].tobytes():
                self.fail("inputs", f"the kernel changed its input {name}")
        return {name: guarded.array for name, guarded in outputs.items()}

    def check_in_place(self, case: Case, expected: Arrays) -> None:
        """The same output in the memory of the first input."""
        op = OPS[self.kernel.op]
        inputs = [case.inputs[name].copy() for name in op.inputs]
        workspace = np.empty(self.kernel.workspace_bytes(self.problem), np.uint8)
        self.kernel(self.problem, *inputs, inputs[0], workspace=workspace)
        if inputs[0].tobytes() != expected[op.outputs[0]].tobytes():
            self.fail("in place", difference(op.outputs[0], inputs[0], expected[op.outputs[0]]) or "other bits")

    def compare(self, check: str, case: Case, outputs: Arrays, epilogue: Any = lambda made: made) -> None:
        """Compare with the reference."""
        made = epilogue(case.expected)
        for name, got in outputs.items():
            expected = made[name].astype(self.problem.dtype)
            if self.kernel.exact:
                text = difference(name, got, expected, allowed(case, self.kernel, self.problem, name))
            else:
                sizes = magnitudes(self.kernel.op, self.problem, case.inputs)[name]
                text = rough_difference(name, got, expected, sizes, spreads=case.check == "special values")
            if text is not None:
                self.fail(check, text)

    def fail(self, check: str, details: str) -> None:
        """Raise KernelMismatch."""
        kernel, problem = self.kernel, self.problem
        raise KernelMismatch(
            check,
            f"{kernel.op} {kernel.name}, check {check!r}: {details}\n"
            f'repeat: check_kernel(kernels.get("{kernel.op}", "{kernel.name}"), '
            f'kernels.{type(problem).__name__}.parse("{problem}"), seed={self.seed})',
        )


def _simulated() -> bool:
    from fastconv.kernels.cuda import simulated  # imports numba.cuda: only for kernels that did so already

    return simulated()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Numba's parallel loops run on one thread."""
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(before)
