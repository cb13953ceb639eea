"""`Fences`: order between blocks, by `threadfence` and then an atomic operation.

A block writes, fences, and takes a ticket by an atomic operation; a block that takes a later ticket at the same element
sees what was written: so the last block to finish may add up what all have left.
"""

from __future__ import annotations

import numpy as np


class Fences:
    """Which blocks have fenced, and the tickets they have taken since, over the whole grid.

    What a block writes between its fence and its ticket, or after both, counts as seen too: a mistake of that kind is
    not found.
    """

    def __init__(self) -> None:
        self.fenced: set[int] = set()
        self.tickets: dict[tuple[int, int], dict[int, int]] = {}  # at an element of an array, of each block
        self.taken: dict[int, list[tuple[dict[int, int], int, int]]] = {}  # by a block: where, which, when

    def fence(self, blocks: np.ndarray) -> None:
        self.fenced.update(blocks.tolist())

    def atomic(self, array: int, elements: np.ndarray, blocks: np.ndarray, time: int) -> None:
        """Atomic operations, in the order in which they happen."""
        for element, block in zip(elements.tolist(), blocks.tolist(), strict=True):
            tickets = self.tickets.setdefault((array, element), {})
            self.taken.setdefault(block, []).append((tickets, len(tickets), time))
            if block in self.fenced:
                tickets.setdefault(block, len(tickets))

    def ordered(self, before: int, after: int, time: int) -> bool:
        """Whether block `after` sees at a time what block `before` wrote."""
        return any(
            since < time and tickets.get(before, ticket) < ticket
            for tickets, ticket, since in self.taken.get(after, ())
        )
