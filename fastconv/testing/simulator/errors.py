"""`SimulationError`: what stops a simulation, as against a finding, which is noted while the run goes on."""

from __future__ import annotations

from fastconv.testing.simulator.findings import Finding
from fastconv.testing.simulator.source import Site


class SimulationError(Exception):
    """The kernel could not be simulated to its end.

    Attributes:
        site: where in its source; None if that is not known.
        findings: what had been found by then.
    """

    def __init__(self, message: str, site: Site | None = None):
        place = f"{site.file}:{site.line}: `{site.text.strip()}`: " if site else ""
        super().__init__(place + message)
        self.site = site
        self.findings: list[Finding] = []
