"""What is counted for a line of source: memory requests and what they move, and floating-point operations."""

from __future__ import annotations

from dataclasses import dataclass, field

SECTOR_BYTES = 32


@dataclass
class Requests:
    """Requests by warps: how many, what they moved, and the least that could have held the elements they asked for.

    `moved` and `ideal` are 32-byte sectors for global memory and wavefronts (passes over the 32 banks) for shared.
    """

    requests: int = 0
    moved: int = 0
    ideal: int = 0

    def add(self, requests: int, moved: int, ideal: int) -> None:
        self.requests += requests
        self.moved += moved
        self.ideal += ideal

    def __add__(self, other: Requests) -> Requests:
        return Requests(self.requests + other.requests, self.moved + other.moved, self.ideal + other.ideal)

    @property
    def per_request(self) -> float:
        return self.moved / self.requests if self.requests else 0.0


@dataclass
class Line:
    """A line of a kernel's source and its counts over the whole grid.

    Attributes:
        file, number, text, function: the line and the function it is in.
        loads, stores, atomics: requests to global memory, in sectors.
        shared_loads, shared_stores, shared_atomics: requests to shared memory, in wavefronts.
        flops: floating-point operations: 1 for + - * / // % **, a function of `math` and an atomic sum,
            2 for an fma; 0 for comparisons, minima and maxima, signs and conversions.
        float64_flops: those of them in float64.
    """

    file: str
    number: int
    text: str
    function: str
    loads: Requests = field(default_factory=Requests)
    stores: Requests = field(default_factory=Requests)
    atomics: Requests = field(default_factory=Requests)
    shared_loads: Requests = field(default_factory=Requests)
    shared_stores: Requests = field(default_factory=Requests)
    shared_atomics: Requests = field(default_factory=Requests)
    flops: int = 0
    float64_flops: int = 0

    @property
    def global_memory(self) -> Requests:
        return self.loads + self.stores + self.atomics

    @property
    def shared_memory(self) -> Requests:
        return self.shared_loads + self.shared_stores + self.shared_atomics

    @property
    def requests(self) -> int:
        """Requests to global memory."""
        return self.global_memory.requests

    @property
    def sectors(self) -> int:
        return self.global_memory.moved

    @property
    def ideal_sectors(self) -> int:
        return self.global_memory.ideal

    @property
    def sectors_per_request(self) -> float:
        return self.global_memory.per_request

    @property
    def wavefronts(self) -> int:
        return self.shared_memory.moved

    @property
    def bank_conflicts(self) -> int:
        """Wavefronts beyond those needed without conflicts."""
        return self.shared_memory.moved - self.shared_memory.ideal

    @property
    def is_counted(self) -> bool:
        return bool(self.requests or self.wavefronts or self.flops)
