"""Kernels on a GPU as contestants, timed by the device's own events.

Between two timed calls a buffer of twice the level-2 cache is written, so that a call finds nothing of the one before
in it. What is not the kernel's work is kept apart: compiling (the first call), launching (the host's time for a call)
and the transfer of inputs and outputs between host and device.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastconv.bench.contestant import Contestant, Unsupported
from fastconv.kernels import Kernel
from fastconv.testing.kernel_cases import OPS, Arrays, array_shape
from fastconv.utils.optional import require

_LAUNCHES = 100


@dataclass(frozen=True)
class Overhead:
    """What a call costs beside the kernel's own time."""

    compile_ms: float
    launch_us: float
    transfer_ms: float


def usable_cupy() -> Any:
    """CuPy, which finds a GPU.

    Raises:
        RuntimeError: it is not installed, or finds none.
    """
    try:
        cupy = require("cupy", extra="cuda13")
    except ImportError as error:
        raise RuntimeError(str(error)) from None
    if not cupy.cuda.is_available():
        raise RuntimeError("CuPy finds no GPU (is there a driver?).")
    return cupy


class Gpu:
    """The current CUDA device.

    Raises:
        RuntimeError: CuPy is not installed or finds no device.
    """

    def __init__(self) -> None:
        self._cupy = usable_cupy()
        cache_bytes = self._cupy.cuda.Device().attributes["L2CacheSize"]
        self._flush = self._cupy.empty(2 * cache_bytes, "uint8")

    def of_kernel(self, kernel: Kernel, problem: Any, inputs: Arrays, default: bool) -> tuple[Contestant, Overhead]:
        """The contestant that a kernel is, on device arrays, after its first call; and its overheads.

        Raises:
            Unsupported: the kernel says so.
        """
        reason = kernel.unsupported(problem)
        if reason is not None:
            raise Unsupported(reason)
        cupy, op = self._cupy, OPS[kernel.op]
        started = time.perf_counter()
        on_device = {name: cupy.asarray(array) for name, array in inputs.items()}
        self._wait()
        transfer_s = time.perf_counter() - started
        outputs = {name: cupy.full(array_shape(name, problem), float("nan"), problem.dtype) for name in op.outputs}
        workspace = cupy.empty(kernel.workspace_bytes(problem), "uint8")
        arrays = [on_device[name] for name in op.inputs] + [outputs[name] for name in op.outputs]

        def call() -> None:
            kernel(problem, *arrays, workspace=workspace)

        def read() -> Arrays:
            return {name: cupy.asnumpy(array) for name, array in outputs.items()}

        started = time.perf_counter()
        call()
        self._wait()
        compile_s = time.perf_counter() - started
        started = time.perf_counter()
        read()
        transfer_s += time.perf_counter() - started
        started = time.perf_counter()
        for _ in range(_LAUNCHES):
            call()
        launch_s = (time.perf_counter() - started) / _LAUNCHES
        self._wait()
        overhead = Overhead(1e3 * compile_s, 1e6 * launch_s, 1e3 * transfer_s)
        return Contestant(kernel.name, "kernel", call, read, default=default), overhead

    def measure(self, call: Callable[[], object], count: int) -> float:
        """Seconds that `count` calls take on the device, each with a level-2 cache that holds nothing of it."""
        cuda = self._cupy.cuda
        events = [(cuda.Event(), cuda.Event()) for _ in range(count)]
        for begin, end in events:
            self._flush.fill(0)
            begin.record()
            call()
            end.record()
        self._wait()
        return 1e-3 * sum(cuda.get_elapsed_time(begin, end) for begin, end in events)

    def _wait(self) -> None:
        self._cupy.cuda.Device().synchronize()
