"""`simulate`: run a kernel over its grid, a batch of blocks at a time."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

import numpy as np

from fastconv.testing.simulator import values
from fastconv.testing.simulator.arrays import Array, global_array
from fastconv.testing.simulator.batch import Batch, Dim
from fastconv.testing.simulator.cuda import Cuda
from fastconv.testing.simulator.errors import SimulationError
from fastconv.testing.simulator.fences import Fences
from fastconv.testing.simulator.findings import LAUNCH_LIMIT, Findings
from fastconv.testing.simulator.interpreter import Interpreter
from fastconv.testing.simulator.limits import Limits
from fastconv.testing.simulator.memory import Memory
from fastconv.testing.simulator.private import Local, Shared
from fastconv.testing.simulator.races import BlockLog, IntervalLog, WarpOrder
from fastconv.testing.simulator.report import Report
from fastconv.testing.simulator.source import Function, Sources
from fastconv.testing.simulator.trace import Trace

_LANES = 16384  # that run together: enough for NumPy to be busy, few enough for the caches


def simulate(
    kernel: Callable[..., Any],
    grid: int | Iterable[int],
    block: int | Iterable[int],
    *args: Any,
    shared_bytes: int = 0,
    arch: str = "sm_90",
    trace_block: Iterable[int] | None = (0, 0, 0),
    trace_steps: int = 3000,
    only_traced: bool = False,
    max_steps: int = 500_000,
    max_findings: int = 200,
) -> Report:
    """Run a numba.cuda kernel on the CPU, find its mistakes and count what it moves and computes.

    `simulate(kernel, grid, block, *args)` does what `kernel[grid, block](*args)` does: arrays are changed in place.
    Mistakes are noted and the run goes on: a load out of bounds gives 0, a store out of bounds is dropped.

    Args:
        kernel: a function written for numba.cuda, as it is or under a decorator that keeps it as `py_func`. Its source
            must be in a file. numba.cuda need not be installed.
        grid, block: 1 to 3 numbers: blocks of the grid, threads of a block.
        args: NumPy arrays, numbers, and tuples or named tuples of them.
        shared_bytes: of dynamic shared memory.
        arch: whose limits hold, "sm_75" to "sm_120".
        trace_block: the block whose accesses `Report.html` steps through, or None.
        trace_steps: of that block to keep; fewer where it has more than 128 threads.
        only_traced: run no other block.
        max_steps: statements that a batch of blocks may execute before the kernel counts as endless.
        max_findings: different findings to keep.

    Raises:
        SimulationError: the run could not go on: an endless loop, or something in the kernel that is not simulated.
        TypeError: the kernel is no function, or an argument is of a type that kernels do not take.
        ValueError: grid, block, arch or the number of arguments is wrong, or there is no source.
    """
    python = getattr(kernel, "py_func", kernel)
    if not isinstance(python, FunctionType):
        raise TypeError(f"simulate: kernel must be a function or have a py_func, not be a {type(kernel).__name__}.")
    grid_dim, block_dim, limits = _dim("grid", grid), _dim("block", block), Limits(arch)
    sources, findings = Sources(), Findings(max_findings)
    function = sources.function(python)
    try:
        bound = function.signature.bind(*args)
    except TypeError as error:
        raise ValueError(f"simulate: {function.name}: {error}.") from error
    bound.apply_defaults()
    arguments = {name: _argument(name, value) for name, value in bound.arguments.items()}
    for message in limits.launch(grid_dim, block_dim, shared_bytes):
        findings.add(LAUNCH_LIMIT, function.tree.site, message)  # type: ignore[attr-defined]

    trace = Trace(None if trace_block is None else _dim("trace_block", trace_block, least=0), trace_steps)
    fences = Fences()
    memories = _memories(
        function, arguments, lambda size: BlockLog(size, grid_dim, block_dim, sources.sites, findings, fences)
    )
    blocks = grid_dim[0] * grid_dim[1] * grid_dim[2]
    warps = -(-block_dim[0] * block_dim[1] * block_dim[2] // 32)
    together = max(1, _LANES // (32 * warps))
    static_bytes = 0
    starts = range(0, blocks, together)
    if only_traced and trace.block is not None:
        x, y, z = trace.block
        starts, together = range(first := x + grid_dim[0] * (y + grid_dim[1] * z), first + 1), 1
    for first in starts:
        batch = Batch(grid_dim, block_dim, first, min(together, blocks - first))
        memory = Memory(batch, findings, WarpOrder(batch), fences, trace)
        for log, arrays in memories:
            interval = IntervalLog(log.shadow, batch, memory.order, findings, log if blocks > 1 else None)
            memory.logs.append(interval)
            for array in arrays:
                array.log = interval
        shared = Shared(batch, memory, findings, limits, shared_bytes)
        interpreter = Interpreter(sources, batch, memory, findings, max_steps)
        interpreter.cuda = Cuda(batch, shared, Local(batch))
        for known in sources.functions.values():
            known.meanings.clear()  # `cuda` is another one in each batch
        try:
            with np.errstate(all="ignore"):  # threads that are not in a statement compute nonsense in it
                interpreter.run(function, arguments, batch.everyone)
        except SimulationError as error:
            error.findings = findings.sorted()
            raise
        memory.close_interval()
        static_bytes = max(static_bytes, shared.static_bytes)
    return Report(
        kernel=function.name,
        grid=grid_dim,
        block=block_dim,
        arch=arch,
        shared_bytes=static_bytes + shared_bytes,
        findings=findings.sorted(),
        dropped=findings.dropped,
        lines=sources.lines_in_order(),
        array_bytes=sum(_touched_bytes(array) for array in _arrays(arguments.values())),
        trace=trace,
    )


def _dim(name: str, given: int | Iterable[int], least: int = 1) -> Dim:
    try:
        numbers = [operator.index(n) for n in (given if isinstance(given, Iterable) else (given,))]
    except TypeError:
        numbers = []
    if not 1 <= len(numbers) <= 3 or min(numbers) < least:
        raise ValueError(f"simulate: {name} must be 1 to 3 integers from {least} on, not {given!r}.")
    x, y, z = numbers + [least] * (3 - len(numbers))
    return x, y, z


def _argument(name: str, value: Any) -> Any:
    if isinstance(value, tuple):
        parts = [_argument(f"{name}[{i}]", part) for i, part in enumerate(value)]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return global_array(name, value)
    if value is None or isinstance(value, (bool, int, float, np.number, np.bool_)):
        return values.plain(value)
    raise TypeError(f"simulate: argument {name} must be a NumPy array or a number, not {type(value).__name__}.")


def _arrays(arguments: Iterable[Any]) -> list[Array]:
    found: list[Array] = []
    for value in arguments:
        if isinstance(value, tuple):
            found += _arrays(value)
        elif isinstance(value, Array):
            found.append(value)
    return found


def _memories(
    function: Function, arguments: dict[str, Any], make_log: Callable[[int], BlockLog]
) -> list[tuple[BlockLog, list[Array]]]:
    """The pieces of global memory that may be written, each with the arrays that lie in it: they may overlap."""
    read_only = {id(value) for name, value in arguments.items() if name not in function.escaping}
    arrays = sorted((array for array in _arrays(arguments.values()) if array.data.size), key=_start)
    groups: list[list[Array]] = []
    end = 0
    for array in arrays:
        if not groups or _start(array) >= end:
            groups.append([])
        groups[-1].append(array)
        end = max(end, _start(array) + array.data.nbytes)
    made = []
    for group in groups:
        if all(id(array) in read_only for array in group):
            continue
        first, unit = _start(group[0]), min(array.dtype.itemsize for array in group)
        for array in group:
            array.offset, array.scale = (_start(array) - first) // unit, array.dtype.itemsize // unit
        size = max(array.offset + len(array.data) * array.scale for array in group)
        made.append((make_log(size), group))
    return made


def _start(array: Array) -> int:
    return int(array.data.__array_interface__["data"][0])


def _touched_bytes(array: Array) -> int:
    """Bytes of the elements that were read, and of those that were written: what must be moved at least once."""
    return int(np.count_nonzero(array.read) + np.count_nonzero(array.written)) * array.dtype.itemsize
