"""`SimulationError`: what stops a simulation, as against a finding, which is noted while the run goes on."""

from __future__ import annotations

from fastconv.testing.simulator.source import Site


class SimulationError(Exception):
    """The kernel could not be simulated to its end: `site` is where in its source."""

    def __init__(self, message: str, site: Site | None = None):
        place = f"{site.file}:{site.line}: `{site.text.strip()}`: " if site else ""
        super().__init__(place + message)
        self.site = site
