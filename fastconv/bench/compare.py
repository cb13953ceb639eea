"""`compare`: kernels and peers on named problems, each checked on the buffers that it is timed on."""

from __future__ import annotations

import contextlib
import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Any

from fastconv import kernels
from fastconv.bench import allocator, contestant, peers
from fastconv.bench.contestant import Contestant, Unsupported
from fastconv.bench.cuda_timing import Gpu
from fastconv.bench.limits import measured
from fastconv.bench.quiet import time_quietly
from fastconv.bench.result import Result, Row
from fastconv.kernels import Kernel
from fastconv.testing.comparison import difference, rough_difference
from fastconv.testing.kernel_cases import OPS, Arrays, Case, array_shape, float_case, magnitudes
from fastconv.utils.optional import require

# (what is being done now, share of the whole that is done)
Progress = Callable[[str, float], object]
Refused = Mapping[Kernel, str]


def compare(
    work: Sequence[tuple[str, str, Any]],
    variants: Mapping[str, Sequence[Kernel]],
    peer_names: Sequence[str] = (),
    threads: Sequence[int] = (),
    seconds: float = 0.5,
    refused: Refused | None = None,
    device: str = "cpu",
    progress: Progress = lambda text, share: None,
    result: Result | None = None,
) -> Result:
    """Check and time contestants on one device.

    Args:
        work: (op, name of the shape, problem).
        variants: the kernels of each op.
        peer_names: of `peers.PEERS`, installed.
        threads: numbers of threads; by default what Numba uses.
        seconds: for each contestant, at most; see `time_in_turn`.
        refused: kernels that failed a check already, with the message; they become rows and are not run.
        device: "cpu" or "gpu"; a GPU has no number of threads, and its rows say 0.
        progress: called often.
        result: receives the rows as they are ready.

    Returns:
        `result`, or a new one. After Ctrl-C it has the problems that were done, and `interrupted` is True.

    Raises:
        ValueError: more threads than Numba has in this process.
        RuntimeError: there is no GPU, or none that CuPy can use.
    """
    import numba

    gpu = Gpu() if device == "gpu" else None
    counts = [0] if gpu else list(threads) or [numba.get_num_threads()]
    if max(counts) > numba.config.NUMBA_NUM_THREADS:
        raise ValueError(
            f"threads: at most {numba.config.NUMBA_NUM_THREADS} in this process, received {max(counts)}; "
            "set NUMBA_NUM_THREADS for more."
        )
    allocator.keep_freed_memory()
    result = Result("", []) if result is None else result
    modules = {}
    try:
        for count in counts:
            progress("the machine's limits", 0.0)
            result.limits.append(measured(device, count or None))
        for name in peer_names:
            progress(f"importing {name}", 0.0)
            modules[name] = peers.load(name)
        done, total = 0, len(work) * len(counts)
        for op, shape, problem in work:
            progress(f"{op} {shape}: reference", done / total)
            case = float_case(op, problem)
            for count, limits in zip(counts, result.limits[-len(counts) :], strict=True):
                with _threads(count):
                    group = _Group(op, shape, problem, count, case, gpu)
                    group.add_kernels(variants[op], refused or {})
                    group.add_peers(modules)
                    label, start = f"{op} {shape}", done / total
                    group.check(lambda name: progress(f"{label}: checking {name}", start))  # noqa: B023
                    timings, of_limits = time_quietly(
                        {key: entry.call for key, entry in group.right.items()},
                        limits,
                        seconds,
                        lambda share: progress(f"{label}: timing", start + share / total),  # noqa: B023
                        gpu.measure if gpu else None,
                    )
                for key, timing in timings.items():
                    group.rows[key].fill(problem, *cost(op, problem), timing, limits)
                    group.rows[key].percent_of_limits_meanwhile = None if of_limits is None else 100 * of_limits
                group.profile()
                result.rows += group.rows.values()
                done += 1
    except KeyboardInterrupt:
        result.interrupted = True
    result.compare()
    return result


def cost(op: str, problem: Any) -> tuple[int, int]:
    """(FLOPs, bytes) of an op on a problem: what it reads and writes moved once; pixels in no window are not read."""
    sizes = [math.prod(array_shape(name, problem)) for name in (*OPS[op].inputs, *OPS[op].outputs)]
    if OPS[op].inputs[0] == "x":
        sizes[0] = problem.N * problem.pixels_read * problem.C
    col = problem.N * problem.P * problem.Q * problem.R * problem.S * problem.C
    flops = {"im2col": 0, "col2im": col}.get(op, problem.flops)
    return flops, problem.itemsize * sum(sizes)


