"""The roofline of a result as numbers: measured ceilings, and a point for each timed kernel and peer.

After Williams, Waterman and Patterson, "Roofline: an insightful visual performance model" (2009): performance against
arithmetic intensity, both logarithmic, under the lines that bandwidth and peak draw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fastconv.bench.limits import Limits

# Okabe and Ito's colours, which colour-blind people can tell apart; each with a marker of its own.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#999933")
MARKERS = ("circle", "square", "diamond", "triangle", "cross", "plus", "down", "star")


@dataclass(frozen=True)
class Point:
    """A timed row. x in FLOP/byte, y in GFLOP/s."""

    x: float
    y: float
    series: str
    text: str


@dataclass(frozen=True)
class Ceiling:
    """min(peak, bandwidth * x): GFLOP/s, GB/s."""

    name: str
    peak: float
    bandwidth: float


def series_name(row: dict[str, Any]) -> str:
    """What a row's contestant is called where layouts matter."""
    if row["kind"] == "kernel":
        return str(row["contestant"])
    return f"{row['contestant']} {row['layout']} {row.get('precision', '')}".rstrip()


def series(result: dict[str, Any]) -> list[str]:
    """The contestants in the order in which they first come, kernels before peers."""
    rows = sorted(result["rows"], key=lambda row: row["kind"] != "kernel")
    return list(dict.fromkeys(series_name(row) for row in rows))


def points(result: dict[str, Any]) -> list[Point]:
    """Every timed row that computes anything."""
    return [
        Point(
            row["intensity"],
            row["gflop_per_s"],
            series_name(row),
            f"{row['op']} {row['shape']}, {series_name(row)}: {row['median_ms']:.3g} ms, "
            f"{row['gflop_per_s']:.3g} GFLOP/s, {row['percent_of_limit']:.0f}% of the limit",
        )
        for row in result["rows"]
        if row["status"] == "timed" and row["gflop_per_s"] > 0
    ]


def ceilings(result: dict[str, Any]) -> list[Ceiling]:
    """For each measured number of threads the line of memory; for a CPU's largest also that of 1 MiB, in the caches."""
    found = []
    limits = sorted((Limits.from_dict(data) for data in result["limits"]), key=lambda limit: -limit.threads)
    for index, limit in enumerate(limits):
        threads = f"{limit.threads} threads, " if len(limits) > 1 else ""
        peak = limit.gflop_per_s["float32"]
        memory = limit.bandwidth(max(limit.gbyte_per_s))
        if index == 0 and limit.device == "cpu":
            cached = limit.bandwidth(1 << 20)
            found.append(Ceiling(f"{threads}1 MiB: {cached:.0f} GB/s", peak, cached))
        found.append(Ceiling(f"{threads}memory: {memory:.0f} GB/s", peak, memory))
    return found


def extent(values: list[float]) -> tuple[float, float]:
    """Powers of ten round all values, at least one decade."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(1.1 * max(values)))
    return 10.0**low, 10.0 ** max(high, low + 1)


def ranges(result: dict[str, Any]) -> tuple[tuple[float, float], tuple[float, float]]:
    """What the axes span, x and y."""
    marks, lines = points(result), ceilings(result)
    ridges = [line.peak / line.bandwidth / 10 for line in lines]  # a decade of the slopes is seen
    xs = extent([point.x for point in marks] + ridges or [1.0])
    ys = extent([point.y for point in marks] + [line.peak for line in lines] or [1.0])
    return xs, ys
