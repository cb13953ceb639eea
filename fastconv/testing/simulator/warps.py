"""Shuffles, votes and `syncwarp`: what the lanes of a warp do together."""

from __future__ import annotations

import numpy as np

from fastconv.testing.simulator import values
from fastconv.testing.simulator.findings import DIVERGENT_WARP
from fastconv.testing.simulator.functions import Place
from fastconv.testing.simulator.masks import WARP
from fastconv.testing.simulator.values import Number

_LANES = np.arange(WARP)
_BITS = np.left_shift(np.int64(1), _LANES)


def participants(place: Place, member_mask: Number, what: str) -> np.ndarray:
    """(warps, 32) bool: the lanes that take part. A lane that is named and does not come is a finding.

    Lanes that the block does not have, and threads that have returned, need not come.
    """
    batch, active = place.interpreter.batch, place.mask.warps
    bits = np.broadcast_to(np.asarray(values.cast(member_mask, values.INT64)), batch.lanes).reshape(-1, WARP)
    together = np.bitwise_or.reduce(np.where(active, bits, 0), axis=1)
    named = (together[:, None] & _BITS) != 0
    waiting = (batch.everyone.lanes & ~batch.exited).reshape(-1, WARP)
    absent = named & waiting & ~active & place.mask.active_warps[:, None]
    for wrong, why in (
        (absent, "waits in {} for thread {}, which its mask names but which is not there."),
        (active & ~named, "calls {} with a mask that leaves thread {}, itself, out."),
    ):
        if wrong.any():
            warp = int(np.flatnonzero(wrong.any(axis=1))[0])
            lane = warp * WARP + int(np.flatnonzero(active[warp])[0])
            missing = warp * WARP + int(np.flatnonzero(wrong[warp])[0])
            if wrong is not absent:
                lane = missing
            message = why.format(what, batch.thread_of(missing))
            other = (None, batch.block_of(missing), batch.thread_of(missing))
            place.interpreter.findings.add(
                DIVERGENT_WARP, place.site, message, batch, lane, other=other, count=int(np.count_nonzero(wrong))
            )
    return active


def shuffle(place: Place, member_mask: Number, value: Number, source: np.ndarray, what: str) -> np.ndarray:
    """Each lane gets the value of the lane `source` (warps, 32); one below 0 or above 31 stands for its own."""
    batch = place.interpreter.batch
    active = participants(place, member_mask, what)
    rows = np.broadcast_to(np.asarray(value), batch.lanes).reshape(-1, WARP)
    source = np.where((source < 0) | (source >= WARP), _LANES, source)
    there = np.take_along_axis(active, source, axis=1)
    lost = active & ~there
    if lost.any():
        lane = int(np.flatnonzero(lost.reshape(-1))[0])
        message = f"reads lane {source.reshape(-1)[lane]} by {what}, which takes no part: its value is undefined."
        place.interpreter.findings.add(
            DIVERGENT_WARP, place.site, message, batch, lane, subject="shuffle", count=int(np.count_nonzero(lost))
        )
    return np.where(there, np.take_along_axis(rows, source, axis=1), rows.dtype.type(0)).reshape(-1)


def vote(place: Place, member_mask: Number, value: Number, what: str) -> tuple[np.ndarray, np.ndarray]:
    """The lanes that take part, and the value in every lane; (warps, 32) both."""
    active = participants(place, member_mask, what)
    return active, np.broadcast_to(np.asarray(value), place.mask.lanes.size).reshape(-1, WARP)


def ballot(lanes: np.ndarray) -> np.ndarray:
    """(warps, 32) bool as one int32 a warp, whose bit i is lane i."""
    return np.where(lanes, _BITS, 0).sum(axis=1).astype(np.uint32).view(np.int32)


def to_lanes(by_warp: np.ndarray) -> np.ndarray:
    return np.repeat(by_warp, WARP)


def sync(place: Place, member_mask: Number) -> None:
    active = participants(place, member_mask, "syncwarp")
    batch = place.interpreter.batch
    alive = (batch.everyone.lanes & ~batch.exited).reshape(-1, WARP)
    came = place.mask.active_warps
    whole = came & ~(alive & ~active).any(axis=1)
    partial = [(int(warp), int(np.sum(_BITS[active[warp]]))) for warp in np.flatnonzero(came & ~whole)]
    place.interpreter.memory.order.sync(whole, partial)
