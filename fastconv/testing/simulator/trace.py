"""`Trace`: the memory accesses and barriers of one block, in order, for the stepper on the page."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.testing.simulator.arrays import Array
from fastconv.testing.simulator.batch import Batch, Dim
from fastconv.testing.simulator.source import Site

_THREADS = 128  # of a block that keeps all its steps


class Trace:
    """Steps of the block `block`, if any; `cut` says that there were more than are kept.

    Each step is a dict: line, file, what, array (None for a barrier), elements (of each thread its first; -1 for none),
    width (elements of a thread, side by side) and values (width, threads): what is in them after the access.
    """

    def __init__(self, block: Dim | None, most_steps: int = 3000):
        self.block, self.most, self.cut, self.numbers = block, most_steps, False, 0
        self.steps: list[dict[str, Any]] = []
        self.arrays: dict[str, dict[str, Any]] = {}
        self.names: dict[int, str] = {}  # of arrays, each its own

    def access(
        self, batch: Batch, array: Array, what: str, flat: np.ndarray, lanes: np.ndarray, site: Site, width: int
    ) -> None:
        """Note which element each thread of the block touches, the first of `width`; -1 for threads that do not."""
        here = self._here(batch)
        if here is None:
            return
        inside = (lanes >= here.start) & (lanes < here.stop)
        if not inside.any():
            return
        elements = np.full(batch.threads, -1)
        root, name = array.root, self._name(array.root, site)
        local = np.broadcast_to(flat, lanes.shape)[inside]
        elements[lanes[inside] - here.start] = local - root.start_of(lanes[inside])
        about = {"space": root.space, "shape": root.shape, "strides": root.strides, "item": root.dtype.itemsize}
        self.arrays.setdefault(name, {**about, "address": root.address, "dense": root.is_dense})
        step = {"line": site.line, "file": site.file, "what": what, "array": name, "elements": elements.tolist()}
        places = local + np.arange(width)[:, None]
        values = np.zeros((width, batch.threads), array.dtype)
        values[:, lanes[inside] - here.start] = array.data[np.minimum(places, len(array.data) - 1)]
        self._add({**step, "width": width, "values": values})

    def barrier(self, batch: Batch, mask_lanes: np.ndarray, what: str, site: Site) -> None:
        here = self._here(batch)
        if here is not None and mask_lanes[here].any():
            came = np.where(mask_lanes[here], 0, -1)
            self._add(
                {
                    "line": site.line,
                    "file": site.file,
                    "what": what,
                    "array": None,
                    "elements": came.tolist(),
                    "width": 1,
                    "values": None,
                }
            )

    def _name(self, array: Array, site: Site) -> str:
        """The array's name; with its function's where another array has it already."""
        if id(array) not in self.names:
            taken = array.name in self.arrays
            self.names[id(array)] = f"{array.name} of {site.function}" if taken else array.name
        return self.names[id(array)]

    def _here(self, batch: Batch) -> slice | None:
        return None if self.block is None or self.cut else batch.lanes_of(self.block)

    def _add(self, step: dict[str, Any]) -> None:
        self.steps.append(step)
        self.numbers += len(step["elements"])
        self.cut = len(self.steps) >= self.most or self.numbers >= self.most * _THREADS
