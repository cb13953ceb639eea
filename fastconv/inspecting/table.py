"""What was found, as tables for a terminal."""

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
    ("threads of a block", lambda i: math.prod(i.launch.block)),
    ("blocks / SM", lambda i: i.occupancy.blocks),
    ("warps / SM", lambda i: i.occupancy.warps),
    ("occupancy, %", lambda i: round(100 * i.occupancy.share)),
    ("instructions", lambda i: i.instruction_count),
)


def show(found: Sequence[Inspected], console: Any) -> None:
    """Print what each launch takes on each architecture, and its mix of instructions."""
    from rich.table import Table

    several = len({inspected.function for inspected in found}) > 1
    keys = ["function", "arch"] if several else ["arch"]
    taken = Table(*keys)
    mixes = Table(*keys, title="Instructions, each counted once", title_justify="left")
    for name, _ in METRICS:
        taken.add_column(name, justify="right")
    taken.add_column("limited by", overflow="fold")
    groups = used_groups(found)
    for group in groups:
        mixes.add_column(group, justify="right")
    for inspected in found:
        key = [inspected.function, inspected.compiled.architecture.name][-len(keys) :]
        values = [f"{value(inspected)}" for _, value in METRICS]
        taken.add_row(*key, *values, ", ".join(inspected.occupancy.limited_by))
        mixes.add_row(*key, *(str(inspected.mix.get(group, "")) for group in groups))
    console.print(taken)
    console.print(mixes)


def show_side_by_side(first: Sequence[Inspected], second: Sequence[Inspected], console: Any) -> None:
    """Print two kernels beside each other, a table for each of their launches and each architecture."""
    from rich.table import Table

    for one, other in zip_longest(_by_architecture(first), _by_architecture(second)):
        either = one or other
        groups = used_groups([inspected for inspected in (one, other) if inspected])
        title = f"{either.compiled.architecture.name} ({either.compiled.architecture.gpus})"
        table = Table("", title=title, title_justify="left")
        for inspected, kernel in ((one, first[0].kernel), (other, second[0].kernel)):
            table.add_column(f"{kernel}\n{inspected.function if inspected else ''}", justify="right")
        table.add_column("change", justify="right")
        rows = [*METRICS, *(_count(group) for group in groups)]
        for index, (name, value) in enumerate(rows):
            cells = [str(value(inspected)) if inspected else "" for inspected in (one, other)]
            change = value(other) - value(one) if one and other else 0
            table.add_row(name, *cells, f"{change:+d}" if change else "")
            if index == len(METRICS) - 1:
                limits = [", ".join(i.occupancy.limited_by) if i else "" for i in (one, other)]
                table.add_row("limited by", *limits, "")
                table.add_section()
        console.print(table)


def used_groups(found: Sequence[Inspected]) -> list[str]:
    """The groups of instructions that any of them has."""
    return [group for group in GROUPS if any(group in inspected.mix for inspected in found)]


def _count(group: str) -> Metric:
    return group, lambda inspected: inspected.mix.get(group, 0)


def _by_architecture(found: Sequence[Inspected]) -> list[Inspected]:
    names = list(dict.fromkeys(inspected.compiled.architecture.name for inspected in found))
    return sorted(found, key=lambda inspected: names.index(inspected.compiled.architecture.name))
