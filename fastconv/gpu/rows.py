"""Data that lie on the device already: arrays of CuPy's, PyTorch's, JAX's ..., and batches of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.ops.arrays import as_gpu_array


class Rows:
    """Rows of an array on the device, which are copied or gathered where a step wants them.

    Args:
        array: CuPy's.
        rows: a slice, or numbers of rows.

    Attributes:
        shape, ndim, size: as of the array that they make.
    """

    is_on_device = True

    def __init__(self, array: Any, rows: slice | np.ndarray) -> None:
        self.array, self.rows = array, rows
        count = len(range(*rows.indices(len(array)))) if isinstance(rows, slice) else len(rows)
        self.shape: tuple[int, ...] = (count, *array.shape[1:])
        self.ndim, self.size = len(self.shape), math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]


class RowsOf:
    """A column of batches, for `models.data`: gives `Rows` of an array on the device."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def rows(self, rows: Any, count: int) -> Rows:
        """The rows of a slice, or of an array of `count` indices."""
        return Rows(self._array, rows if isinstance(rows, slice) else np.array(rows))


def on_device(value: Any, name: str) -> Any:
    """An array in a GPU's memory as CuPy's, of float32; the same memory where that can be.

    Raises:
        TypeError: it holds no real numbers.
    """
    return as_gpu_array(name, value)


def on_host(value: Any) -> np.ndarray:
    """A copy of an array in a GPU's memory."""
    from fastconv.kernels.cuda import import_cupy

    cupy = import_cupy()
    return cupy.asnumpy(cupy.from_dlpack(value) if hasattr(value, "__dlpack__") else cupy.asarray(value))
