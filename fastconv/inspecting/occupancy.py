"""How many blocks of a kernel a multiprocessor holds at a time, and what keeps it from holding more."""

from __future__ import annotations

from dataclasses import dataclass

from fastconv.inspecting.architectures import (
    PARTITIONS,
    REGISTER_UNIT,
    REGISTERS,
    REGISTERS_PER_THREAD,
    THREADS_PER_BLOCK,
    WARP,
    Architecture,
)


@dataclass(frozen=True)
class Occupancy:
    """The blocks that a multiprocessor holds.

    Attributes:
        blocks: how many at a time; 0 if not even one can run.
        warps: of these blocks.
        share: of the warps that the multiprocessor could hold.
        limits: for each resource the blocks that it alone allows; left out where the kernel does not use it.
    """

    blocks: int
    warps: int
    share: float
    limits: dict[str, int]

    @property
    def limited_by(self) -> tuple[str, ...]:
        """The resources that allow no more blocks."""
        return tuple(name for name, blocks in self.limits.items() if blocks == self.blocks)


def occupancy(
    architecture: Architecture, threads: int, registers: int, shared_bytes: int, barriers: int = 0
) -> Occupancy:
    """The occupancy of a kernel.

    Args:
        architecture: of the multiprocessor.
        threads: of a block.
        registers: of a thread.
        shared_bytes: of a block, static and dynamic; what the system reserves comes on top of it.
        barriers: that a block uses.

    Raises:
        ValueError: a block has no threads, or more than any GPU takes.
    """
    if not 1 <= threads <= THREADS_PER_BLOCK:
        raise ValueError(f"threads of a block must be from 1 to {THREADS_PER_BLOCK}; received {threads}.")
    warps = _round_up(threads, WARP) // WARP
    limits = {"blocks": architecture.blocks, "warps": architecture.warps // warps}
    if registers:
        limits["registers"] = _by_registers(warps, registers)
    if shared_bytes:
        taken = _round_up(shared_bytes + architecture.reserved_bytes, architecture.shared_unit)
        limits["shared memory"] = architecture.shared_bytes // taken
    if barriers and architecture.barriers is not None:
        limits["barriers"] = architecture.barriers // barriers
    blocks = min(limits.values())
    return Occupancy(blocks, blocks * warps, blocks * warps / architecture.warps, limits)


def _by_registers(warps: int, registers: int) -> int:
    """Blocks of so many warps that find registers: a warp takes all of its own from one partition."""
    of_warp = _round_up(registers * WARP, REGISTER_UNIT)
    if registers > REGISTERS_PER_THREAD or of_warp * _round_up(warps, PARTITIONS) > REGISTERS:
        return 0
    return REGISTERS // PARTITIONS // of_warp * PARTITIONS // warps


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
