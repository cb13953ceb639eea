"""What a benchmark found: rows, and the files they are kept in."""

from __future__ import annotations

import csv
import io
import re
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastconv import machine
from fastconv.bench.limits import Limits
from fastconv.bench.timing import Timing
from fastconv.utils.files import atomic_write

_TRANSPOSE = re.compile("nchw_?to_?nhwc|nhwc_?to_?nchw|transpose", re.IGNORECASE)  # in cuDNN's and others' names


@dataclass
class Row:
    """One contestant on one problem.

    status: "timed", "wrong" (it differs from the reference and was not timed), "unsupported" or "failed"; then
        `message` says why, and the numbers are None.
    flops, bytes: of the problem, not of the algorithm: Winograd may pass 100 percent of the limit.
    limit_ms: the least time that the machine's measured limits allow; `bound` says which of them.
    ratio: the best peer's median over this one's, above 1 where this one is faster; None without peers, and only
        peers of its precision count.
    percent_of_limits_meanwhile: what multiply-adds and copies reached while the problem was timed; below 94 something
        else ran, too.
    rank: 1 for the fastest of a problem and number of threads.
    precision: "tf32" or "bfloat16" where it computes in that, else "".
    device_kernels: what a GPU did in one call, microseconds by the name of each kernel; transpose_ms: what those took
        of them that only change a layout.
    """

    op: str
    shape: str
    problem: str
    device: str
    threads: int
    contestant: str
    kind: str  # "kernel" or "peer"
    layout: str = "NHWC"
    default: bool = False
    status: str = "timed"
    message: str = ""
    median_ms: float | None = None
    p20_ms: float | None = None
    p80_ms: float | None = None
    repeats: int | None = None
    flops: int | None = None
    bytes: int | None = None
    gflop_per_s: float | None = None
    gbyte_per_s: float | None = None
    intensity: float | None = None
    limit_ms: float | None = None
    percent_of_limit: float | None = None
    bound: str | None = None
    ratio: float | None = None
    rank: int | None = None
    percent_of_limits_meanwhile: float | None = None
    compile_ms: float | None = None
    launch_us: float | None = None
    transfer_ms: float | None = None
    precision: str = ""
    transpose_ms: float | None = None
    device_kernels: dict[str, float] | None = None

    def fill(self, problem: Any, flops: int, bytes_: int, timing: Timing, limits: Limits) -> None:
        """Set the numbers from a timing."""
        if self.precision == "bfloat16" and self.kind == "peer":  # our kernels' arrays are float32
            bytes_ //= 2
        self.median_ms, self.p20_ms, self.p80_ms = (1e3 * s for s in (timing.median_s, timing.p20_s, timing.p80_s))
        self.repeats = timing.samples
        self.flops, self.bytes, self.intensity = flops, bytes_, flops / max(bytes_, 1)
        self.gflop_per_s = flops / timing.median_s / 1e9
        self.gbyte_per_s = bytes_ / timing.median_s / 1e9
        dtype = self.precision or problem.dtype
        if dtype in limits.gflop_per_s:  # a GPU is not measured in float64
            least, self.bound = limits.least_seconds(flops, bytes_, dtype)
            self.limit_ms = 1e3 * least
            self.percent_of_limit = 100 * least / timing.median_s

    def fill_kernels(self, seconds: dict[str, float]) -> None:
        """Set what a GPU did in one call, from the seconds of each of its kernels."""
        self.device_kernels = {name: 1e6 * spent for name, spent in seconds.items()}
        self.transpose_ms = 1e3 * sum(spent for name, spent in seconds.items() if _TRANSPOSE.search(name))


@dataclass
class Result:
    """Rows, and what they were measured with."""

    command: str
    limits: list[Limits]
    rows: list[Row] = field(default_factory=list)
    interrupted: bool = False

    def compare(self) -> None:
        """Set rank and ratio of every timed row."""
        groups: dict[tuple[str, str, int], list[Row]] = {}
        for row in self.rows:
            if row.median_ms is not None:
                groups.setdefault((row.op, row.shape, row.threads), []).append(row)
        for rows in groups.values():
            rows.sort(key=lambda row: row.median_ms or 0.0)
            for rank, row in enumerate(rows, start=1):
                peers = [peer.median_ms for peer in rows if peer.kind == "peer" and peer.precision == row.precision]
                row.rank = rank
                row.ratio = min(filter(None, peers)) / row.median_ms if peers and row.median_ms else None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data, with machine, versions and commit."""
        return {
            **provenance(self.command),
            "limits": [limits.to_dict() for limits in self.limits],
            "interrupted": self.interrupted,
            "rows": [asdict(row) for row in self.rows],
        }


def provenance(command: str) -> dict[str, Any]:
    """What a result was made by, when, and with what."""
    return {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine.describe(),
        "versions": machine.versions(),
    }


def write_csv(path: Path, result: dict[str, Any]) -> None:
    """One line a row, each with machine, versions and commit."""
    text = io.StringIO(newline="")
    shared = {
        "cpu": result["machine"]["cpu"],
        "gpu": "; ".join(result["machine"]["gpus"]),
        "versions": " ".join(f"{name}={version}" for name, version in result["versions"].items()),
        "commit": result["commit"] or "",
        "date": result["date"],
    }
    writer = csv.DictWriter(text, [column.name for column in fields(Row)] + list(shared))
    writer.writeheader()
    writer.writerows({**row, **shared} for row in result["rows"])
    with atomic_write(path) as stream:
        stream.write(text.getvalue().encode())


def best_first(rows: Iterable[Row]) -> list[Row]:
    """Rows by op, shape and threads in their order, the fastest first, those without a time last."""
    order: dict[tuple[str, str, int], int] = {}
    rows = list(rows)
    for row in rows:
        order.setdefault((row.op, row.shape, row.threads), len(order))
    return sorted(rows, key=lambda row: (order[row.op, row.shape, row.threads], row.rank or len(rows) + 1))


def commit() -> str | None:
    """The commit of the checkout that this file lies in, "+" behind it where files differ; None outside of one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
