"""`cuda.shared.array` and `cuda.local.array`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.testing.simulator.arrays import Array
from fastconv.testing.simulator.batch import Batch
from fastconv.testing.simulator.errors import SimulationError
from fastconv.testing.simulator.findings import LAUNCH_LIMIT, Findings
from fastconv.testing.simulator.functions import Place
from fastconv.testing.simulator.limits import Limits
from fastconv.testing.simulator.memory import Memory
from fastconv.testing.simulator.races import IntervalLog
from fastconv.testing.simulator.source import Site


class Shared:
    """The shared memory of every block of the batch: one array for each place in the source that asks for one."""

    is_simulated = True

    def __init__(self, batch: Batch, memory: Memory, findings: Findings, limits: Limits, dynamic_bytes: int):
        self.batch, self.memory, self.findings, self.limits = batch, memory, findings, limits
        self.arrays: dict[Site, Array] = {}
        self.static_bytes, self.dynamic_bytes = 0, dynamic_bytes
        self.dynamic: tuple[np.ndarray, np.ndarray, IntervalLog] | None = None  # bytes, whether written, accesses

    def array(self, place: Place, shape: Any, dtype: Any, alignment: int | None = None) -> Array:
        if place.site not in self.arrays:
            shape, dtype = _shape(shape, place.site), np.dtype(dtype)
            name = _name(place.site, "shared array")
            made = self._dynamic(name, dtype) if shape == (0,) else self._static(name, shape, dtype, place.site)
            made.alignment = alignment or made.alignment
            self.arrays[place.site] = made
        return self.arrays[place.site]

    array.is_intrinsic = True  # type: ignore[attr-defined]

    def _static(self, name: str, shape: tuple[int, ...], dtype: np.dtype, site: Site) -> Array:
        made = private_array(name, "shared", shape, dtype, self.batch)
        self.static_bytes += made.nbytes
        for message in self.limits.shared(self.static_bytes, self.dynamic_bytes):
            self.findings.add(LAUNCH_LIMIT, site, message)
        made.log = IntervalLog(np.full(len(made.data), -1), self.batch, self.memory.order, self.findings)
        self.memory.logs.append(made.log)
        return made

    def _dynamic(self, name: str, dtype: np.dtype) -> Array:
        """The bytes given at launch, as elements of one type; arrays of any type begin at the same byte."""
        stride = -(-self.dynamic_bytes // 16) * 16
        if self.dynamic is None:
            raw = np.full(stride * self.batch.blocks, 0xFF, np.uint8)  # NaN, as a float
            log = IntervalLog(np.full(len(raw), -1), self.batch, self.memory.order, self.findings)
            self.memory.logs.append(log)
            self.dynamic = raw, np.zeros(len(raw), bool), log
        raw, ready, log = self.dynamic
        item = dtype.itemsize
        made = Array(
            name, "shared", (self.dynamic_bytes // item,), raw.view(dtype), self.batch.block * (stride // item)
        )
        made.ready, made.log, made.scale, made.alignment = ready[::item], log, item, 16
        return made


class Local:
    """Local arrays: each thread has its own. They mostly become registers, so they are not counted."""

    is_simulated = True

    def __init__(self, batch: Batch):
        self.batch = batch
        self.arrays: dict[Site, Array] = {}

    def array(self, place: Place, shape: Any, dtype: Any, alignment: int | None = None) -> Array:
        if place.site not in self.arrays:
            shape, name = _shape(shape, place.site), _name(place.site, "local array")
            self.arrays[place.site] = private_array(name, "local", shape, np.dtype(dtype), self.batch)
        return self.arrays[place.site]

    array.is_intrinsic = True  # type: ignore[attr-defined]


def private_array(name: str, space: str, shape: tuple[int, ...], dtype: np.dtype, batch: Batch) -> Array:
    """Shared memory of each block, or local memory of each thread: poisoned, and nothing of it written yet."""
    size = math.prod(shape)
    owners, owner = (batch.blocks, batch.block) if space == "shared" else (batch.lanes, batch.all_lanes)
    poison: Any = np.nan if dtype.kind in "fc" else dtype.kind == "b" or np.iinfo(dtype).max // 3
    made = Array(name, space, shape, np.full(owners * size, poison, dtype), owner * size)
    made.ready = np.zeros(owners * size, bool)
    return made


def _shape(shape: Any, site: Site) -> tuple[int, ...]:
    shape = shape if isinstance(shape, tuple) else (shape,)
    if not all(isinstance(size, (int, np.integer)) and size >= 0 for size in shape):
        raise SimulationError(f"the shape of an array must be constant integers, not {shape}.", site)
    return tuple(map(int, shape))


def _name(site: Site, otherwise: str) -> str:
    """The name that the array is assigned to on its line."""
    name, equals, _ = site.text.partition("=")
    return name.strip() if equals and name.strip().isidentifier() else otherwise
