"""The table that `fastconv bench model` prints."""

from __future__ import annotations

from typing import Any

from fastconv.bench.model.compare import ModelResult, ModelRow
from fastconv.bench.table import number


def show(result: ModelResult, console: Any) -> None:
    """Print a line for each contestant, the fastest in training (or predicting) first, and what was refused."""
    from rich import box
    from rich.table import Table

    size = result.sizes[-1]
    threads = f"{result.threads} thread{'s' * (result.threads > 1)}"
    table = Table(title=f"{result.model}, {threads}", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    columns = [("train", count) for count in result.sizes] + [("predict", count) for count in result.sizes]
    columns += [] if 1 in result.sizes else [("predict", 1)]
    table.add_column("", no_wrap=True)
    for what, count in columns:
        table.add_column(f"{what}\n{count}, ms", justify="right", no_wrap=True)
    for heading in ("import\ns", "1st step\nempty, s", "1st step\nfilled, s", "peak\nMB"):
        table.add_column(heading, justify="right", no_wrap=True)
    timed = [row for row in result.rows if row.status == "timed" and row.predict]
    timed.sort(key=lambda row: (_median(row, "train", size) is None, _median(row, "train", size) or 0.0))
    for row in timed:
        cells = [number(_median(row, what, count)) for what, count in columns]
        starts = [number(value) for value in (row.import_s, row.first_step_empty_s, row.first_step_filled_s)]
        peak = "" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.0f}"
        table.add_row(row.label, *cells, *starts, peak)
    if timed:
        console.print(table)
        console.print(
            "1st step: from the process's start, with an empty or a filled cache of compiled code", style="dim"
        )
    for what, count in columns:
        line = _ratio(timed, what, count)
        if line:
            console.print(line, markup=False)
    for row in result.rows:
        if row.status != "timed" or row.message:
            status = "" if row.status == "timed" else f" {row.status}"
            console.print(f"{row.label}{status}: {row.message}", markup=False, soft_wrap=True)


def _ratio(rows: list[ModelRow], what: str, count: int) -> str:
    """How fastconv stands beside the best of the others."""
    mine = next((_median(row, what, count) for row in rows if row.contestant == "fastconv"), None)
    others = [
        (value, row.label) for row in rows if row.contestant != "fastconv" and (value := _median(row, what, count))
    ]
    if mine is None or not others:
        return ""
    best, label = min(others)
    return f"{what} {count}: {best / mine:.2f} times as fast as the best peer, {label}"


def _median(row: ModelRow, what: str, count: int) -> float | None:
    timing = getattr(row, what).get(count)
    return None if timing is None else timing["median_ms"]
