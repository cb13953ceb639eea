"""`Batch`: the blocks that run together, and the numbering of their threads.

A lane is a place in the batch. Every block fills whole warps: where its threads do not, lanes stay empty, so that lane
number // 32 is the warp and arrays of lanes reshape to (warps, 32).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.testing.simulator.masks import WARP, Mask

Dim = tuple[int, int, int]


@dataclass
class Dim3:
    """threadIdx, blockIdx, blockDim or gridDim: numbers, or arrays with one element a lane."""

    x: Any
    y: Any
    z: Any


class Batch:
    """Blocks `first` to `first + blocks` of the grid, counted with x fastest.

    Attributes:
        lanes: how many there are; lane = block in the batch * `per_block` + thread.
        thread, block: (lanes,) number of the thread in its block, and of the block in the batch.
        everyone: the lanes that are threads.
        exited: (lanes,) bool, the threads that have returned from the kernel.
    """

    def __init__(self, grid: Dim, block_dim: Dim, first: int, blocks: int):
        self.grid, self.block_dim, self.first, self.blocks = grid, block_dim, first, blocks
        self.threads = block_dim[0] * block_dim[1] * block_dim[2]
        self.per_block = -(-self.threads // WARP) * WARP
        self.lanes = blocks * self.per_block
        thread = np.arange(self.per_block)
        self.thread = np.tile(thread, blocks)
        self.block = np.repeat(np.arange(blocks), self.per_block)
        self.everyone = Mask(self.thread < self.threads)
        self.exited = np.zeros(self.lanes, bool)
        self.lane_id = self.thread % WARP
        self.thread_index = Dim3(*_unravel(np.minimum(self.thread, self.threads - 1), block_dim))
        self.block_index = Dim3(*_unravel(self.block + first, grid))

    def thread_of(self, lane: int) -> Dim:
        return coordinates(int(self.thread[lane]), self.block_dim)

    def block_of(self, lane: int) -> Dim:
        return coordinates(self.first + int(self.block[lane]), self.grid)

    def lanes_of(self, block: Dim) -> slice | None:
        """The lanes of a block of the grid, if it is in the batch."""
        number = block[0] + self.grid[0] * (block[1] + self.grid[1] * block[2]) - self.first
        if not 0 <= number < self.blocks:
            return None
        return slice(number * self.per_block, number * self.per_block + self.threads)

    @functools.cached_property
    def all_lanes(self) -> np.ndarray:
        return np.arange(self.lanes)

    def by_block(self, lanes: np.ndarray) -> np.ndarray:
        """Reshaped to (blocks, lanes of one)."""
        return lanes.reshape(self.blocks, self.per_block)


def coordinates(number: Any, shape: Dim) -> Any:
    """The x, y and z of a number counted with x fastest."""
    return number % shape[0], number // shape[0] % shape[1], number // (shape[0] * shape[1])


def _unravel(numbers: np.ndarray, shape: Dim) -> list[Any]:
    """x, y and z; a plain 0 in a dimension of 1, which keeps what is computed from it the same in all threads."""
    return [index if size > 1 else 0 for index, size in zip(coordinates(numbers, shape), shape, strict=True)]
