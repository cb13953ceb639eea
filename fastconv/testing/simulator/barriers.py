"""`syncthreads` and its kin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastconv.testing.simulator import values
from fastconv.testing.simulator.findings import DIVERGENT_BARRIER
from fastconv.testing.simulator.functions import Place
from fastconv.testing.simulator.values import Number


def sync(place: Place, what: str) -> None:
    """All threads of a block must come; that they do ends the interval in which accesses may race."""
    interpreter, mask = place.interpreter, place.mask
    batch = interpreter.batch
    came = batch.by_block(mask.lanes)
    here = np.logical_or.reduce(came, axis=1)
    missing = batch.by_block(batch.everyone.lanes) & ~came & here[:, None]
    if missing.any():
        divided = np.logical_or.reduce(missing, axis=1)
        block = int(np.flatnonzero(divided)[0])
        lane = block * batch.per_block + int(np.flatnonzero(came[block])[0])
        absent = block * batch.per_block + int(np.flatnonzero(missing[block])[0])
        reason = "has returned" if batch.exited[absent] else "is elsewhere in the kernel"
        message = (
            f"waits in {what} with {int(came[block].sum())} of {batch.threads} threads; "
            f"thread {batch.thread_of(absent)} does not come: it {reason}."
        )
        other = (None, batch.block_of(absent), batch.thread_of(absent))
        count = int(np.count_nonzero(came[divided]))
        interpreter.findings.add(DIVERGENT_BARRIER, place.site, message, batch, lane, other=other, count=count)
    interpreter.memory.trace.barrier(batch, mask.lanes, what, place.site)
    over = ~np.logical_or.reduce(batch.by_block(batch.everyone.lanes & ~batch.exited), axis=1)
    interpreter.memory.close_interval(None if (here | over).all() else here)


def reduce(
    place: Place, what: str, predicate: Number, function: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """A barrier that also gives a number made of all threads' predicates; int32 in each lane."""
    batch = place.interpreter.batch
    sync(place, what)
    came = batch.by_block(place.mask.lanes)
    yes = batch.by_block(np.broadcast_to(np.asarray(values.truth(predicate)), batch.lanes)) & came
    return np.repeat(function(yes, came).astype(np.int32), batch.per_block)
