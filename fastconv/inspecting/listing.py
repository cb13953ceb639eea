"""PTX and SASS as text, with the line of the source above what comes from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fastconv.inspecting.report import Inspected
from fastconv.kernels.cuda import shared_line

_LOCATION = re.compile(r"\s*\.loc\s+\d+\s+(\d+)")
_ELSEWHERE = "(no line of this file)"


def sass_listing(inspected: Inspected) -> Iterator[str]:
    """Lines of SASS."""
    _, lines, _ = inspected.source_lines()
    shown: int | None = -1
    for instruction in inspected.compiled.instructions:
        if instruction.line != shown:
            shown = instruction.line
            yield _source_line(shown, lines)
        if instruction.label:
            yield f"  {instruction.label}:"
        yield f"    {instruction.address:04x}  {instruction.text}"


def ptx_listing(inspected: Inspected) -> Iterator[str]:
    """Lines of PTX, without what only a debugger reads."""
    _, lines, _ = inspected.source_lines()
    for text in inspected.compiled.ptx.splitlines():
        if re.match(r"\s*\.(file|section)\b", text):
            return
        location = _LOCATION.match(text)
        yield _source_line(int(location[1]), lines) if location else text.replace("\t", "    ")


def _source_line(number: int | None, lines: dict[int, str]) -> str:
    if number is None:
        return f"//       {_ELSEWHERE}"
    file, line = shared_line(number)
    text = lines[number].strip() if number in lines else _ELSEWHERE
    return f"// {line:>4}  {text}" + (f"  # {Path(file).name}" if file else "")
