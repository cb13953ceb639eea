"""The source and the machine code of kernels beside each other: one HTML page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

from fastconv import machine
from fastconv.inspecting.compile import toolkit_version
from fastconv.inspecting.report import Inspected
from fastconv.inspecting.table import METRICS, used_groups
from fastconv.kernels.cuda import shared_line


def render(found: Sequence[Inspected], problem: str, command: str) -> str:
    """The page for some kernels of one op, compiled for one problem; `command` is what made it."""
    names = dict.fromkeys(inspected.kernel for inspected in found)
    groups = used_groups(found)
    parts = {
        "TITLE": escape(f"fastconv inspect: {found[0].op} {' and '.join(names)}"),
        "FACTS": _facts(found, problem, command),
        "TAKEN_HEAD": _head(["kernel", "function", "arch"], [name for name, _ in METRICS], ["limited by"]),
        "TAKEN": "".join(
            _row(_key(i), [str(value(i)) for _, value in METRICS], [", ".join(i.occupancy.limited_by)]) for i in found
        ),
        "MIX_HEAD": _head(["kernel", "function", "arch"], groups, []),
        "MIX": "".join(_row(_key(i), [str(i.mix.get(group, "")) for group in groups], []) for i in found),
        "BUTTONS": "".join(
            f'<button type="button" aria-pressed="false" data-show="view{index}">{escape(" ".join(_key(i)))}</button>'
            for index, i in enumerate(found)
        ),
        "VIEWS": "\n".join(_view(index, inspected) for index, inspected in enumerate(found)),
    }
    page = resources.files("fastconv.inspecting").joinpath("page.html").read_text(encoding="utf-8")
    before, *rest = page.split("{{")  # filled in one pass: what is filled in may hold braces
    return before + "".join(parts[key] + text for key, _, text in (piece.partition("}}") for piece in rest))


def _facts(found: Sequence[Inspected], problem: str, command: str) -> str:
    facts = {"Problem": problem}
    for text in dict.fromkeys(inspected.launch_text for inspected in found):
        name, _, launch = text.partition(": ")
        facts[name] = launch
    versions = machine.versions()
    known = [f"{name} {versions[name]}" for name in ("fastconv", "numba", "numba-cuda") if name in versions]
    facts["Versions"] = ", ".join([*known, f"ptxas {toolkit_version()}"])
    facts["Command"] = command
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())


def _key(inspected: Inspected) -> list[str]:
    return [inspected.kernel, inspected.function, inspected.compiled.architecture.name]


def _head(texts: Sequence[str], numbers: Sequence[str], more: Sequence[str]) -> str:
    cells = [f'<th scope="col">{escape(text)}</th>' for text in texts]
    cells += [f'<th scope="col" class="n">{escape(text)}</th>' for text in numbers]
    return "".join(cells + [f'<th scope="col">{escape(text)}</th>' for text in more])


def _row(texts: Sequence[str], numbers: Sequence[str], more: Sequence[str]) -> str:
    cells = [f"<td>{escape(text)}</td>" for text in texts]
    cells += [f'<td class="n">{escape(text)}</td>' for text in numbers]
    return f"<tr>{''.join(cells + [f'<td>{escape(text)}</td>' for text in more])}</tr>"


def _view(index: int, inspected: Inspected) -> str:
    """The panes of one launch on one architecture; the script shows one view at a time."""
    file, lines, counts = inspected.source_lines()
    most = max(counts.values(), default=0) or 1
    source, previous = [], None
    for line, text in lines.items():
        shared, number = shared_line(line)
        if previous is not None and line != previous + 1:
            name = f"# {Path(shared).name}" if shared and shared != shared_line(previous)[0] else ""
            source.append(f"<li><span></span><span></span><span>{escape(name)}</span></li>")
        previous = line
        heat = f'<span class="heat"><i style="--share: {counts[line] / most:.3f}"></i>{counts[line] or ""}</span>'
        row = f"<span>{number}</span>{heat}<span>{escape(text)}</span>"
        linked = f' data-line="{line}" tabindex="0"' if counts[line] else ""
        source.append(f"<li{linked}>{row}</li>")
    code = []
    for instruction in inspected.compiled.instructions:
        if instruction.label:
            code.append(f'<li class="label">{escape(instruction.label)}:</li>')
        linked = f' data-line="{instruction.line}" tabindex="0"' if instruction.line in lines else ""
        row = f"<span>{instruction.address:04x}</span><span>{escape(instruction.text)}</span>"
        code.append(f"<li{linked}>{row}<span>{escape(instruction.group)}</span></li>")
    return (
        f'<div class="view" id="view{index}">'
        f'<div class="pane source" role="region" aria-label="Source, {escape(Path(file).name)}">'
        f"<ol>{''.join(source)}</ol></div>"
        f'<div class="pane sass" role="region" aria-label="Machine code"><ol>{"".join(code)}</ol></div></div>'
    )
