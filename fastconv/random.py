"""The one source of randomness: a NumPy generator that `utils.set_random_seed` reseeds.

Everything random in the library (initial weights, shuffling, dropout) draws from here, on one thread and
in program order, so that a seed gives the same bits on every run and at every thread count.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

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


# The states of this generator, of NumPy's global one and of Python's: programs draw from all three.
State = tuple[Any, Any, Any]


def get_state() -> State:
    """The state of everything that `utils.set_random_seed` seeds."""
    return _generator.bit_generator.state, np.random.get_state(), random.getstate()  # noqa: NPY002


def set_state(state: State) -> None:
    """Go back to what `get_state` gave."""
    _generator.bit_generator.state = state[0]
    np.random.set_state(state[1])  # noqa: NPY002
    random.setstate(state[2])


def state_to_json(state: State) -> dict[str, Any]:
    """The state as a JSON object."""
    name, keys, *rest = state[1]
    return {"fastconv": state[0], "numpy": [name, keys.tolist(), *rest], "python": state[2]}


def state_from_json(described: Mapping[str, Any]) -> State:
    """The opposite of `state_to_json`.

    Raises:
        ValueError, TypeError, LookupError, OverflowError: it is no state.
    """
    version, keys, gauss = described["python"]
    state = described["fastconv"], tuple(described["numpy"]), (version, tuple(keys), gauss)
    # Tried where it does no harm.
    np.random.default_rng().bit_generator.state = state[0]
    np.random.RandomState().set_state(state[1])
    random.Random().setstate(state[2])
    return state
