"""`Finding`: a mistake in a kernel, and the list of them in which equal ones are one with a count."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fastconv.testing.simulator.batch import Batch, Dim
from fastconv.testing.simulator.source import Site

RACE = "race"
OUT_OF_BOUNDS = "out of bounds"
WRONG_INDEX = "wrong index"
MISALIGNED = "misaligned"
UNINITIALISED = "uninitialised"
UNDER_WAY = "copy under way"
DIVERGENT_BARRIER = "divergent barrier"
DIVERGENT_WARP = "divergent warp operation"
LAUNCH_LIMIT = "launch limit"
DIVISION_BY_ZERO = "division by zero"


@dataclass
class Finding:
    """A mistake at a line of source: the first time it happened, and how often it did.

    Attributes:
        kind: one of the kinds above.
        message: what happened, in a sentence, with the block, the thread and the element.
        file, line, text: the line of the kernel.
        block, thread: who did it first, as (x, y, z); None for a launch limit.
        other_line, other_block, other_thread: of a race, the access that it was not ordered with; of a divergent
            barrier or warp operation, a thread that did not come.
        count: how many threads did it, over the whole run.
    """

    kind: str
    message: str
    file: str
    line: int
    text: str
    block: Dim | None
    thread: Dim | None
    other_line: int | None = None
    other_block: Dim | None = None
    other_thread: Dim | None = None
    count: int = 1

    def __str__(self) -> str:
        times = f" ({self.count} times)" if self.count > 1 else ""
        return f"{self.file}:{self.line}: {self.kind}: {self.message}{times}\n    {self.text.strip()}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Findings:
    """Collects them. After `most` different ones the others are dropped, and `dropped` counts them."""

    def __init__(self, most: int):
        self.most, self.dropped = most, 0
        self.found: dict[tuple[Any, ...], Finding] = {}

    def add(
        self,
        kind: str,
        site: Site,
        message: str,
        batch: Batch | None = None,
        lane: int | None = None,
        *,
        subject: str = "",
        other: tuple[int | None, Dim, Dim] | None = None,
        count: int = 1,
    ) -> None:
        """Note a finding. `lane` did it; `subject` (an array) tells findings of one line apart; `other` is a line, a
        block and a thread. `message` goes on after "thread (1, 0, 0) of block (0, 0, 0) "."""
        key = (kind, site.file, site.line, subject, other and other[0])
        if key in self.found:
            self.found[key].count += count
            return
        if len(self.found) >= self.most:
            self.dropped += count
            return
        block = thread = None
        if batch is not None and lane is not None:
            block, thread = batch.block_of(lane), batch.thread_of(lane)
            message = f"thread {thread} of block {block} {message}"
        finding = Finding(kind, message, site.file, site.line, site.text, block, thread, count=count)
        if other is not None:
            finding.other_line, finding.other_block, finding.other_thread = other
        self.found[key] = finding

    def sorted(self) -> list[Finding]:
        return sorted(self.found.values(), key=lambda finding: (finding.file, finding.line, finding.kind))
