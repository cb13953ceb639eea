"""PTX and SASS as text, with the line of the source above what comes from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fastconv.inspecting.compile import line_number
from fastconv.inspecting.report import Inspected
from fastconv.kernels.cuda import shared_line

_LOCATION = re.compile(r"\s*\.loc\s+(\d+)\s+(\d+)")
_FILE = re.compile(r'\.file\s+(\d+)\s+"([^"]*)"')
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
    kernel, files = inspected.launch.kernel, dict(_FILE.findall(inspected.compiled.ptx))
    for text in inspected.compiled.ptx.splitlines():
        if re.match(r"\s*\.(file|section)\b", text):
            return
        location = _LOCATION.match(text)
        if location:
            yield _source_line(line_number(kernel, files.get(location[1]), int(location[2])), lines)
        else:
            yield text.replace("\t", "    ")


def _source_line(number: int | None, lines: dict[int, str]) -> str:
    if number is None:
        return f"//       {_ELSEWHERE}"
    file, line = shared_line(number)
    text = lines[number].strip() if number in lines else _ELSEWHERE
    return f"// {line:>4}  {text}" + (f"  # {Path(file).name}" if file else "")
