"""What was found, as tables for a terminal: a row for each metric, a column for each architecture or kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

from fastconv.inspecting.report import Inspected
from fastconv.inspecting.sass import GROUPS

Metric = tuple[str, Callable[[Inspected], int]]
METRICS: tuple[Metric, ...] = (
    ("registers", lambda i: i.compiled.resources.registers),
    ("spilled bytes", lambda i: i.compiled.resources.spill_bytes),
    ("shared bytes", lambda i: i.shared_bytes),
    ("threads / block", lambda i: math.prod(i.launch.block)),
    ("blocks / SM", lambda i: i.occupancy.blocks),
    ("warps / SM", lambda i: i.occupancy.warps),
    ("occupancy, %", lambda i: round(100 * i.occupancy.share)),
    ("instructions", lambda i: i.instruction_count),
)


def show(found: Sequence[Inspected], console: Any) -> None:
    """Print one kernel: a table for each of its launches, a column for each architecture."""
    for function in dict.fromkeys(inspected.function for inspected in found):
        of_function = [inspected for inspected in found if inspected.function == function]
        console.print(_table(function, [(i.compiled.architecture.name, i) for i in of_function]))


def show_side_by_side(first: Sequence[Inspected], second: Sequence[Inspected], console: Any) -> None:
    """Print two kernels: a table for each architecture and pair of launches, with the change from one to the other."""
    for one, other in zip_longest(_by_architecture(first), _by_architecture(second)):
        architecture = (one or other).compiled.architecture
        columns = [
            (f"{kernel}\n{inspected.function if inspected else ''}", inspected)
            for inspected, kernel in ((one, first[0].kernel), (other, second[0].kernel))
        ]
        table = _table(f"{architecture.name} ({architecture.gpus})", columns, change=True)
        console.print(table)


def used_groups(found: Sequence[Inspected]) -> list[str]:
    """The groups of instructions that any of them has."""
    return [group for group in GROUPS if any(group in inspected.mix for inspected in found)]


def _table(title: str, columns: Sequence[tuple[str, Inspected | None]], change: bool = False) -> Any:
    """Metrics, limits of the occupancy, instructions by group; with `change` a column for the difference of two."""
    from rich.table import Table

    table = Table("", title=title, title_justify="left")
    for heading in (*(heading for heading, _ in columns), *(["change"] if change else [])):
        table.add_column(heading, justify="right")
    found = [inspected for _, inspected in columns]
    for name, value in METRICS:
        table.add_row(name, *_cells(found, value, change))
    table.add_row("limited by", *("\n".join(i.occupancy.limited_by) if i else "" for i in found))
    table.add_section()
    for group in used_groups([inspected for inspected in found if inspected]):
        table.add_row(group, *_cells(found, _count(group), change))
    return table


def _cells(found: Sequence[Inspected | None], value: Callable[[Inspected], int], change: bool) -> list[str]:
    cells = [str(value(inspected)) if inspected else "" for inspected in found]
    values = [value(inspected) for inspected in found if inspected]
    if change and len(values) == 2 and values[0] != values[1]:
        cells.append(f"{values[1] - values[0]:+d}")
    return cells


def _count(group: str) -> Callable[[Inspected], int]:
    return lambda inspected: inspected.mix.get(group, 0)


def _by_architecture(found: Sequence[Inspected]) -> list[Inspected]:
    names = list(dict.fromkeys(inspected.compiled.architecture.name for inspected in found))
    return sorted(found, key=lambda inspected: names.index(inspected.compiled.architecture.name))
