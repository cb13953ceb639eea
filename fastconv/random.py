"""The one source of randomness: a NumPy generator that `utils.set_random_seed` reseeds.

Everything random in the library (initial weights, shuffling, dropout) draws from here, on one thread and
in program order, so that a seed gives the same bits on every run and at every thread count.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

_generator = np.random.default_rng()


def generator() -> np.random.Generator:
    """The global generator."""
    return _generator


def set_seed(seed: int) -> None:
    """Restart the global generator from `seed`."""
    global _generator
    _generator = np.random.default_rng(seed)


def new_seed() -> int:
    """A fresh 63-bit seed drawn from the global generator: for an object that keeps a generator of its own."""
    return int(_generator.integers(2**63))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block the global generator starts from `seed`; after it, it goes on where it was."""
    global _generator
    before, _generator = _generator, np.random.default_rng(seed)
    try:
        yield
    finally:
        _generator = before
