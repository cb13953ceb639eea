"""What a launch may ask for, by architecture.

From the table "Technical Specifications per Compute Capability" of NVIDIA's CUDA C++ Programming Guide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastconv.testing.simulator.batch import Dim

_SHARED_KB = {  # the most that a block may have, dynamic and static together
    "sm_75": 64,
    "sm_80": 163,
    "sm_86": 99,
    "sm_87": 163,
    "sm_89": 99,
    "sm_90": 227,
    "sm_100": 227,
    "sm_103": 227,
    "sm_120": 99,
}
_STATIC_BYTES = 48 * 1024
_THREADS = 1024
_BLOCK: Dim = (1024, 1024, 64)
_GRID: Dim = (2**31 - 1, 65535, 65535)


@dataclass(frozen=True)
class Limits:
    """The limits of an architecture; ValueError for one that is not known."""

    arch: str

    def __post_init__(self) -> None:
        if self.arch not in _SHARED_KB:
            raise ValueError(f"simulate: arch must be one of {', '.join(_SHARED_KB)}, not {self.arch!r}.")

    def launch(self, grid: Dim, block: Dim, shared_bytes: int) -> Iterator[str]:
        """What is too much about a launch, a sentence each."""
        threads = block[0] * block[1] * block[2]
        if threads > _THREADS:
            yield f"a block of {threads} threads; the most is {_THREADS}."
        for name, given, most in (("block", block, _BLOCK), ("grid", grid, _GRID)):
            for axis, size, limit in zip("xyz", given, most, strict=True):
                if size > limit:
                    yield f"the {name} is {size} in {axis}; the most is {limit}."
        yield from self.shared(0, shared_bytes)

    def shared(self, static_bytes: int, dynamic_bytes: int) -> Iterator[str]:
        most = _SHARED_KB[self.arch] * 1024
        if static_bytes > _STATIC_BYTES:
            yield f"{static_bytes} bytes of static shared memory; the most is {_STATIC_BYTES}, more must be dynamic."
        elif static_bytes + dynamic_bytes > most:
            yield f"{static_bytes + dynamic_bytes} bytes of shared memory; the most on {self.arch} is {most}."
