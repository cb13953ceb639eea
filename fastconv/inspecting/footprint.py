"""What one block, one of its warps and one of that one's threads touch: a kernel's launches, simulated and followed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastconv.kernels import Kernel
from fastconv.kernels.cuda import Launch
from fastconv.kernels.cuda_nvrtc import CppKernel
from fastconv.testing.kernel_cases import OPS, array_shape
from fastconv.testing.simulator import simulate, traffic
from fastconv.testing.simulator.races import READ

WARP = 32
BLOCK_LEVEL, WARP_LEVEL, THREAD_LEVEL = 1, 2, 3
_STEPS = 30_000  # of the block's trace
_EXPONENTS = 23  # so that no number is lost beside another in a sum of float32


@dataclass
class Touched:
    """An array, and what of it is touched.

    Attributes:
        name: as the op calls it, or as the kernel does where it is memory of the kernel's own.
        shape: of the whole array.
        space: "global" or "shared".
        loads, stores: (elements,) how often the block's threads load each element and store to it.
        levels: (elements,) 0, BLOCK_LEVEL, WARP_LEVEL or THREAD_LEVEL: who of block, warp and thread uses it. What a
            thread only copies to shared memory for all, it does not use.
        held: of a shared array, names of the arrays whose elements are copied to it; "zeros", "results" of arithmetic.
    """

    name: str
    shape: tuple[int, ...]
    space: str
    held: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        size = math.prod(self.shape)
        self.loads, self.stores, self.levels = (np.zeros(size, kind) for kind in (np.int64, np.int64, np.int8))

    def add(self, touched: _Events, used: _Events, start: int, warp: int, thread: int) -> None:
        """Note what the block touches, and what its threads use; elements are counted from `start` on."""
        np.add.at(self.loads, start + touched.element[touched.is_load], 1)
        np.add.at(self.stores, start + touched.element[~touched.is_load], 1)
        for level, who in (
            (BLOCK_LEVEL, touched),
            (WARP_LEVEL, used[used.thread // WARP == warp]),
            (THREAD_LEVEL, used[used.thread == thread]),
        ):
            places = start + who.element
            self.levels[places] = np.maximum(self.levels[places], level)


@dataclass(frozen=True)
class Request:
    """What the warp asks for at once, in an array: the request with the most threads of the line that asks most often.

    Attributes:
        array, space, what: the array's name, where it lies, "reads" or another of the simulator's words.
        line, count: of the source, and how often the warp comes there with any of its threads.
        addresses: (n,) bytes of the elements asked for, each once, from the array's beginning.
        itemsize: bytes of an element.
        moved, ideal: sectors of global memory, or passes over the banks of shared memory.
    """

    array: str
    space: str
    what: str
    line: int
    count: int
    addresses: np.ndarray
    itemsize: int
    moved: int
    ideal: int


@dataclass(frozen=True)
class Footprint:
    """A launch, or a step that a library does, of which nothing is known but its name.

    Attributes:
        name: of the function that is launched, or of the step.
        launch: or None.
        warp, thread: numbers in the block; the thread is the first of those that use most.
        arrays: those of the op in its order, then the kernel's own.
        requests: of the warp.
    """

    name: str
    launch: Launch | None
    warp: int = 0
    thread: int = 0
    arrays: tuple[Touched, ...] = ()
    requests: tuple[Request, ...] = ()


@dataclass(frozen=True)
class _Place:
    """An array's name and shape, and the element where a kernel's view of it begins."""

    name: str
    shape: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class _Events:
    """Accesses of the block to single elements, in their order, as arrays with one element an access."""

    time: np.ndarray
    thread: np.ndarray
    array: np.ndarray  # number of its name
    element: np.ndarray
    value: np.ndarray
    is_load: np.ndarray

    def __getitem__(self, which: np.ndarray) -> _Events:
        return _Events(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def footprints(kernel: Kernel, problem: Any) -> list[Footprint]:
    """Simulate what `kernel` launches for `problem`, without its optional arrays, and follow the first block of each.

    The launches of one function count as one: the first is followed.

    Raises:
        ValueError: the kernel runs on the CPU or does not support the problem.
        SimulationError: it cannot be simulated.
    """
    if kernel.device != "gpu":
        raise ValueError(f"{kernel.name} runs on the CPU; only kernels for a GPU have tiles to draw.")
    reason = kernel.unsupported(problem)
    if reason is not None:
        raise ValueError(f"{kernel.op} {kernel.name} cannot run {problem}: {reason}.")
    op = OPS[kernel.op]
    arrays = {
        name: None if name in op.optional else np.zeros(array_shape(name, problem), problem.dtype)
        for name in op.inputs + op.outputs
    }
    workspace = np.zeros(kernel.workspace_bytes(problem), np.uint8)
    found: dict[str, Footprint] = {}
    for step in kernel.run(problem, *arrays.values(), workspace) or ():
        if isinstance(step, Launch) and isinstance(step.kernel, CppKernel):
            raise ValueError(f"{kernel.name} is CUDA C++; only kernels in Python have tiles to draw.")
        name = step.kernel.name if isinstance(step, Launch) else type(step).__name__
        if name not in found:
            found[name] = _of_launch(step, arrays) if isinstance(step, Launch) else Footprint(name, None)
    return list(found.values())


def _tag(arrays: Sequence[np.ndarray]) -> None:
    """Make every element another number, so that a value tells where it comes from.

    TF32 keeps these numbers as they are: 11 bits from 1024 on, a sign, and an exponent. Where those are too many,
    numbers of 23 bits must do.
    """
    index = np.arange(sum(array.size for array in arrays), dtype=np.int64)
    if len(index) <= 2 * 1024 * _EXPONENTS:
        magnitude = (1024 + index // 2 * 389 % 1024) * 2.0 ** (index // 2048)
        numbers = np.where(index % 2, -magnitude, magnitude)
    else:
        numbers = ((index + 1) * 0x9E3779B1 % (1 << 23)).astype(np.float64)
    first = 0
    for array in arrays:
        array[...] = numbers[first : first + array.size]
        first += array.size


def _of_launch(launch: Launch, arrays: dict[str, np.ndarray | None]) -> Footprint:
    _tag([arg for arg in launch.args if isinstance(arg, np.ndarray) and arg.dtype == np.float32])
    report = simulate(
        *(launch.kernel, launch.grid, launch.block, *launch.args),
        shared_bytes=launch.shared_bytes,
        trace_steps=_STEPS,
        only_traced=True,
    )
    trace, threads = report.trace, math.prod(launch.block)
    if trace.cut:
        raise ValueError(f"{launch.kernel.name}: the first block does more than can be drawn; take a smaller problem.")
    steps = [step for step in trace.steps if step["array"] is not None]
    names = list(dict.fromkeys(step["array"] for step in steps))
    events = _events(steps, names, threads)
    shared = np.array([trace.arrays[name]["space"] == "shared" for name in names], bool)
    used, held = _uses(events, shared, np.array([step["line"] for step in steps], np.int64))

    size = int(used.element.max(initial=0)) + 1
    different = np.unique((used.thread * len(names) + used.array) * size + used.element)
    thread = int(np.bincount(different // (size * max(len(names), 1)), minlength=threads).argmax())
    warp = thread // WARP
    places = _parameters(launch, arrays)
    named = {name: places.get(name, _Place(name, trace.arrays[name]["shape"], 0)) for name in names}
    touched: dict[str, Touched] = {}
    for number, name in enumerate(names):
        place, here, uses = named[name], events[events.array == number], used[used.array == number]
        if place.name not in touched:
            touched[place.name] = Touched(place.name, place.shape, trace.arrays[name]["space"])
        this = touched[place.name]
        this.add(here, uses, place.start, warp, thread)
        this.held = tuple(("results", "zeros")[i] if i < 0 else named[names[i]].name for i in held.get(number, ()))
    requests, order = _requests(steps, trace.arrays, warp), {name: place for place, name in enumerate(arrays)}
    return Footprint(
        launch.kernel.name,
        launch,
        warp,
        thread,
        tuple(sorted(touched.values(), key=lambda this: order.get(this.name, len(order)))),
        tuple(replace(request, array=named[request.array].name) for request in requests),
    )


def _events(steps: Sequence[dict[str, Any]], names: list[str], threads: int) -> _Events:
    columns: list[list[np.ndarray]] = [[] for _ in range(6)]
    for time, step in enumerate(steps):
        first, values, width = np.array(step["elements"]), step["values"], step["width"]
        active = np.flatnonzero(first >= 0)
        for i in range(width):
            found = (time, active, names.index(step["array"]), first[active] + i, values[i, active])
            for column, value in zip(columns, (*found, step["what"] == READ), strict=True):
                column.append(np.broadcast_to(np.asarray(value), active.shape))
    if not steps:
        columns = [[np.zeros(0, np.int64)] for _ in range(6)]
    time_, thread, array, element, value, is_load = map(np.concatenate, columns)
    return _Events(time_, thread, array, element, value.astype(np.float64), is_load.astype(bool))


def _uses(events: _Events, shared: np.ndarray, lines: np.ndarray) -> tuple[_Events, dict[int, tuple[int, ...]]]:
    """The accesses that count as uses: stores, and loads whose values are not just copied to shared memory.

    lines: of the source, by time.

    A load of a copy is a use of what it is a copy of, too. Second, for each shared array what it holds: numbers of
    arrays, -1 for zeros, -2 for results.
    """
    in_shared = shared[events.array]
    sources, copies = events[events.is_load & ~in_shared], events[~events.is_load & in_shared]
    # Where a thread stores to shared memory a value that it has loaded, the last load of it before is its source.
    _, value = np.unique(np.concatenate([sources.value, copies.value]), return_inverse=True)
    count, length = int(value.max(initial=0)) + 1, len(sources.time)
    of_copy = _latest(
        (sources.thread * count + value[:length], sources.time), (copies.thread * count + value[length:], copies.time)
    )
    # By chance a result may be one of the numbers, too; of a line that copies it is every value but zeros.
    line, there = lines[copies.time], copies.value != 0
    results = np.bincount(line[there & (of_copy < 0)], minlength=int(line.max(initial=0)) + 1)
    of_copy = np.where(there & (results[line] == 0), of_copy, -1)
    known = of_copy >= 0
    held: dict[int, tuple[int, ...]] = {}
    origin = np.where(known, sources.array[of_copy] if length else -1, np.where(copies.value == 0, -1, -2))
    for number in np.flatnonzero(shared):
        found = origin[copies.array == number].tolist()
        held[int(number)] = tuple(sorted(set(found), key=lambda one: (one < 0, found.index(one))))
    is_copied = np.zeros(length, bool)
    is_copied[of_copy[known]] = True

    loads = events[events.is_load & in_shared]
    size = int(events.element.max(initial=0)) + 1
    stored_by = _latest(
        (copies.array * size + copies.element, copies.time), (loads.array * size + loads.element, loads.time)
    )
    through = np.where(stored_by >= 0, of_copy[stored_by] if len(of_copy) else -1, -1)
    loads_of_copies, of = loads[through >= 0], sources[through[through >= 0]]
    used = [sources[~is_copied], loads, events[~events.is_load & ~in_shared]]
    used.append(_Events(loads_of_copies.time, loads_of_copies.thread, of.array, of.element, of.value, of.is_load))
    return _Events(
        *(np.concatenate([getattr(part, name) for part in used]) for name in used[0].__dataclass_fields__)
    ), held


def _latest(before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """For each (key, time) of `after` the place of the last in `before` with that key and an earlier time, or -1."""
    (keys, times), (wanted, until) = before, after
    if not len(keys):
        return np.full(len(wanted), -1)
    span = int(max(times.max(initial=0), until.max(initial=0))) + 1
    order = np.argsort(keys * span + times, kind="stable")
    place = np.searchsorted((keys * span + times)[order], wanted * span + until) - 1
    found = order[np.maximum(place, 0)]
    return np.where((place >= 0) & (keys[found] == wanted), found, -1)


def _requests(steps: Sequence[dict[str, Any]], arrays: dict[str, dict[str, Any]], warp: int) -> list[Request]:
    """One request for each array and kind of access of the warp."""
    by_kind: dict[tuple[str, str], dict[int, list[tuple[np.ndarray, int]]]] = {}
    for step in steps:
        first = np.array(step["elements"][warp * WARP : (warp + 1) * WARP])
        if (first >= 0).any():
            by_line = by_kind.setdefault((step["array"], step["what"]), {})
            by_line.setdefault(step["line"], []).append((first, step["width"]))
    found = []
    for (name, what), by_line in by_kind.items():
        line = max(by_line, key=lambda line: len(by_line[line]))
        first, width = max(by_line[line], key=lambda request: int((request[0] >= 0).sum()))
        item, lanes = arrays[name]["item"], np.flatnonzero(first >= 0)
        start = arrays[name]["address"] + first[lanes] * item
        measure = traffic.sectors if arrays[name]["space"] == "global" else traffic.wavefronts
        _, moved, ideal = measure(start, lanes, WARP, item * width)
        addresses = np.unique(start[:, None] + np.arange(width) * item)
        space, count = arrays[name]["space"], len(by_line[line])
        found.append(Request(name, space, what, line, count, addresses, item, moved, ideal))
    return found


def _parameters(launch: Launch, arrays: dict[str, np.ndarray | None]) -> dict[str, _Place]:
    """What the launch's parameters are: parts of the op's arrays, or memory in the shape that the launch was given."""
    found = {}
    parameters = inspect.signature(launch.kernel.py_func).parameters
    for name, arg, shape in zip(parameters, launch.args, launch.shapes, strict=True):
        if not isinstance(arg, np.ndarray):
            continue
        found[name] = _Place(f"{name} (own)" if name in arrays else name, shape, 0)
        for of_op, array in arrays.items():
            if array is not None and np.may_share_memory(array, arg):
                start = arg.__array_interface__["data"][0] - array.__array_interface__["data"][0]
                found[name] = _Place(of_op, array.shape, start // array.itemsize)
    return found
