"""The table that `fastconv bench` prints."""

from __future__ import annotations

from typing import Any

from fastconv.bench import quiet
from fastconv.bench.result import Result, Row, best_first

_COLUMNS = ("ms", "p20-p80", "GFLOP/s", "GB/s", "% limit", "x peer")
_ON_A_GPU = ("compile ms", "launch us", "transfer ms")
_WIDTHS = (8, 15, 9, 8, 9, 8, 12, 11, 13)


def show(result: Result, console: Any) -> None:
    """Print all rows, grouped by problem, the fastest first, and what was refused with the reason."""

    def line(text: str, style: str = "") -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    for limits in result.limits:
        threads = f", {limits.threads} threads" if limits.threads else ""
        cached = "" if limits.device == "gpu" else f"{limits.bandwidth(1 << 20):.0f} GB/s in 1 MiB, "
        line(
            f"Limits, measured{threads}: {limits.gflop_per_s['float32']:.0f} GFLOP/s float32; copying {cached}"
            f"{limits.bandwidth(1 << 40):.0f} GB/s in memory"
        )
    heads = _COLUMNS + (_ON_A_GPU if any(row.launch_us is not None for row in result.rows) else ())
    heading = None
    problems = {}  # whose numbers stand above a problem's rows: those of a contestant in its own dtype, if there is one
    for row in sorted(result.rows, key=lambda row: not row.precision):
        if row.status == "timed":
            problems[row.op, row.shape, row.threads] = row
    for row in best_first(result.rows):
        if row.status != "timed":
            continue
        if heading is None:
            line(_line("", heads), "bold")
        if (row.op, row.shape, row.threads) != heading:
            heading = row.op, row.shape, row.threads
            threads, of = f", {row.threads} threads" if len(result.limits) > 1 else "", problems[heading]
            line(f"{row.op} {row.shape}{threads} ({number(of.intensity)} FLOP/byte, limit: {of.bound})", "bold")
        line(_line(_name(row), _cells(row)[: len(heads)]).rstrip())
    if heading is not None:
        peer = (
            "; x peer: the best peer's time over this one's" if any(row.kind == "peer" for row in result.rows) else ""
        )
        line(f'* what algorithm="auto" takes{peer}', "dim")
    disturbed = {
        (row.op, row.shape): row.percent_of_limits_meanwhile
        for row in result.rows
        if row.percent_of_limits_meanwhile is not None and row.percent_of_limits_meanwhile < 100 * quiet.QUIET
    }
    for (op, shape), percent in disturbed.items():
        line(quiet.busy(f"{op} {shape}", percent))
    refused: dict[tuple[str, str, str], list[str]] = {}  # a kernel that failed its checks is refused for all shapes
    for row in result.rows:
        if row.status != "timed":
            key = row.op, f"{_name(row).strip()} {row.status}", row.message
            refused.setdefault(key, []).append(row.shape)
    for (op, what, message), shapes in refused.items():
        more = f" and {len(shapes) - 3} more" if len(shapes) > 3 else ""
        line(f"{op} {', '.join(shapes[:3])}{more}: {what}: {message}")


def _line(first: str, cells: tuple[str, ...]) -> str:
    return f"{first:<26}" + "".join(cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=False))


def _name(row: Row) -> str:
    return (
        f"  {row.contestant}{'*' if row.default else ''}"
        if row.kind == "kernel"
        else f"  {row.contestant} {row.layout} {row.precision}".rstrip()
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        number(row.median_ms),
        f"{number(row.p20_ms)}-{number(row.p80_ms)}",
        number(row.gflop_per_s),
        number(row.gbyte_per_s),
        number(row.percent_of_limit),
        "" if row.ratio is None else f"{row.ratio:.2f}",
        number(row.compile_ms),
        number(row.launch_us),
        number(row.transfer_ms),
    )


def number(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return ""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}"
