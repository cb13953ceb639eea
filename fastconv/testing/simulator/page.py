"""The page of a report: one HTML file that needs no network. What is drawn of the trace is drawn by its script."""

from __future__ import annotations

import json
import math
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv.testing.simulator.counts import Line, Requests
from fastconv.testing.simulator.findings import Finding
from fastconv.testing.simulator.table import totals, verdict

if TYPE_CHECKING:
    from fastconv.testing.simulator.report import Report


def render(report: Report) -> str:
    parts = {
        "TITLE": escape(f"fastconv simulate: {report.kernel}"),
        "FACTS": _facts(report),
        "VERDICT": _verdict(report),
        "ROWS": "\n".join(_rows(report)),
        "BLOCK": "no block was traced" if report.trace.block is None else f"block {report.trace.block}",
        "CUT": "The trace was cut: only its beginning is here." if report.trace.cut else "",
        "DATA": json.dumps(_data(report)).replace("<", "\\u003c"),
    }
    page = resources.files("fastconv.testing.simulator").joinpath("page.html").read_text(encoding="utf-8")
    before, *rest = page.split("{{")  # filled in one pass: what is filled in may hold braces
    return before + "".join(parts[key] + text for key, _, text in (piece.partition("}}") for piece in rest))


def _facts(report: Report) -> str:
    facts = {
        "Launch": f"grid {report.grid}, block {report.block}",
        "Shared memory": f"{report.shared_bytes} bytes a block",
        "Limits of": report.arch,
        "Totals": "\n".join(totals(report)),
    }
    return "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())


def _verdict(report: Report) -> str:
    rows = {(line.file, line.number): row for row, line in enumerate(report.lines)}
    items = "".join(
        f'<li><a href="#line-{rows[finding.file, finding.line]}">line {finding.line}</a>: {escape(finding.kind)}</li>'
        for finding in report.findings
    )
    kind = "" if report.ok else " wrong"
    return f'<div class="verdict{kind}">{escape(verdict(report))}{f"<ul>{items}</ul>" if items else ""}</div>'


def _rows(report: Report) -> list[str]:
    traced = {(step["file"], step["line"]) for step in report.trace.steps}
    rows, place = [], None
    for number, line in enumerate(report.lines):
        if place != (line.file, line.function):
            place = (line.file, line.function)
            name = f"{Path(line.file).name}: {line.function}"
            rows.append(f'<tr class="function"><td colspan="7"></td><td>{escape(name)}</td></tr>')
        rows.append(_row(number, line, (line.file, line.number) in traced))
        rows += [
            f'<tr class="finding"><td colspan="8">{_finding(finding)}</td></tr>'
            for finding in report.findings
            if (finding.file, finding.line) == (line.file, line.number)
        ]
    return rows


def _row(number: int, line: Line, traced: bool) -> str:
    memory, shared = line.global_memory, line.shared_memory
    place = f"{line.number}"
    if traced:
        place = f'<button type="button" data-row="{number}" title="step through this line">{line.number}</button>'
    cells = [
        f"<td>{memory.requests}</td>" if memory.requests else "<td></td>",
        _heat(memory, f"{memory.per_request:.4g}"),
        f"<td>{memory.ideal / memory.requests:.4g}</td>" if memory.requests else "<td></td>",
        _heat(shared, f"{line.bank_conflicts}"),
        f"<td>{line.flops}</td>" if line.flops else "<td></td>",
        f"<td>{line.float64_flops}</td>" if line.float64_flops else "<td></td>",
    ]
    cells += [f'<td class="number">{place}</td>', f'<td class="code">{escape(line.text)}</td>']
    return f'<tr id="line-{number}">{"".join(cells)}</tr>'


def _heat(requests: Requests, text: str) -> str:
    """A cell from green, where as much is moved as is needed, to red, where it is 8 times that or more."""
    if not requests.requests:
        return "<td></td>"
    worse = min(math.log2(requests.moved / requests.ideal) / 3, 1.0)
    return f'<td class="heat" style="--hue:{130 - 130 * worse:.0f}">{text}</td>'


def _finding(finding: Finding) -> str:
    times = f" ({finding.count} times)" if finding.count > 1 else ""
    return f"<b>{escape(finding.kind)}</b>: {escape(finding.message + times)}"


def _data(report: Report) -> dict[str, Any]:
    """What the script draws."""
    rows = {(line.file, line.number): row for row, line in enumerate(report.lines)}
    return {
        "block": report.block,
        "lines": [{"number": line.number, "text": line.text} for line in report.lines],
        "arrays": report.trace.arrays,
        "steps": [
            {
                "row": rows[step["file"], step["line"]],
                "what": step["what"],
                "array": step["array"],
                "elements": step["elements"],
                "width": step["width"],
            }
            for step in report.trace.steps
        ],
    }
