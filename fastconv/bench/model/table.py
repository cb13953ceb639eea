"""The table that `fastconv bench model` prints."""

from __future__ import annotations

from typing import Any

from fastconv.bench import quiet
from fastconv.bench.model.compare import ModelResult, ModelRow
from fastconv.bench.table import number

_STARTS = (("import", "s"), ("1st step", "empty, s"), ("1st step", "filled, s"), ("peak", "MB"))


def show(result: ModelResult, console: Any) -> None:
    """Print a line for each contestant, the fastest in training first, how fastconv stands, and what was refused."""

    def line(text: str, style: str = "") -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    tasks = [("train", size) for size in result.sizes] + [("predict", size) for size in result.sizes]
    tasks += [] if 1 in result.sizes else [("predict", 1)]
    timed = [row for row in result.rows if row.status == "timed" and row.import_s is not None]
    last = result.sizes[-1]
    timed.sort(key=lambda row: (_median(row, "train", last) or float("inf"), _median(row, "predict", last) or 0.0))
    if timed:
        heads = [(what, f"{count}, ms") for what, count in tasks] + list(_STARTS)
        threads = f"{result.threads} thread{'s' * (result.threads > 1)}"
        line(_line(f"{result.model}, {threads}", [first for first, _ in heads]), "bold")
        line(_line("", [second for _, second in heads]), "bold")
    for row in timed:
        cells = [number(_median(row, what, count)) for what, count in tasks]
        cells += [number(value) for value in (row.import_s, row.first_step_empty_s, row.first_step_filled_s)]
        cells.append("" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.0f}")
        line(_line(row.label, cells))
    if timed:
        line("1st step: since the process began, with an empty and with a filled cache of compiled code", "dim")
    for what, count in tasks:
        text = _ratio(timed, what, count)
        if text:
            line(text)
    for task, percent in result.percent_of_limits_meanwhile.items():
        if percent < 100 * quiet.QUIET:
            line(quiet.busy(task, percent))
    for row in result.rows:
        if row.status != "timed" or row.message:
            line(f"{row.label}{'' if row.status == 'timed' else f' {row.status}'}: {row.message}")


def _line(first: str, cells: list[str]) -> str:
    return f"{first:<20}" + "".join(cell.rjust(10) for cell in cells)


def _ratio(rows: list[ModelRow], what: str, count: int) -> str:
    """How fastconv stands beside the best of the others."""
    mine = next((_median(row, what, count) for row in rows if row.contestant == "fastconv"), None)
    others = [
        (value, row.label) for row in rows if row.contestant != "fastconv" and (value := _median(row, what, count))
    ]
    if mine is None or not others:
        return ""
    best, label = min(others)
    return f"{what} {count}: fastconv is {best / mine:.2f} times as fast as the best peer, {label}"


def _median(row: ModelRow, what: str, count: int) -> float | None:
    timing = getattr(row, what).get(count)
    return None if timing is None else timing["median_ms"]
