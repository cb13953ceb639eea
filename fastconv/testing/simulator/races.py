"""Races: accesses to one element by two threads, one of them a write, that nothing orders.

Threads of a block are ordered by barriers, lanes of a warp also by `syncwarp`, and blocks by nothing. Accesses are
noted as they happen (two references to arrays: cheap) and compared when a barrier ends the interval. To compare, the
writers' names are scattered over a shadow of the memory, and every access looks up whose name stands at its element: if
it is not its own, that is a race. It finds every racing element: of two threads at one element at least one is not the
one whose name was left.

Atomic operations do not race with each other. Writes of equal values are let pass: either may win.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fastconv.testing.simulator.batch import Batch, Dim, coordinates
from fastconv.testing.simulator.fences import Fences
from fastconv.testing.simulator.findings import RACE, Findings
from fastconv.testing.simulator.source import Site

if TYPE_CHECKING:
    from fastconv.testing.simulator.arrays import Array

READ, WRITE, ATOMIC = "reads", "writes", "updates"
_PASSES = (({WRITE}, {READ, WRITE, ATOMIC}), ({ATOMIC}, {READ}), ({READ}, {ATOMIC}))  # who is marked, who looks
_THREAD, _WARP = 0, 5  # bits of a lane's number to leave away: lanes are told apart, or warps
_LANE, _ACCESS = 44, 24  # a mark in the shadow: lane, access, and position in it, from these bits on
_MOST = 2_000_000  # accesses kept before equal ones are merged


@dataclass(eq=False)
class Access:
    """One execution of one load or store: the elements, the lanes in ascending order, and for stores the values."""

    kind: str
    array: Array
    elements: np.ndarray
    lanes: np.ndarray
    site: Site
    values: np.ndarray | None
    time: int
    epochs: np.ndarray  # (warps,) how often the whole warp had synchronised by then

    def where(self, keep: np.ndarray) -> Access:
        values = None if self.values is None else self.values[keep]
        return replace(self, elements=self.elements[keep], lanes=self.lanes[keep], values=values)


class WarpOrder:
    """What `syncwarp` has ordered so far in the batch."""

    def __init__(self, batch: Batch):
        self.time = 0
        self.epochs = np.zeros(batch.lanes // 32, np.int32)
        self.partial: list[tuple[int, int, int]] = []  # time, warp and its lanes as bits, where some stayed away

    def sync(self, whole: np.ndarray, partial: list[tuple[int, int]]) -> None:
        self.time += 1
        self.epochs = self.epochs + whole
        self.partial += [(self.time, warp, bits) for warp, bits in partial]

    def ordered(self, a: Access, lane_a: int, b: Access, lane_b: int) -> bool:
        """Whether partial synchronisations, perhaps through other lanes, order two accesses of one warp."""
        first, second = sorted(((a.time, lane_a % 32), (b.time, lane_b % 32)))
        reached = 1 << first[1]
        for time, warp, bits in self.partial:
            if warp == lane_a // 32 and first[0] < time < second[0] and reached & bits:
                reached |= bits
        return bool(reached >> second[1] & 1)


class IntervalLog:
    """Accesses to one memory since the last barrier, by the threads of a batch."""

    def __init__(
        self, shadow: np.ndarray, batch: Batch, order: WarpOrder, findings: Findings, blocks: BlockLog | None = None
    ):
        self.batch, self.order, self.findings, self.blocks = batch, order, findings, blocks
        self.shadow = shadow  # one number for each element of the memory; -1 but for the time of a comparison
        self.accesses: list[Access] = []
        self.total, self.limit = 0, _MOST

    def note(self, access: Access) -> None:
        self.accesses.append(access)
        self.total += len(access.lanes)
        if self.total > self.limit:
            self._compact()

    def close(self, blocks: np.ndarray | None = None) -> None:
        """End the interval: of all blocks, or of those that are True in `blocks`."""
        ended, self.accesses = self.accesses, []
        if blocks is not None:
            for access in ended:
                here = blocks[self.batch.block[access.lanes]]
                if not here.all():
                    self.accesses.append(access.where(~here))
            ended = [access.where(blocks[self.batch.block[access.lanes]]) for access in ended]
            ended = [access for access in ended if len(access.lanes)]
        self.total, self.limit = sum(len(access.lanes) for access in self.accesses), _MOST
        if any(access.kind != READ for access in ended):
            self._compare(ended)
        if self.blocks is not None:
            for access in ended:
                self.blocks.note(access, self.batch)

    def _compact(self) -> None:
        """Merge what one statement did over and over in a loop without barriers."""
        groups: dict[tuple[str, int, int], list[Access]] = {}
        for access in self.accesses:
            groups.setdefault((access.kind, access.site.number, id(access.epochs)), []).append(access)
        self.accesses = []
        for group in groups.values():
            group.reverse()  # of several values the last one counts
            lanes = np.concatenate([access.lanes for access in group])
            elements = np.concatenate([access.elements for access in group])
            _, at = np.unique(elements * self.batch.lanes + lanes, return_index=True)
            values = None
            if group[0].values is not None:
                values = np.concatenate([np.asarray(access.values) for access in group])[at]
            self.accesses.append(replace(group[0], elements=elements[at], lanes=lanes[at], values=values))
        self.total = sum(len(access.lanes) for access in self.accesses)
        self.limit = max(_MOST, 2 * self.total)

    def _compare(self, accesses: list[Access]) -> None:
        epochs = accesses[0].epochs
        if all(access.epochs is epochs for access in accesses) and not self.order.partial:
            self._scan(accesses, _THREAD)
            return
        self._scan(accesses, _WARP)
        seen = [access.epochs[access.lanes >> _WARP] for access in accesses]
        for epoch in range(min(map(np.min, seen)), max(map(np.max, seen)) + 1):
            parts = [a.where(when == epoch) for a, when in zip(accesses, seen, strict=True) if (when == epoch).any()]
            self._scan(parts, _THREAD)

    def _scan(self, accesses: list[Access], names: int) -> None:
        for access, positions, others, other_positions in self._conflicts(accesses, names):
            for number in np.unique(others):
                chosen, other = others == number, accesses[number]
                self._report(accesses, access, positions[chosen], other, other_positions[chosen])

    def _conflicts(
        self, accesses: list[Access], names: int
    ) -> Iterator[tuple[Access, np.ndarray, np.ndarray, np.ndarray]]:
        for marked, looking in _PASSES:
            marks = [(number, access) for number, access in enumerate(accesses) if access.kind in marked]
            if not marks:
                continue
            for number, access in marks:
                mark = (access.lanes << _LANE) + (number << _ACCESS)
                self.shadow[access.elements] = mark + np.arange(len(mark))
            for access in accesses:
                if access.kind not in looking:
                    continue
                found = self.shadow[access.elements]
                bad = np.flatnonzero((found >> (_LANE + names) != access.lanes >> names) & (found >= 0))
                if len(bad):
                    found = found[bad]
                    yield access, bad, found >> _ACCESS & (1 << _LANE - _ACCESS) - 1, found & (1 << _ACCESS) - 1
            for _, access in marks:
                self.shadow[access.elements] = -1

    def _report(self, accesses: list[Access], a: Access, at: np.ndarray, b: Access, b_at: np.ndarray) -> None:
        batch = self.batch
        real = batch.block[a.lanes[at]] == batch.block[b.lanes[b_at]]  # BlockLog tells of the others
        if a.values is not None and b.values is not None and a.kind == b.kind == WRITE:
            real &= ~_equal(a.values[at], b.values[b_at])
        at, b_at = at[real], b_at[real]
        if self.order.partial and len(at):
            at, b, b_at = self._not_ordered(accesses, a, at, b, b_at)
        if not len(at):
            return
        lane, other_lane = int(a.lanes[at[0]]), int(b.lanes[b_at[0]])
        if a.time < b.time:  # the later of the two is the line to look at
            a, at, lane, b, b_at, other_lane = b, b_at, other_lane, a, at, lane
        name = a.array.element_name(int(a.elements[at[0]]), lane)
        when = "in the same statement" if a is b else f"at line {b.site.line}"
        message = f"{a.kind} {name}, which thread {batch.thread_of(other_lane)} {b.kind} {when}; no barrier is between."
        other = (b.site.line, batch.block_of(other_lane), batch.thread_of(other_lane))
        self.findings.add(RACE, a.site, message, batch, lane, subject=a.array.name, other=other, count=len(at))

    def _not_ordered(
        self, accesses: list[Access], a: Access, at: np.ndarray, b: Access, b_at: np.ndarray
    ) -> tuple[np.ndarray, Access, np.ndarray]:
        """One pair, of those at the same elements, that no partial `syncwarp` orders; empty arrays if there is none."""
        for i, j in zip(at.tolist(), b_at.tolist(), strict=True):
            lane = int(a.lanes[i])
            if lane // 32 != int(b.lanes[j]) // 32 or not self.order.ordered(a, lane, b, int(b.lanes[j])):
                return np.array([i]), b, np.array([j])
            for other in accesses:  # the one whose name was left is ordered with us; are the others?
                if READ == a.kind == other.kind or ATOMIC == a.kind == other.kind:
                    continue
                for k in np.flatnonzero(other.elements == a.elements[i]).tolist():
                    other_lane = int(other.lanes[k])
                    if other_lane // 32 == lane // 32 and other_lane != lane:
                        if not self.order.ordered(a, lane, other, other_lane):
                            return np.array([i]), other, np.array([k])
        return np.zeros(0, int), b, np.zeros(0, int)


class BlockLog:
    """Who accessed each element of one global memory last, over the whole grid: for races between blocks."""

    def __init__(self, size: int, grid: Dim, block_dim: Dim, sites: list[Site], findings: Findings, fences: Fences):
        self.grid, self.block_dim, self.sites = grid, block_dim, sites
        self.findings, self.fences = findings, fences
        self.shadow = np.full(size, -1)
        # A name: block, thread, site. The second reader is of another block than the first.
        self.writer, self.reader, self.second, self.updater = (np.full(size, -1) for _ in range(4))
        self.value: np.ndarray | None = None

    _BLOCK, _THREAD = 32, 20

    def note(self, access: Access, batch: Batch) -> None:
        block = (batch.first + batch.block[access.lanes]) << self._BLOCK
        me = block + (batch.thread[access.lanes] << self._THREAD) + access.site.number
        elements = access.elements
        if access.kind == READ:
            self._check(access, batch, me, self.writer, WRITE)
            self._check(access, batch, me, self.updater, ATOMIC)
            before = self.reader[elements]
            self.reader[elements] = me
            changed = (before >= 0) & self._differ(before, me)
            self.second[elements[changed]] = before[changed]
            within = self._differ(self.reader[elements], me)  # of several blocks at this very statement
            self.second[elements[within]] = me[within]
            return
        self._check(access, batch, me, self.reader, READ)
        self._check(access, batch, me, self.second, READ)
        if access.kind == ATOMIC:
            self._check(access, batch, me, self.writer, WRITE)
            self.updater[elements] = me
            return
        self._check(access, batch, me, self.updater, ATOMIC)
        if self.value is None:
            self.value = np.zeros(len(self.writer), np.asarray(access.values).dtype)
        self._check(access, batch, me, self.writer, WRITE)
        self.writer[elements], self.value[elements] = me, access.values
        self._check(access, batch, me, self.writer, WRITE)

    def _differ(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a >> self._BLOCK != b >> self._BLOCK

    def _check(self, access: Access, batch: Batch, me: np.ndarray, names: np.ndarray, what: str) -> None:
        found = names[access.elements]
        bad = (found >= 0) & self._differ(found, me)
        if access.kind == what == WRITE and self.value is not None and bad.any():
            bad &= ~_equal(self.value[access.elements], np.asarray(access.values))
        at = np.flatnonzero(bad)
        if self.fences.fenced:
            pairs = zip((found[at] >> self._BLOCK).tolist(), (me[at] >> self._BLOCK).tolist(), strict=True)
            at = at[[not self.fences.ordered(before, after, access.time) for before, after in pairs]]
        if not len(at):
            return
        lane, name = int(access.lanes[at[0]]), int(found[at[0]])
        site = self.sites[name & (1 << self._THREAD) - 1]
        block = coordinates(name >> self._BLOCK, self.grid)
        thread = coordinates(name >> self._THREAD & (1 << self._BLOCK - self._THREAD) - 1, self.block_dim)
        element = access.array.element_name(int(access.elements[at[0]]), lane)
        message = (
            f"{access.kind} {element}, which thread {thread} of block {block} {what} at line {site.line}; "
            "nothing orders blocks."
        )
        other, name_ = (site.line, block, thread), f"{access.array.name} between blocks"
        self.findings.add(RACE, access.site, message, batch, lane, subject=name_, other=other, count=len(at))


def _equal(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a == b) | ((a != a) & (b != b))  # NaN is NaN
