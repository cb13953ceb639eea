"""Asynchronous copies from global to shared memory: what is read too early is found.

A copy is begun, is one of a group when its thread commits, and has arrived when its thread has waited for that group.
Till then its elements hold NaN, and reading or writing them is a finding. It counts as a write when it begins, since
from then on the old elements are gone, and again when it has arrived: so other threads need a barrier before the copy
begins, and one after its thread has waited.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv.testing.simulator import values
from fastconv.testing.simulator.arrays import Array
from fastconv.testing.simulator.errors import SimulationError
from fastconv.testing.simulator.findings import UNDER_WAY
from fastconv.testing.simulator.functions import Place
from fastconv.testing.simulator.source import Site
from fastconv.testing.simulator.values import Number

if TYPE_CHECKING:
    from fastconv.testing.simulator.memory import Memory

_ADD = ast.Add
WRITE = "writes"  # as `races` calls it


@dataclass(eq=False)
class _Copy:
    """One element of a copy, for each of its lanes."""

    array: Array
    flat: np.ndarray  # where in `array.data`
    lanes: np.ndarray
    coming: np.ndarray  # the element's value
    group: np.ndarray  # of the lane's groups, which
    site: Site

    def where(self, keep: np.ndarray) -> _Copy:
        parts = (self.flat[keep], self.lanes[keep], self.coming[keep], self.group[keep])
        return _Copy(self.array, *parts, self.site)


class Copies:
    """Those of a batch that have not arrived."""

    def __init__(self, memory: Memory):
        self.memory = memory
        self.committed = np.zeros(memory.batch.lanes, np.int64)
        self.under_way: list[_Copy] = []
        self.awaited: dict[int, np.ndarray] = {}  # for each element of an array's data, by the data's id

    def begin(self, copy: _Copy) -> None:
        array = copy.array
        array.ready[copy.flat] = False  # type: ignore[index]
        self.awaited.setdefault(id(array.data), np.zeros(len(array.data), bool))[copy.flat] = True
        self.under_way.append(copy)

    def arrive(self, copy: _Copy) -> None:
        array = copy.array
        array.data[copy.flat] = copy.coming
        array.ready[copy.flat] = True  # type: ignore[index]
        self.awaited[id(array.data)][copy.flat] = False
        self.memory.note(array, WRITE, copy.flat, copy.lanes, copy.site, copy.coming)

    def found(self, array: Array, flat: np.ndarray, lanes: np.ndarray, site: Site, what: str) -> bool:
        """Whether any of the elements is under way; which is a finding."""
        awaited = self.awaited.get(id(array.data))
        if awaited is None or not (early := awaited[flat]).any():
            return False
        lane, element = int(lanes[early][0]), int(flat[early][0])
        line = next(copy.site.line for copy in self.under_way if copy.array.data is array.data and element in copy.flat)
        name = array.element_name(array.offset + element * array.scale, lane)
        message = f"{what} {name} while a copy to it, begun in line {line}, is under way: its thread has not waited."
        count = int(np.count_nonzero(early))
        self.memory.findings.add(UNDER_WAY, site, message, self.memory.batch, lane, subject=array.name, count=count)
        return True


def start(place: Place, instruction: Any, to: Any, i: Number, array: Any, j: Number, inside: Number) -> None:
    """to[i] = array[j] and so on for the instruction's elements, or zeros where not `inside`: at some time to come."""
    memory, batch = place.interpreter.memory, place.interpreter.batch
    if not (isinstance(to, Array) and to.space == "shared" and isinstance(array, Array) and array.space == "global"):
        raise SimulationError(f"{instruction.name} copies from global to shared memory.", place.site)
    read, _ = place.mask.split(inside)
    with memory.one_access():
        begun = []
        for element in range(instruction.elements):
            coming: Any = array.dtype.type(0)
            if read:
                coming = memory.load(array, values.binary(_ADD, j, element), read, place.site)
            coming = np.where(read.lanes if read else False, np.broadcast_to(coming, batch.lanes), 0)
            stored = memory.store(to, values.binary(_ADD, i, element), np.float32(np.nan), place.mask, place.site)
            if stored is not None:
                flat, lanes = stored
                group = memory.copies.committed[lanes]
                begun.append(_Copy(to, flat, lanes, coming[lanes].astype(to.dtype), group, place.site))
    for copy in begun:
        memory.copies.begin(copy)


def commit(place: Place, instruction: Any) -> None:
    """What the threads have begun since they last came here is a group."""
    place.interpreter.memory.copies.committed[place.mask.index] += 1


def wait(place: Place, instruction: Any, most: int) -> None:
    """Until of each thread's groups only the last `most` are under way."""
    memory, lanes = place.interpreter.memory, place.mask.lanes
    copies, left = memory.copies, []
    for copy in copies.under_way:
        arrived = lanes[copy.lanes] & (copy.group < copies.committed[copy.lanes] - most)
        if not arrived.all():
            left.append(copy.where(~arrived))
        if arrived.any():
            copies.arrive(copy.where(arrived))
    copies.under_way = left
