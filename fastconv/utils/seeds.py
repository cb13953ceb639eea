"""One call that makes a run repeatable."""

from __future__ import annotations

import operator
import random

import numpy as np

from fastconv import random as fastconv_random


def set_random_seed(seed: int) -> None:
    """Seed Python's `random`, NumPy's global generator and fastconv's own, as `keras.utils.set_random_seed`.

    Raises:
        TypeError: `seed` is not an integer.
        ValueError: `seed` is not in 0 to 2**32 - 1, which is what NumPy takes.
    """
    try:
        seed = operator.index(seed)
    except TypeError:
        raise TypeError(f"seed must be an integer, got {seed!r}.") from None
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in 0 to 2**32 - 1, got {seed}.")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  programs that shuffle with np.random expect it to be seeded too
    fastconv_random.set_seed(seed)
