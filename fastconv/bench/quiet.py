"""`time_quietly`: `time_in_turn`, again where the machine turns out to have been busy with something else.

On a shared machine a neighbour may take a third of the speed for seconds, of the cores or of the caches. Multiply-adds
and copies take their turn among the contestants: they run at the measured limits unless something else runs, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from fastconv.bench.limits import Limits, reference_call
from fastconv.bench.timing import Timing, time_in_turn

QUIET = 0.94  # of the limits, which are the best of many rounds; alone the reference reaches 0.95 to 0.99
_TRIES = 3
_REFERENCE = ""  # no contestant's name


def busy(what: str, percent: float) -> str:
    """What a table says of a time that was not quiet."""
    return f"{what}: the machine was busy with something else, too: the reference reached {percent:.0f}% of the limits"


def time_quietly(
    contestants: Mapping[str, Callable[[], object]],
    limits: Limits,
    seconds: float,
    on_sample: Callable[[float], object] = lambda share: None,
    measure: Callable[[Any, int], float] | None = None,
) -> tuple[dict[str, Timing], float | None]:
    """The timings of the quietest of up to three tries, and how much of the limits the reference reached during it.

    Args:
        limits: of a CPU, for as many threads as the contestants use; those of a GPU have no reference, and that
            share is None.
        contestants, seconds, on_sample, measure: as for `time_in_turn`.
    """
    if limits.device != "cpu" or not contestants:
        return time_in_turn(contestants, seconds, on_sample, measure=measure, on_device=limits.device == "gpu"), None
    call, least = reference_call(limits)
    fastest, reached = {}, -1.0
    for _ in range(_TRIES):
        timings = time_in_turn(
            {**contestants, _REFERENCE: call},
            seconds,
            on_sample,
            measure=lambda given, count: (measure if measure and given is not call else _on_the_clock)(given, count),
        )
        share = least / timings.pop(_REFERENCE).median_s
        if share > reached:
            fastest, reached = timings, share
        if share >= QUIET:
            break
    return fastest, reached


def _on_the_clock(call: Callable[[], object], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - started
