"""Instructions that are more than code of a thread: see `kernels.cuda.instruction`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.testing.simulator import copies, values
from fastconv.testing.simulator.findings import DIVERGENT_WARP
from fastconv.testing.simulator.functions import Place
from fastconv.testing.simulator.masks import WARP
from fastconv.testing.simulator.values import Number


def by_threads(place: Place, instruction: Any, *args: Number) -> Number:
    """Of one instruction that each thread does for itself; the model sees threads that are not here, too."""
    result: Number = values.plain(instruction.model(*args))
    _count(place, instruction)
    return result


def by_warps(place: Place, instruction: Any, *args: Number) -> tuple[np.ndarray, ...]:
    """Of one that a warp does together: a warp that comes in parts is a finding, and gets NaN."""
    interpreter, rows = place.interpreter, place.mask.warps
    batch, whole = interpreter.batch, rows.all(axis=1)
    if (part := place.mask.active_warps & ~whole).any():
        warp = int(np.flatnonzero(part)[0])
        came, missing = (warp * WARP + int(np.flatnonzero(lanes)[0]) for lanes in (rows[warp], ~rows[warp]))
        why = "has returned" if batch.exited[missing] else "is elsewhere in the kernel"
        who = f"thread {batch.thread_of(missing)} {why}" if batch.everyone.lanes[missing] else "the block has no more"
        message = f"calls {instruction.name} with {int(rows[warp].sum())} of the 32 threads of its warp; {who}."
        other = (None, batch.block_of(missing), batch.thread_of(missing))
        count = int(np.count_nonzero(rows[part]))
        interpreter.findings.add(DIVERGENT_WARP, place.site, message, batch, came, other=other, count=count)
    brought = [np.broadcast_to(np.asarray(arg), batch.lanes).reshape(-1, WARP)[whole] for arg in args]
    results = []
    for found in instruction.model(*brought):
        spread = np.full(rows.shape, np.nan, found.dtype)
        spread[whole] = found
        results.append(spread.reshape(-1))
    _count(place, instruction)
    return tuple(results)


def _count(place: Place, instruction: Any) -> None:
    place.interpreter.count_flops(np.float32(0), place.mask, place.site, instruction.flops)


INSTRUCTIONS: dict[str, Callable[..., Any]] = {
    "threads": by_threads,
    "warps": by_warps,
    "copy": copies.start,
    "commit": copies.commit,
    "wait": copies.wait,
}
