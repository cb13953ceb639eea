"""`Report`: what a simulation found and counted."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastconv.testing.comparison import Mismatch
from fastconv.testing.simulator.batch import Dim
from fastconv.testing.simulator.counts import SECTOR_BYTES, Line, Requests
from fastconv.testing.simulator.findings import Finding
from fastconv.testing.simulator.trace import Trace


@dataclass
class Totals:
    """The whole launch.

    Attributes:
        loads, stores, atomics: requests of warps to global memory, in sectors of 32 bytes.
        shared: requests to shared memory, in wavefronts.
        flops, float64_flops: floating-point operations, and those of them in float64.
        sector_bytes: all sectors moved, in bytes. Caches may keep some of it from DRAM.
        array_bytes: elements read plus elements written, each once, in bytes: the least that must be moved.
    """

    loads: Requests
    stores: Requests
    atomics: Requests
    shared: Requests
    flops: int
    float64_flops: int
    sector_bytes: int
    array_bytes: int

    @property
    def bank_conflicts(self) -> int:
        return self.shared.moved - self.shared.ideal

    @property
    def intensity(self) -> float:
        """FLOPs per byte of sectors moved."""
        return self.flops / self.sector_bytes if self.sector_bytes else 0.0

    @property
    def array_intensity(self) -> float:
        """FLOPs per byte of the arrays: what the intensity would be if each element were moved once."""
        return self.flops / self.array_bytes if self.array_bytes else 0.0


class Report:
    """What `simulate` gives.

    Attributes:
        kernel, grid, block, arch, shared_bytes: what was run; shared memory of a block, static and dynamic.
        findings: list of `Finding`, by line.
        dropped: how many findings were beyond max_findings.
        lines: list of `Line`: every line of the kernel and of the device functions that it called.
        totals: `Totals` over all lines.
        trace: the accesses of one block.
    """

    def __init__(
        self,
        *,
        kernel: str,
        grid: Dim,
        block: Dim,
        arch: str,
        shared_bytes: int,
        findings: list[Finding],
        dropped: int,
        lines: list[Line],
        array_bytes: int,
        trace: Trace,
    ):
        self.kernel, self.grid, self.block, self.arch, self.shared_bytes = kernel, grid, block, arch, shared_bytes
        self.findings, self.dropped, self.lines, self.trace = findings, dropped, lines, trace
        loads, stores, atomics = (
            sum((getattr(line, kind) for line in lines), Requests()) for kind in ("loads", "stores", "atomics")
        )
        self.totals = Totals(
            loads=loads,
            stores=stores,
            atomics=atomics,
            shared=sum((line.shared_memory for line in lines), Requests()),
            flops=sum(line.flops for line in lines),
            float64_flops=sum(line.float64_flops for line in lines),
            sector_bytes=(loads + stores + atomics).moved * SECTOR_BYTES,
            array_bytes=array_bytes,
        )

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def line(self, which: int | str) -> Line:
        """The line with a number, or the only one that contains a text. Raises KeyError for none or several."""
        found = [
            line for line in self.lines if (line.number == which if isinstance(which, int) else which in line.text)
        ]
        if len(found) != 1:
            raise KeyError(f"{len(found)} lines of {self.kernel} match {which!r}")
        return found[0]

    def raise_if_wrong(self) -> None:
        """Raise Mismatch, an AssertionError, with all findings; nothing where there are none."""
        if self.findings:
            raise Mismatch("simulator", "\n".join([f"{self.kernel}:", *map(str, self.findings)]))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the trace, as dicts, lists, strings and numbers."""
        extra = {name: getattr(self.totals, name) for name in ("bank_conflicts", "intensity", "array_intensity")}
        return {
            "kernel": self.kernel,
            "grid": self.grid,
            "block": self.block,
            "arch": self.arch,
            "shared_bytes": self.shared_bytes,
            "ok": self.ok,
            "findings": [finding.to_dict() for finding in self.findings],
            "dropped_findings": self.dropped,
            "totals": asdict(self.totals) | extra,
            "lines": [asdict(line) for line in self.lines],
        }

    def json(self) -> str:
        return json.dumps(self.to_dict(), indent=1)

    def html(self, path: str | Path) -> Path:
        """Write the page: source with counts and findings, and a stepper over the traced block. Gives its path."""
        from fastconv.testing.simulator.page import render

        path = Path(path)
        path.write_text(render(self), encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        """The page in a frame, for notebooks."""
        from html import escape

        from fastconv.testing.simulator.page import render

        page = escape(render(self))
        return (
            f'<iframe srcdoc="{page}" title="{escape(self.kernel)}" width="100%" height="640" frameborder="0"></iframe>'
        )

    def __str__(self) -> str:
        from fastconv.testing.simulator.table import table

        return table(self)

    def __repr__(self) -> str:
        return f"<Report of {self.kernel}: {len(self.findings)} findings, {self.totals.flops} FLOPs>"
