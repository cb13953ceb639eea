"""Channels first or last, and arrays as the kernels take them.

Kernels see (N, H, W, C) memory only. In a channels_first model a tensor is a (N, C, H, W) view of such
memory, so a layer that gets one from the layer before turns it round without a copy. What is said of (N, H, W, C)
holds for any number of axes between N and C.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from fastconv.buffers import Buffers

_Size = TypeVar("_Size", int, int | None)


def last(shape: Sequence[_Size], data_format: str) -> tuple[_Size, ...]:
    """A shape in `data_format` as (N, H, W, C)."""
    first, second, *others = shape
    return tuple(shape) if data_format == "channels_last" else (first, *others, second)


def unlast(shape: Sequence[_Size], data_format: str) -> tuple[_Size, ...]:
    """The shape (N, H, W, C) in `data_format`."""
    first, *others, channels = shape
    return tuple(shape) if data_format == "channels_last" else (first, channels, *others)


def to_last(x: np.ndarray, data_format: str) -> np.ndarray:
    """A batch of images in `data_format` as a (N, H, W, C) view."""
    return x if data_format == "channels_last" else x.transpose(last(tuple(range(x.ndim)), data_format))


def from_last(x: np.ndarray, data_format: str) -> np.ndarray:
    """The (N, H, W, C) batch as a view in `data_format`."""
    return x if data_format == "channels_last" else x.transpose(unlast(tuple(range(x.ndim)), data_format))


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


def in_memory(x: np.ndarray) -> np.ndarray:
    """`x` with its axes in the order of memory: (N, H, W, C) for the images of a channels_first model."""
    if x.flags.c_contiguous or x.ndim < 3:
        return x
    view = to_last(x, "channels_first")
    return view if view.flags.c_contiguous else x


def empty_like(x: np.ndarray, buffers: Buffers, owner: object, name: str) -> np.ndarray:
    """An uninitialised array of x's shape, dtype and order in memory."""
    memory = in_memory(x)
    y = buffers.empty(owner, name, memory.shape, x.dtype)
    return y if memory is x else from_last(y, "channels_first")
