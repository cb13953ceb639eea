"""`Goal`: what a kernel may cost, as the simulator counts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastconv.testing.simulator.counts import Line
from fastconv.testing.simulator.report import Report

_TITLES = {
    "sectors": "at most {:g} sectors a request in every line",
    "conflicts": "no bank conflicts",
    "float64": "no arithmetic in float64",
    "requests": "at most {:g} requests to global memory",
}
_COUNTS: dict[str, Callable[[Line], float]] = {
    "sectors": lambda line: line.sectors_per_request,
    "conflicts": lambda line: line.bank_conflicts,
    "float64": lambda line: line.float64_flops,
    "requests": lambda line: line.requests,
}


@dataclass(frozen=True)
class Goal:
    """A limit.

    Attributes:
        kind: what is counted. "sectors": of 32 bytes that a warp's request to global memory moves, in the worst line;
            "conflicts": passes over the banks of shared memory beyond those needed; "float64": operations; "requests":
            of warps to global memory.
        limit: what is allowed.
    """

    kind: str
    limit: float = 0

    def __str__(self) -> str:
        return _TITLES[self.kind].format(self.limit)

    def measure(self, reports: list[Report]) -> tuple[float, Line | None]:
        """What was counted, and the line that has most of it."""
        lines = [line for report in reports for line in report.lines]
        counts = [_COUNTS[self.kind](line) for line in lines]
        if not counts:
            return 0.0, None
        worst = max(counts)
        return worst if self.kind == "sectors" else sum(counts), lines[counts.index(worst)]
