"""`Program`: launches in their order, on the same arrays each time; `Recorder`: what they are written down with.

Where the host has to do something in between, a program is several: `Interrupted`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from fastconv.gpu.memory import Memory
from fastconv.kernels import cuda_units
from fastconv.kernels.cuda import Launch
from fastconv.ops.dispatch import kernel_on_gpu

_log = logging.getLogger("fastconv")


class Recorder:
    """Writes launches down.

    Kernels get their scratch memory when all are known: they run one after another, so they share it.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._stages: list[list[Callable[[Any], Sequence[Launch]]]] = [[]]
        self._calls: list[Callable[[], None]] = []
        self._scratch_bytes = 0

    def add(self, launches: Sequence[Launch]) -> None:
        """Launches that need no scratch memory."""
        self._stages[-1].append(lambda scratch: launches)

    def sum_over(self, x: Any, axes: Sequence[int], y: Any) -> None:
        """y = the sums of x over `axes`; x lies in the order of its axes."""
        chunks, sums = cuda_units.partial_shape(x.shape, axes)
        partial = self.memory.zeros((chunks, sums)) if chunks > 1 else None
        self.add(cuda_units.sum_over(x, axes, y, partial))

    def kernel(self, op: str, problem: Any, *arrays: Any, algorithm: str = "auto", relu: Any = None) -> bool:
        """The op on `arrays`, inputs before outputs; returns whether its kernel applies the ReLU, too.

        Raises:
            ValueError: no kernel for a GPU runs the problem.
        """
        chosen = kernel_on_gpu(op, problem, algorithm)
        epilogue = {"relu": relu} if relu is not None and "relu" in chosen.fuses else {}
        self._scratch_bytes = max(self._scratch_bytes, chosen.workspace_bytes(problem))
        self._stages[-1].append(lambda scratch: chosen.run(problem, *arrays, scratch, **epilogue))
        return bool(epilogue)

    def interrupt(self, call: Callable[[], None]) -> None:
        """Write down: the host calls `call`, which waits by itself for what it needs of the launches before."""
        self._calls.append(call)
        self._stages.append([])

    def program(self) -> Program | Interrupted:
        """All that was written down."""
        scratch = self.memory.zeros((self._scratch_bytes,), "uint8")
        programs = [
            Program(self.memory, [launch for part in stage for launch in part(scratch)]) for stage in self._stages
        ]
        return Interrupted(programs, self._calls) if self._calls else programs[0]


class Program:
    """Launches that run in their order as often as wanted: the second time captured into a CUDA graph, from then on
    replayed."""

    def __init__(self, memory: Memory, launches: Sequence[Launch]) -> None:
        self.launches = launches
        self._memory = memory
        self._bound: list[Callable[..., object]] | None = None
        self._graph: Any = None
        self._may_capture = not memory.simulated

    def run(self) -> None:
        """Queue all launches on the memory's stream."""
        if self._graph is not None:
            self._graph.launch(stream=self._memory.stream)
            return
        first = self._bound is None
        if self._bound is None:
            self._bound = [launch.bind() for launch in self.launches]
        if not first and self._may_capture:
            self._capture(self._bound)
        else:
            self._launch(self._bound)

    def _launch(self, bound: list[Callable[..., object]]) -> None:
        with self._memory.queued():
            for launch in bound:
                launch(self._memory.stream)

    def _capture(self, bound: list[Callable[..., object]]) -> None:
        """Every kernel has run once by now: loading one cannot be captured."""
        stream = self._memory.stream
        self._may_capture = False
        try:
            with stream:
                stream.begin_capture()
                try:
                    for launch in bound:
                        launch(stream)
                finally:
                    graph = stream.end_capture()
        except Exception as error:  # of CuPy or of the driver: which ones, no document says
            _log.warning("the step's %d launches are not captured into a CUDA graph: %s", len(bound), error)
            self._launch(bound)
            return
        self._graph = graph
        graph.launch(stream=stream)


class Interrupted:
    """Programs, and what the host does between one and the next."""

    def __init__(self, programs: Sequence[Program], calls: Sequence[Callable[[], None]]) -> None:
        self._programs, self._calls = programs, calls

    @property
    def launches(self) -> list[Launch]:
        """Those of all programs."""
        return [launch for program in self._programs for launch in program.launches]

    def run(self) -> None:
        """Queue all launches, and do the host's part."""
        self._programs[0].run()
        for call, program in zip(self._calls, self._programs[1:], strict=True):
            call()
            program.run()
