"""`range` in a kernel: Python's where its bounds are the same in all threads, else a `VaryingRange`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastconv.testing.simulator import values
from fastconv.testing.simulator.masks import Mask
from fastconv.testing.simulator.values import Number


@dataclass
class VaryingRange:
    """A range whose bounds differ between threads; (lanes,) each."""

    start: np.ndarray
    stop: np.ndarray
    step: np.ndarray


def make_range(args: list[Number], mask: Mask) -> range | VaryingRange:
    """range(*args) for the threads of `mask`."""
    bounds = [0, *args, 1] if len(args) == 1 else [*args, 1][:3]
    kept = []
    for bound in bounds:
        picked = mask.pick(bound)
        if values.varies(picked) and (picked == picked[0]).all():
            bound = picked[0]
        kept.append(bound)
    if not any(map(values.varies, kept)):
        return range(*map(int, kept))
    dtype = values.UINT64 if all(values.type_of(arg).kind == "u" for arg in args) else values.INT64
    start, stop, step = (np.broadcast_to(values.cast(bound, dtype), mask.lanes.shape) for bound in kept)
    return VaryingRange(start, stop, step)
