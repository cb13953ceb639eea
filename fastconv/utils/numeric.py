"""Conversions of labels and samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastconv import config


def to_categorical(x: ArrayLike, num_classes: int | None = None) -> np.ndarray:
    """Class numbers of shape (...) or (..., 1) as one-hot rows of shape (..., num_classes) in `floatx`.

    Without `num_classes` there are as many classes as the highest number needs.

    Raises:
        ValueError: a class number is not a whole number in 0 to num_classes - 1.
    """
    given = np.asarray(x)
    with np.errstate(invalid="ignore"):  # NaN is caught below
        classes = given.astype(np.int64)
    if not np.array_equal(classes, given):
        raise ValueError("x must hold whole class numbers, got other values.")
    if classes.ndim > 1 and classes.shape[-1] == 1:
        classes = classes[..., 0]
    if num_classes is None:
        if classes.size == 0:
            raise ValueError("num_classes must be given where x is empty.")
        num_classes = int(classes.max()) + 1
    if classes.size and not (0 <= classes.min() and classes.max() < num_classes):
        raise ValueError(
            f"x must hold class numbers from 0 to {num_classes - 1}, got {classes.min()} to {classes.max()}."
        )
    return (classes[..., np.newaxis] == np.arange(num_classes)).astype(config.floatx())


def normalize(x: ArrayLike, axis: int = -1, order: int = 2) -> np.ndarray:
    """`x` divided by its norm of that order along `axis`; where the norm is zero, `x` as it is."""
    x = np.atleast_1d(np.asarray(x))
    norm = np.linalg.norm(x, ord=order, axis=axis, keepdims=True)
    return x / np.where(norm == 0, 1, norm)