class _Group:
    """The contestants of one problem with one number of threads.

    rows: of all, by label; right: those that have the reference's results, once `check` has run.
    """

    def __init__(self, op: str, shape: str, problem: Any, threads: int, case: Case, gpu: Gpu | None) -> None:
        self.op, self.shape, self.problem, self.threads, self.case = op, shape, problem, threads, case
        self._gpu = gpu
        self._device = "gpu" if gpu else "cpu"
        self.rows: dict[str, Row] = {}
        self.right: dict[str, Contestant] = {}
        self._entries: dict[str, Contestant] = {}

    def add_kernels(self, variants: Sequence[Kernel], refused: Refused) -> None:
        """Add a row for each kernel."""
        try:
            default = kernels.choose(self.op, self.problem, device=self._device).name
        except ValueError:  # a GPU's ops may have kernels and none for "auto"
            default = None
        for kernel in variants:
            row = self._row(kernel.name, "kernel", default=kernel.name == default)
            row.precision = kernel.precision
            if kernel in refused:
                row.status, row.message = "wrong", refused[kernel]
                continue
            try:
                self._entries[kernel.name] = self._of_kernel(kernel, row)
            except Exception as error:  # a user's kernel may raise anything
                row.status = "unsupported" if isinstance(error, Unsupported) else "failed"
                row.message = _first_line(error)

    def _of_kernel(self, kernel: Kernel, row: Row) -> Contestant:
        if self._gpu is None:
            return contestant.of_kernel(kernel, self.problem, self.case.inputs, row.default)
        entry, overhead = self._gpu.of_kernel(kernel, self.problem, self.case.inputs, row.default)
        row.compile_ms, row.launch_us, row.transfer_ms = astuple(overhead)
        return entry

    def add_peers(self, modules: Mapping[str, Any]) -> None:
        """Add a row for each layout of each peer."""
        for name, module in modules.items():
            try:
                if self._gpu is None:
                    module.use_threads(self.threads)
                found = module.contestants(self.op, self.problem, self.case.inputs, self._device)
            except Exception as error:  # a peer may raise anything; it must not end the others' benchmark
                row = self._row(name, "peer")
                row.status = "unsupported" if isinstance(error, Unsupported) else "failed"
                row.message = _first_line(error)
                continue
            for entry in found:
                self._row(entry.label, "peer", contestant=name, layout=entry.layout).precision = entry.precision
                self._entries[entry.label] = entry

    def check(self, on_contestant: Callable[[str], object]) -> None:
        """Run each once and compare it with the reference."""
        for label, entry in self._entries.items():
            on_contestant(label)
            row = self.rows[label]
            try:
                entry.call()
                text = self._difference(entry)
            except Exception as error:
                row.status, row.message = "failed", _first_line(error)
                continue
            if text is None:
                self.right[label] = entry
            else:
                row.status, row.message = "wrong", text

    def profile(self) -> None:
        """Note which kernels ran on the device; after everything is timed, since a profiler disturbs."""
        for label, entry in self.right.items():
            if entry.device_kernels is not None:
                try:
                    self.rows[label].fill_kernels(entry.device_kernels())
                except Exception as error:  # a profiler may raise anything, and the times are there
                    self.rows[label].message = f"not profiled: {_first_line(error)}"

    def _difference(self, entry: Contestant) -> str | None:
        outputs = entry.outputs()
        exact = entry.exact and not entry.precision
        sizes = {} if exact else self._magnitudes
        for name, expected in self.case.expected.items():
            if exact:
                text = difference(name, outputs[name], expected, self.case.tolerance[name])
            else:
                text = rough_difference(name, outputs[name], expected, sizes[name], entry.precision)
            if text is not None:
                return text
        return None

    @functools.cached_property
    def _magnitudes(self) -> Arrays:
        return magnitudes(self.op, self.problem, self.case.inputs)

    def _row(self, label: str, kind: str, contestant: str = "", layout: str = "NHWC", default: bool = False) -> Row:
        name = contestant or label
        row = self.rows[label] = Row(
            self.op, self.shape, str(self.problem), self._device, self.threads, name, kind, layout, default
        )
        return row


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    text = re.sub(r"\{\{.*?\}\} *", "", lines[0]) if lines else ""  # TensorFlow names a node before what it says
    return text if isinstance(error, Unsupported) else f"{type(error).__name__}: {text}"


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Kernels run on `count` threads, and BLAS, which those of the kind im2col use; 0 changes nothing."""
    import numba

    before = numba.get_num_threads()
    if count in (0, before):
        yield
        return
    numba.set_num_threads(count)
    try:
        with require("threadpoolctl", extra="bench").threadpool_limits(count, user_api="blas"):
            yield
    finally:
        numba.set_num_threads(before)
