"""Shortening gradients that are too long."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def clip_by_value(gradients: Sequence[np.ndarray], outs: Sequence[np.ndarray], largest: float) -> None:
    """Write the gradients' elements, brought into [-largest, largest], into `outs`, which may be the gradients."""
    for gradient, out in zip(gradients, outs, strict=True):
        np.clip(gradient, -largest, largest, out=out)


def clip_by_norm(
    gradients: Sequence[np.ndarray],
    outs: Sequence[np.ndarray],
    longest: float,
    scratches: Sequence[np.ndarray],
    together: bool,
) -> None:
    """Write the gradients, scaled to a norm of at most `longest`, into `outs`, which may be the gradients.

    Args:
        scratches: memory of the gradients' shapes; what several share is not needed for long.
        together: whether the norm is that of all gradients as one vector; else each has its own.
    """
    squares = [
        float(np.multiply(gradient, gradient, out=scratch).sum())
        for gradient, scratch in zip(gradients, scratches, strict=True)
    ]
    if together:
        squares = [math.fsum(squares)] * len(squares)
    for gradient, out, square in zip(gradients, outs, squares, strict=True):
        np.multiply(gradient, _shortening(square, longest), out=out)


def _shortening(square_sum: float, longest: float) -> float:
    """The factor that brings a vector to at most `longest`; NaN for one that is not finite."""
    return longest / max(math.sqrt(square_sum), longest) if math.isfinite(square_sum) else math.nan
