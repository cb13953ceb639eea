"""Images of another size: each output row, then each output column, is a weighted sum of a few of the input's.

The weights are those of Keras on JAX and TensorFlow: pixels are squares, whose centres count (half-pixel centres), and
weights beyond the edge are dealt out among the others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastconv.buffers import Buffers


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(0, 1 - x)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -1/2."""
    near = ((1.5 * x - 2.5) * x) * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x >= 2, 0.0, np.where(x >= 1, far, near))


def _lanczos(radius: float, x: np.ndarray) -> np.ndarray:
    return np.where(x < radius, np.sinc(x) * np.sinc(x / radius), 0.0)


_KERNELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "bilinear": _triangle,
    "bicubic": _cubic,
    "lanczos3": functools.partial(_lanczos, 3.0),
    "lanczos5": functools.partial(_lanczos, 5.0),
}
INTERPOLATIONS = ("nearest", *_KERNELS)


@dataclass(frozen=True, eq=False)
class Taps:
    """A sparse matrix of weights: output i is the sum over t of weights[i, t] * input[places[i, t]]."""

    places: np.ndarray  # (outputs, taps), integers
    weights: np.ndarray  # of the same shape


@functools.lru_cache(maxsize=256)
def taps(size: int, new_size: int, method: str, antialias: bool = False) -> tuple[Taps, Taps]:
    """What makes `new_size` pixels of `size` along one axis, and what its gradient takes, the transposed matrix.

    antialias: whether a smaller image is made of means of many pixels.
    """
    ratio = size / new_size
    if method == "nearest":
        matrix = np.zeros((new_size, size))
        matrix[np.arange(new_size), np.floor((np.arange(new_size) + 0.5) * ratio).astype(int).clip(0, size - 1)] = 1
    else:
        centres = (np.arange(new_size) + 0.5) * ratio - 0.5
        width = max(ratio, 1.0) if antialias else 1.0
        matrix = _KERNELS[method](np.abs(centres[:, np.newaxis] - np.arange(size)) / width)
        matrix /= matrix.sum(axis=1, keepdims=True)
    return _sparse(matrix), _sparse(matrix.T)


def _sparse(matrix: np.ndarray) -> Taps:
    """The non-zero elements of each row, filled up with zeros."""
    count = max(1, int(np.count_nonzero(matrix, axis=1).max(initial=0)))
    places = np.argsort(matrix == 0, axis=1, kind="stable")[:, :count]
    return Taps(places, np.take_along_axis(matrix, places, axis=1))


def resample(images: np.ndarray, rows: Taps, columns: Taps, buffers: Buffers, owner: object, name: str) -> np.ndarray:
    """Images (N, H, W, C) as (N, rows, columns, C)."""
    tall = _along(images, rows, 1, buffers, owner, f"{name}_rows")
    return _along(tall, columns, 2, buffers, owner, name)


def _along(x: np.ndarray, taps: Taps, axis: int, buffers: Buffers, owner: object, name: str) -> np.ndarray:
    outputs, count = taps.places.shape
    shape = (*x.shape[:axis], outputs, *x.shape[axis + 1 :])
    weights = taps.weights.astype(x.dtype).reshape(outputs, count, *(1,) * (x.ndim - axis - 1))
    total = buffers.empty(owner, name, shape, x.dtype)
    part = buffers.empty(owner, f"{name}_part", shape, x.dtype)
    for t in range(count):
        to = part if t else total
        np.take(x, taps.places[:, t], axis=axis, out=to, mode="clip")  # "raise" would make a copy
        to *= weights[:, t]
        if t:
            total += part
    return total
