"""Kernels on a GPU as contestants, timed by the device's own events.

Between two timed calls a buffer of twice the level-2 cache is written, so that a call finds nothing of the one before
in it. The same writes keep the device busy while the host launches: a device that waits for its host would count the
host's time as the kernel's, and a launch takes longer than many a kernel. What is not the kernel's work is kept apart:
compiling (the first call), launching (the host's time for a call) and the transfer of inputs and outputs between host
and device.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastconv.bench.contestant import Contestant, Unsupported
from fastconv.kernels import Kernel
from fastconv.testing.kernel_cases import OPS, Arrays, array_shape
from fastconv.utils.optional import require

_LAUNCHES = 100
_LAUNCHES_S = 0.1  # of the device's time, at most: some kernels take as long
_WRITES = 10  # of the buffer, to see how long one takes
_EVENTS_S = 20e-6  # of the host's time for what stands round a timed call
_HEAD_START_S = 0.5  # at most


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
        self._buffer = self._cupy.empty(2 * cache_bytes, "uint8")
        self._buffer.fill(0)  # compiles it
        events = self._events(1)
        events[0][0].record()
        self._write(_WRITES)
        events[0][1].record()
        self._write_s = self._seconds(events) / _WRITES

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

        def read() -> Arrays:
            return {name: cupy.asnumpy(array) for name, array in outputs.items()}

        started = time.perf_counter()
        call = kernel.bind(problem, *arrays, workspace=workspace)
        call()
        self._wait()
        compile_s = time.perf_counter() - started
        started = time.perf_counter()
        read()
        transfer_s += time.perf_counter() - started
        once_s = self.measure(call, 1)
        launches = max(1, min(_LAUNCHES, int(_LAUNCHES_S / max(once_s, 1e-9))))
        started = time.perf_counter()
        for _ in range(launches):
            call()
        launch_s = (time.perf_counter() - started) / launches
        self._wait()
        overhead = Overhead(1e3 * compile_s, 1e6 * launch_s, 1e3 * transfer_s)
        return Contestant(kernel.name, "kernel", call, read, default=default, exact=kernel.exact), overhead

    def measure(self, call: Callable[[], object], count: int) -> float:
        """Seconds that `count` calls take on the device, each with a level-2 cache that holds nothing of it."""
        events = self._events(count)
        started = time.perf_counter()
        call()  # untimed: how long the host takes
        host_s = count * (2 * (time.perf_counter() - started) + _EVENTS_S)
        self._wait()
        self._write(math.ceil(min(host_s, _HEAD_START_S) / max(self._write_s, 1e-6)))
        for begin, end in events:
            self._write(1)
            begin.record()
            call()
            end.record()
        return self._seconds(events)

    def _events(self, count: int) -> list[tuple[Any, Any]]:
        return [(self._cupy.cuda.Event(), self._cupy.cuda.Event()) for _ in range(count)]

    def _write(self, times: int) -> None:
        for _ in range(times):
            self._buffer.fill(0)

    def _seconds(self, events: list[tuple[Any, Any]]) -> float:
        """Between begin and end of each, all together, once they are over."""
        self._wait()
        return 1e-3 * sum(self._cupy.cuda.get_elapsed_time(begin, end) for begin, end in events)

    def _wait(self) -> None:
        self._cupy.cuda.Device().synchronize()
