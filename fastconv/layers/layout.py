"""Channels first or last, and arrays as the kernels take them.

Kernels see (N, H, W, C) memory only. In a channels_first model a tensor is a (N, C, H, W) view of such
memory, so a layer that gets one from the layer before turns it round without a copy.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from fastconv.buffers import Buffers

_Size = TypeVar("_Size", int, int | None)


def last(shape: tuple[_Size, ...], data_format: str) -> tuple[_Size, ...]:
    """A shape in `data_format` as (N, H, W, C)."""
    return shape if data_format == "channels_last" else (shape[0], shape[2], shape[3], shape[1])


def unlast(shape: tuple[_Size, ...], data_format: str) -> tuple[_Size, ...]:
    """The shape (N, H, W, C) in `data_format`."""
    return shape if data_format == "channels_last" else (shape[0], shape[3], shape[1], shape[2])


def to_last(x: np.ndarray, data_format: str) -> np.ndarray:
    """A batch of images in `data_format` as a (N, H, W, C) view."""
    return x if data_format == "channels_last" else x.transpose(0, 2, 3, 1)


def from_last(x: np.ndarray, data_format: str) -> np.ndarray:
    """The (N, H, W, C) batch as a view in `data_format`."""
    return x if data_format == "channels_last" else x.transpose(0, 3, 1, 2)


def for_kernel(x: np.ndarray, dtype: np.dtype, buffers: Buffers, owner: object, name: str) -> np.ndarray:
    """`x` itself where a kernel can take it, else a copy.

    Kernels are compiled for C-contiguous, aligned, writable arrays; a read-only one would be compiled for
    anew.
    """
    if x.dtype == dtype and x.flags.carray:
        return x
    out = buffers.empty(owner, name, x.shape, dtype)
    np.copyto(out, x, casting="unsafe")
    return out


def empty_like(x: np.ndarray, buffers: Buffers, owner: object, name: str) -> np.ndarray:
    """An uninitialised array of x's shape, dtype and order in memory."""
    if x.ndim == 4 and not x.flags.c_contiguous and to_last(x, "channels_first").flags.c_contiguous:
        return from_last(_empty(to_last(x, "channels_first"), buffers, owner, name), "channels_first")
    return _empty(x, buffers, owner, name)


def _empty(x: Any, buffers: Buffers, owner: object, name: str) -> np.ndarray:
    return buffers.empty(owner, name, x.shape, x.dtype)
