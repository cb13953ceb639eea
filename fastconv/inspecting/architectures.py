"""What a multiprocessor of each architecture has, as NVIDIA publishes it.

The numbers are those of the CUDA programming guide's table of compute capabilities; granularities and barriers are from
cuda_occupancy.h, a part of the CUDA runtime.
"""

from __future__ import annotations

from dataclasses import dataclass

WARP = 32
REGISTERS = 64 * 1024  # of a multiprocessor
REGISTERS_PER_THREAD = 255
REGISTER_UNIT = 256  # in which a warp is given registers
PARTITIONS = 4  # of a multiprocessor: each has a quarter of its registers and warps
THREADS_PER_BLOCK = 1024


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes:
        name: such as "sm_90".
        gpus: some that have it.
        warps, blocks: the most that a multiprocessor holds at a time.
        shared_bytes: shared memory of a multiprocessor.
        barriers: that its blocks share, or None where they are no limit.
        reserved_bytes: of shared memory, for the system in each block.
        shared_unit: in which a block is given shared memory.
    """

    name: str
    gpus: str
    warps: int
    blocks: int
    shared_bytes: int
    barriers: int | None = None
    reserved_bytes: int = 1024
    shared_unit: int = 128

    @property
    def compute_capability(self) -> tuple[int, int]:
        """(9, 0) of sm_90."""
        number = self.name.removeprefix("sm_")
        return int(number[:-1]), int(number[-1])


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("sm_75", "T4, RTX 20", 32, 16, 64 << 10, reserved_bytes=0, shared_unit=256),
        Architecture("sm_80", "A100", 64, 32, 164 << 10),
        Architecture("sm_86", "A10, RTX 30", 48, 16, 100 << 10),
        Architecture("sm_89", "L4, RTX 40", 48, 24, 100 << 10),
        Architecture("sm_90", "H100, H200", 64, 32, 228 << 10, barriers=64),
        Architecture("sm_100", "B200", 64, 32, 228 << 10, barriers=64),
        Architecture("sm_120", "RTX 50", 48, 24, 100 << 10, barriers=24),
    )
}


def find(name: str) -> Architecture:
    """The architecture of that name.

    Raises:
        ValueError: it is not in the table; the message lists those that are.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"there is no architecture {name!r} here; there are {', '.join(ARCHITECTURES)}.")
    return ARCHITECTURES[name]
