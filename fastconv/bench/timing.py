"""Times contestants in turn: A B C, C A B, B A C ... in one process.

A machine's speed drifts while a benchmark runs; in turn all contestants meet the same machine, so that their ratios
hold where single figures do not. The threads of OpenMP and OpenBLAS spin for milliseconds after their work and would
take a core from the next contestant, so that each turn begins with a rest until they sleep. Threads that wake may share
a core until the system's next tick moves one (4 ms on Linux, and a call that meets it takes as long), so that untimed
calls follow for two ticks. Each round has an order of its own, so that nobody always follows the same one. What runs
on a GPU has a clock of its own and meets none of this.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

LEAST_SAMPLES = 5
_SAMPLE_S = 0.03  # calls are repeated until a sample takes this long
_DEVICE_SAMPLE_S = 0.005  # likewise on a device, whose clock is that exact
_WAKE_S = 0.01  # of untimed calls
_REST_S = 0.15  # after 0.04 s OpenBLAS's threads still spun, after 0.15 s nobody's did
_STABLE = 0.01  # standard error of the median, relative, at which more samples change nothing that is printed


@dataclass(frozen=True)
class Timing:
    """Seconds a call: median, 20th and 80th percentile of the samples, and how many there were."""

    median_s: float
    p20_s: float
    p80_s: float
    samples: int


def time_in_turn(
    contestants: Mapping[str, Callable[[], object]],
    seconds: float = 0.5,
    on_sample: Callable[[float], object] = lambda share: None,
    clock: Callable[[], float] = time.perf_counter,
    rest: Callable[[float], object] = time.sleep,
    measure: Callable[[Callable[[], object], int], float] | None = None,
    on_device: bool = False,
) -> dict[str, Timing]:
    """Time every contestant until its median is stable or it has had `seconds`, but at least LEAST_SAMPLES times.

    A call of a quarter of `seconds` or more is timed twice at least, not LEAST_SAMPLES times.

    Args:
        contestants: what to call, by name; each has been called before, so that nothing is compiled here.
        seconds: for each contestant, its untimed calls included.
        on_sample: called after each sample with the share of the whole that is done, 0 to 1.
        clock: seconds. rest: waits for so many of them, which do not count as a contestant's.
        measure: (call, count) -> seconds that `count` calls take; by default on the clock. A GPU has its own.
        on_device: a call returns before its work is done; `measure` alone knows how long that takes, nobody rests.
    """
    measure = measure or (lambda call, count: _on_the_clock(call, count, clock))
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    spent = dict.fromkeys(contestants, 0.0)
    calls: dict[str, int] = {}
    for name, call in contestants.items():
        if on_device:
            once = measure(call, 1)
        else:
            rest(_REST_S)
            once = _calls_for(3 * _WAKE_S, call, clock)
        sample_s = _DEVICE_SAMPLE_S if on_device else _SAMPLE_S
        calls[name] = max(1, min(10_000, math.ceil(sample_s / max(once, 1e-9))))
    active, order = list(contestants), random.Random(0)
    while active:
        order.shuffle(active)
        for name in list(active):
            call, count = contestants[name], calls[name]
            if not on_device:
                rest(_REST_S)
            begun = clock()
            if count > 1 and not on_device:
                _calls_for(_WAKE_S, call, clock)
            samples[name].append(measure(call, count) / count)
            spent[name] += clock() - begun
            if _is_done(samples[name], spent[name], seconds):
                active.remove(name)
            shares = (1.0 if name not in active else min(1.0, spent[name] / seconds) for name in contestants)
            on_sample(sum(shares) / len(contestants))
    return {name: _summary(values) for name, values in samples.items()}


def _calls_for(seconds: float, call: Callable[[], object], clock: Callable[[], float]) -> float:
    """Call for so many seconds, at least once; returns those of the fastest call."""
    fastest, begun = math.inf, clock()
    now = begun
    while now - begun < seconds:
        started = now
        call()
        now = clock()
        fastest = min(fastest, now - started)
    return fastest


def _on_the_clock(call: Callable[[], object], count: int, clock: Callable[[], float]) -> float:
    started = clock()
    for _ in range(count):
        call()
    return clock() - started


def _is_done(samples: list[float], spent: float, seconds: float) -> bool:
    least = 2 if samples[0] >= seconds / 4 else LEAST_SAMPLES
    if len(samples) < least:
        return False
    if spent >= seconds:
        return True
    timing = _summary(samples)
    # For a normal distribution p80 - p20 is 1.68 standard deviations, and the median's standard error 1.25 / sqrt(n).
    error = 1.25 * (timing.p80_s - timing.p20_s) / 1.68 / math.sqrt(len(samples))
    return len(samples) >= 2 * LEAST_SAMPLES and error <= _STABLE * timing.median_s


def _summary(samples: list[float]) -> Timing:
    if len(samples) == 1:
        return Timing(samples[0], samples[0], samples[0], 1)
    fifths = statistics.quantiles(samples, n=5, method="inclusive")
    return Timing(statistics.median(samples), fifths[0], fifths[3], len(samples))
