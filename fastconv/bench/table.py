"""The table that `fastconv bench` prints."""

from __future__ import annotations

from typing import Any

from fastconv.bench.result import Result, Row, best_first


def show(result: Result, console: Any) -> None:
    """Print all rows, grouped by problem, the fastest first, and what was refused with the reason."""
    from rich.table import Table

    for limits in result.limits:
        console.print(
            f"Limits, {limits.threads} threads: {limits.gflop_per_s['float32']:.0f} GFLOP/s float32, "
            f"{limits.bandwidth(1 << 20):.0f} GB/s in 1 MiB, {limits.bandwidth(1 << 40):.0f} GB/s from memory."
        )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("contestant", no_wrap=True)
    for name in ("ms", "p20-p80", "GFLOP/s", "GB/s", "FLOP/B", "% limit", "by", "x peer"):
        table.add_column(name, justify="left" if name == "by" else "right", no_wrap=True)
    heading = None
    for row in best_first(result.rows):
        if (row.op, row.shape, row.threads) != heading:
            heading = row.op, row.shape, row.threads
            threads = f", {row.threads} threads" if len(result.limits) > 1 else ""
            if table.rows:
                table.add_row("")
            table.add_row(f"[bold]{row.op} {row.shape}[/bold]{threads}")
        if row.status == "timed":
            table.add_row(*_cells(row))
    if table.rows:
        console.print(table)
    for row in result.rows:
        if row.status != "timed":
            console.print(f"{row.op} {row.shape}: {row.contestant} {row.status}: {row.message}", markup=False)


def _cells(row: Row) -> list[str]:
    name = row.contestant if row.kind == "kernel" else f"{row.contestant} {row.layout}"
    return [
        f"  {name}{' (default)' if row.default else ''}",
        number(row.median_ms),
        f"{number(row.p20_ms)}-{number(row.p80_ms)}",
        number(row.gflop_per_s),
        number(row.gbyte_per_s),
        number(row.intensity),
        f"{row.percent_of_limit:.0f}",
        row.bound or "",
        "" if row.ratio is None else f"{row.ratio:.2f}",
    ]


def number(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"
