"""A report as text: the source with its counts, and the findings under their lines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fastconv.testing.simulator.counts import Line
from fastconv.testing.simulator.findings import Finding

if TYPE_CHECKING:
    from fastconv.testing.simulator.report import Report

_HEADINGS = {"requests": 9, "sect/req": 8, "ideal": 6, "conflicts": 9, "FLOPs": 9, "float64": 9}  # and widths
_MARGIN = sum(_HEADINGS.values()) + len(_HEADINGS) + 1
_FINDING_WIDTH = 110


def table(report: Report) -> str:
    shown = [heading(report), "", f"{_aligned(_HEADINGS)}  line"]
    place = None
    for line in report.lines:
        if place not in (None, (line.file, line.function)):
            shown.append("")
        if place != (line.file, line.function):
            place = (line.file, line.function)
            shown.append(f"{'':{_MARGIN}}{Path(line.file).name}: {line.function}")
        shown.append(row(line))
        for finding in report.findings:
            if (finding.file, finding.line) == (line.file, line.number):
                shown += _finding(finding)
    return "\n".join([*shown, "", *totals(report), "", verdict(report)])


def heading(report: Report) -> str:
    grid, block = ("x".join(map(str, dim)) for dim in (report.grid, report.block))
    return f"{report.kernel}: grid {grid}, block {block}, {report.shared_bytes} bytes of shared memory, {report.arch}"


def row(line: Line) -> str:
    memory, shared = line.global_memory, line.shared_memory
    cells = (
        f"{memory.requests}" if memory.requests else "",
        f"{memory.per_request:.4g}" if memory.requests else "",
        f"{memory.ideal / memory.requests:.4g}" if memory.requests else "",
        f"{line.bank_conflicts}" if shared.requests else "",
        f"{line.flops}" if line.flops else "",
        f"{line.float64_flops}" if line.float64_flops else "",
    )
    return f"{_aligned(cells)}  {line.number:>4} {line.text}".rstrip()


def _aligned(cells: Iterable[str]) -> str:
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, _HEADINGS.values(), strict=True))


def totals(report: Report) -> list[str]:
    """The sums, in sentences."""
    t = report.totals
    double = f", {t.float64_flops} of them in float64" if t.float64_flops else ""
    shown = [f"{t.flops} FLOPs{double}."]
    for name, requests in (("loads", t.loads), ("stores", t.stores), ("atomics", t.atomics)):
        if requests.requests:
            shown.append(
                f"Global {name}: {requests.requests} requests, {requests.moved} sectors; "
                f"{requests.per_request:.4g} per request, ideal {requests.ideal / requests.requests:.4g}."
            )
    if t.shared.requests:
        shown.append(
            f"Shared memory: {t.shared.requests} requests, {t.shared.moved} wavefronts, "
            f"{t.bank_conflicts} of them for bank conflicts."
        )
    shown.append(
        f"{t.sector_bytes} bytes moved in sectors: {t.intensity:.3g} FLOPs per byte; "
        f"{t.array_bytes} bytes of arrays: {t.array_intensity:.3g} FLOPs per byte."
    )
    return shown


def verdict(report: Report) -> str:
    if report.ok:
        return "Nothing wrong was found."
    count = len(report.findings)
    more = f" {report.dropped} more were not kept." if report.dropped else ""
    return f"{count} finding{'s' if count > 1 else ''}.{more}"


def _finding(finding: Finding) -> list[str]:
    times = f" ({finding.count} times)" if finding.count > 1 else ""
    text = f"{finding.kind}: {finding.message}{times}"
    first, *rest = textwrap.wrap(text, _FINDING_WIDTH)
    return [f"{'':{_MARGIN}}^ {first}", *(f"{'':{_MARGIN}}  {part}" for part in rest)]
