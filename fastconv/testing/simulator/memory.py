"""Loads, stores and atomic operations: checked, counted, traced, and noted for the search for races."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fastconv.testing.simulator import traffic, values
from fastconv.testing.simulator.arrays import Array
from fastconv.testing.simulator.batch import Batch
from fastconv.testing.simulator.copies import Copies
from fastconv.testing.simulator.errors import SimulationError
from fastconv.testing.simulator.fences import Fences
from fastconv.testing.simulator.findings import MISALIGNED, OUT_OF_BOUNDS, UNINITIALISED, WRONG_INDEX, Findings
from fastconv.testing.simulator.masks import Mask
from fastconv.testing.simulator.races import ATOMIC, READ, WRITE, Access, IntervalLog, WarpOrder
from fastconv.testing.simulator.source import Site
from fastconv.testing.simulator.trace import Trace
from fastconv.testing.simulator.values import Number

_COUNTS = {
    ("global", READ): "loads",
    ("global", WRITE): "stores",
    ("global", ATOMIC): "atomics",
    ("shared", READ): "shared_loads",
    ("shared", WRITE): "shared_stores",
    ("shared", ATOMIC): "shared_atomics",
}
Update = Callable[[np.ndarray, np.ndarray], np.ndarray]  # old values and operands to new values


class Part(NamedTuple):
    """What one instruction does to one element a thread."""

    array: Array
    what: str
    flat: np.ndarray
    lanes: np.ndarray
    mask: Mask
    site: Site


class Memory:
    """What the threads of a batch do to arrays."""

    def __init__(self, batch: Batch, findings: Findings, order: WarpOrder, fences: Fences, trace: Trace):
        self.batch, self.findings, self.order, self.fences, self.trace = batch, findings, order, fences, trace
        self.copies = Copies(self)
        self.logs: list[IntervalLog] = []
        self.parts: list[Part] | None = None  # of the instruction that is being run, if one is

    @contextlib.contextmanager
    def one_access(self) -> Iterator[None]:
        """Within, the elements that a thread loads from an array, or stores to it, are one access to all of them."""
        self.parts = []
        try:
            yield
            accesses: dict[tuple[int, str], list[Part]] = {}
            for part in self.parts:
                accesses.setdefault((id(part.array), part.what), []).append(part)
            for parts in accesses.values():
                self._check_alignment(parts)
                self._measure(parts[0], len(parts))
        finally:
            self.parts = None

    def _check_alignment(self, parts: list[Part]) -> None:
        array, what, flat, lanes, mask, site = parts[0]
        if any(len(part.lanes) < mask.count for part in parts) or len(parts) & (len(parts) - 1):
            return  # some were out of bounds, and that has been found
        if any((part.flat - flat != number).any() for number, part in enumerate(parts)):
            raise SimulationError(f"one instruction moves elements of {array.name} that do not lie side by side.", site)
        size = len(parts) * array.dtype.itemsize
        start = 0 if array.space == "global" else array.root.start_of(lanes)
        place = np.broadcast_to(array.address + (flat - start) * array.dtype.itemsize, lanes.shape)
        wrong = place % size != 0 if array.alignment % size == 0 else np.ones(len(lanes), bool)
        if wrong.any():
            lane = int(lanes[wrong][0])
            element = array.offset + int(np.broadcast_to(flat, lanes.shape)[wrong][0]) * array.scale
            name = array.element_name(element, lane)
            given = f"; {array.name} itself does on one of {array.alignment}" if array.alignment % size else ""
            message = (
                f"{what} {name} and the {len(parts) - 1} elements after it at once, which must begin on a multiple of "
                f"{size} bytes{given}."
            )
            count = int(np.count_nonzero(wrong))
            self.findings.add(MISALIGNED, site, message, self.batch, lane, subject=array.name, count=count)

    def close_interval(self, blocks: np.ndarray | None = None) -> None:
        """At a barrier of all blocks, or of those that are True: accesses before and after it do not race."""
        for log in self.logs:
            log.close(blocks)
        if blocks is None:
            self.order.partial.clear()

    def load(self, array: Array, index: Any, mask: Mask, site: Site) -> Number:
        """The elements; 0 for threads whose index is out of bounds."""
        flat, lanes = self._locate(array, index, mask, site, READ)
        if lanes is None:
            return values.plain(array.dtype.type(0))
        if flat.ndim == 0:  # one address for all
            self._count(array, READ, flat, lanes, mask, site)
            return values.plain(array.data[flat])
        self._check_written(array, flat, lanes, site, READ)
        self._count(array, READ, flat, lanes, mask, site)
        got = array.data[flat]
        if len(got) == self.batch.lanes:
            return got
        spread = np.zeros(self.batch.lanes, array.dtype)
        spread[lanes] = got
        return spread

    def store(
        self, array: Array, index: Any, value: Number, mask: Mask, site: Site
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Where threads write to the same element the last of them wins, as one of them does on a GPU.

        Returns:
            Which elements of `array.data` the threads wrote, and which threads those are; None for nobody.
        """
        if array.space == "constant":
            raise SimulationError("constant memory cannot be written.", site)
        if not values.is_number(value):
            raise SimulationError(f"{type(value).__name__} cannot be stored in {array.name}.", site)
        flat, lanes = self._locate(array, index, mask, site, WRITE)
        if lanes is None:
            return None
        if not array.data.flags.writeable:
            raise SimulationError(f"{array.name} is read-only.", site)
        value = values.cast(value, array.dtype)
        stored = value[lanes] if values.varies(value) else np.full(len(lanes), value, array.dtype)
        flat = np.broadcast_to(flat, lanes.shape)
        array.data[flat] = stored
        self._count(array, WRITE, flat, lanes, mask, site, stored)
        if array.ready is not None:
            self.copies.found(array, flat, lanes, site, WRITE)
            array.ready[flat] = True
        return flat, lanes

    def note(self, array: Array, what: str, flat: np.ndarray, lanes: np.ndarray, site: Site, stored: Any) -> None:
        """Note an access for the search for races."""
        if array.log is not None:
            self.order.time += 1
            elements = np.broadcast_to(array.offset + flat * array.scale, lanes.shape)
            array.log.note(Access(what, array, elements, lanes, site, stored, self.order.time, self.order.epochs))

    def update(self, array: Array, index: Any, operand: Number, operation: Update, mask: Mask, site: Site) -> Number:
        """An atomic operation: threads take turns in the order of their numbers. The values before it."""
        if array.space not in ("global", "shared"):
            raise SimulationError(f"atomic operations are for global and shared memory, not {array.space}.", site)
        flat, lanes = self._locate(array, index, mask, site, ATOMIC)
        if lanes is None:
            return values.plain(array.dtype.type(0))
        if not (values.varies(operand) and operand.dtype.names):  # the two operands of a compare-and-swap
            operand = values.cast(operand, array.dtype)
        operand = operand[lanes] if values.varies(operand) else np.full(len(lanes), operand, array.dtype)
        flat = np.broadcast_to(flat, lanes.shape)
        if array.ready is not None:
            self._check_written(array, flat, lanes, site, ATOMIC)
            array.ready[flat] = True
        self._count(array, ATOMIC, flat, lanes, mask, site)
        if self.fences.fenced and array.space == "global":
            blocks = self.batch.first + self.batch.block[lanes]
            self.fences.atomic(id(array.root), flat, blocks, self.order.time)
        before = np.zeros(self.batch.lanes, array.dtype)
        for who in _turns(flat):
            old = array.data[flat[who]]
            before[lanes[who]] = old
            array.data[flat[who]] = operation(old, operand[who])
        return before

    def _check_written(self, array: Array, flat: np.ndarray, lanes: np.ndarray, site: Site, what: str) -> None:
        if array.ready is None or (ready := array.ready[flat]).all():
            return
        if self.copies.found(array, flat, lanes, site, what):
            return
        bad, first = lanes[~ready], int(flat[~ready][0])
        name = array.element_name(array.offset + first * array.scale, int(bad[0]))
        message = f"{what} {name}, which nobody has written."
        self.findings.add(UNINITIALISED, site, message, self.batch, int(bad[0]), subject=array.name, count=len(bad))

    def _locate(self, array: Array, index: Any, mask: Mask, site: Site, what: str) -> tuple[Any, np.ndarray | None]:
        """The elements in `array.data`, and the threads whose index is good, or None.

        A scalar where all threads have the same element of memory that they share.
        """
        index = index if isinstance(index, tuple) else (index,)
        lanes = mask.index
        if problem := self._wrong_index(array, index):
            self.findings.add(
                WRONG_INDEX, site, f"{what} {problem}", self.batch, int(lanes[0]), subject=array.name, count=len(lanes)
            )
            return np.int64(0), None
        picked = [mask.pick(i) for i in index]
        bad = None
        for i, size in zip(picked, array.shape, strict=True):
            if isinstance(i, np.ndarray):
                if i.min() < 0 or i.max() >= size:
                    out = (i < 0) | (i >= size)
                    bad = out if bad is None else bad | out
            elif not 0 <= i < size:
                bad = np.ones(len(lanes), bool)
        if bad is not None:
            first = int(np.flatnonzero(bad)[0])
            shown = ", ".join(str(i[first] if isinstance(i, np.ndarray) else i) for i in picked)
            message = f"{what} {array.name}[{shown}], which is outside of its shape {array.shape}."
            count = int(np.count_nonzero(bad))
            self.findings.add(
                OUT_OF_BOUNDS, site, message, self.batch, int(lanes[first]), subject=array.name, count=count
            )
            if count == len(lanes):
                return np.int64(0), None
            lanes = lanes[~bad]
            picked = [i[~bad] if isinstance(i, np.ndarray) else i for i in picked]
        flat: Any = 0
        for i, stride in zip(picked, array.strides, strict=True):
            if isinstance(i, np.ndarray) and i.dtype != np.int64:
                i = i.astype(np.int64)
            flat = flat + (i if stride == 1 else i * stride)
        if array.base is not None:
            flat = flat + (array.base if len(lanes) == self.batch.lanes else array.base[lanes])
        return np.asarray(flat, np.int64), lanes

    def _wrong_index(self, array: Array, index: tuple[Any, ...]) -> str | None:
        for i in index:
            if not values.is_number(i):
                return f"{array.name} by a {type(i).__name__}; only numbers are simulated as indices."
            if values.type_of(i).kind not in "iub":
                return f"{array.name} by an index of type {values.type_of(i)}; it must be an integer."
        if len(index) != array.ndim:
            given = "1 index" if len(index) == 1 else f"{len(index)} indices"
            return f"{array.name} by {given}, but it has {array.ndim} dimensions."
        return None

    def _count(
        self,
        array: Array,
        what: str,
        flat: np.ndarray,
        lanes: np.ndarray,
        mask: Mask,
        site: Site,
        stored: np.ndarray | None = None,
    ) -> None:
        """Count the request, trace it, and note it for the search for races."""
        if (array.space, what) not in _COUNTS:
            return
        if array.space == "global":
            (array.read if what == READ else array.written)[flat] = True
            if what == ATOMIC:
                array.read[flat] = True
        part = Part(array, what, flat, lanes, mask, site)
        if self.parts is None:
            self._measure(part)
        else:
            self.parts.append(part)
        self.note(array, what, flat, lanes, site, stored)

    def _measure(self, part: Part, width: int = 1) -> None:
        """Count and trace a request for `width` elements a thread, from that of `part` on."""
        array, what, flat, lanes, mask, site = part
        if flat.ndim == 0:
            cost = traffic.one_address(int(np.count_nonzero(mask.active_warps)))
        else:
            item = array.dtype.itemsize
            measure = traffic.sectors if array.space == "global" else traffic.wavefronts
            cost = measure(array.address + flat * item, lanes, self.batch.lanes, item * width)
        getattr(site.counts, _COUNTS[array.space, what]).add(*cost)
        self.trace.access(self.batch, array, what, flat, lanes, site, width)


def _turns(elements: np.ndarray) -> Iterator[np.ndarray]:
    """Positions in `elements`, in turns: within one all elements are different, and who comes first is in the first."""
    order = np.argsort(elements, kind="stable")
    ordered = elements[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    turn = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    for now in range(int(turn.max()) + 1):
        yield order[turn == now]
