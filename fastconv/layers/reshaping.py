"""Flatten, Reshape, Permute, RepeatVector, Identity: the same elements in another shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.buffers import FRESH, Buffers
from fastconv.layers.base import Layer, Shape, WeightlessLayer
from fastconv.layers.layout import for_kernel
from fastconv.ops.arrays import resolve_data_format


class Flatten(Layer):
    """All axes but the batch's as one, `keras.layers.Flatten`: (N, ...) to (N, product); (N,) to (N, 1).

    Args:
        data_format: with "channels_first" elements are taken in the order (N, ..., C), as Keras does; None
            for `config.image_data_format()`.
        options: as for `Layer`.
    """

    by_sample = True

    def __init__(self, data_format: str | None = None, **options: Any) -> None:
        self.data_format = resolve_data_format(data_format)
        super().__init__(**options)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        batch, *sizes = self.check_input_shape(input_shape)
        known = [size for size in sizes if size is not None]
        return batch, math.prod(known) if len(known) == len(sizes) else None

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        ordered = self._channels_last(x)
        shape = (len(x), math.prod(x.shape[1:]))
        if ordered.flags.c_contiguous:
            y = ordered.reshape(shape)
        else:
            y = buffers.empty(self, "output", shape, x.dtype)
            y.reshape(ordered.shape)[...] = ordered
        self._saved = (y, ordered.shape)
        return y

    def backward(
        self,
        grad: np.ndarray,
        buffers: Buffers = FRESH,
        *,
        need_input_grad: bool = True,
        need_weight_grad: bool = True,
        through_activation: bool = True,
    ) -> np.ndarray | None:
        _, ordered_shape = self._recall(grad)
        ordered = grad.reshape(ordered_shape)
        return np.moveaxis(ordered, -1, 1) if self._moves(ordered) else ordered

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}

    def _moves(self, x: np.ndarray) -> bool:
        return self.data_format == "channels_first" and x.ndim > 2

    def _channels_last(self, x: np.ndarray) -> np.ndarray:
        return np.moveaxis(x, 1, -1) if self._moves(x) else x


class Reshape(WeightlessLayer):
    """Samples of another shape with the same elements in the same order, `keras.layers.Reshape`.

    Args:
        target_shape: of a sample; -1 once for what is left.
        options: as for `Layer`.

    Raises:
        ValueError: no shape; on build, one with another number of elements.
    """

    def __init__(self, target_shape: Sequence[int], **options: Any) -> None:
        sizes = tuple(target_shape)
        if any(not hasattr(size, "__index__") or size < -1 for size in sizes) or sizes.count(-1) > 1:
            raise ValueError(f"target_shape must be sizes, of which one may be -1; received {target_shape!r}.")
        self.target_shape = tuple(int(size) for size in sizes)
        super().__init__(**options)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        batch, *sizes = shape = self.check_input_shape(input_shape)
        if None in sizes:
            return batch, *(None if size == -1 else size for size in self.target_shape)
        count, given = math.prod(sizes), math.prod(size for size in self.target_shape if size != -1)  # type: ignore
        left = count // given if given else 0
        target = tuple(left if size == -1 else size for size in self.target_shape)
        if math.prod(target) != count:
            raise ValueError(
                f"{self._who}: samples of shape {shape[1:]} have {count} elements, which do not fill target_shape="
                f"{self.target_shape}."
            )
        return batch, *target

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        shape: Any = self.compute_output_shape(x.shape)
        y = for_kernel(x, x.dtype, buffers, self, "output").reshape(shape)
        self._saved = (y, x.shape)
        return y

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        return for_kernel(grad, grad.dtype, buffers, self, "input_grad").reshape(saved[1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": self.target_shape}


class Permute(WeightlessLayer):
    """The axes of samples in another order, `keras.layers.Permute`.

    Args:
        dims: the input's axes, counted from 1, in the order of the output's.
        options: as for `Layer`.

    Raises:
        ValueError: not each number from 1 on once.
    """

    def __init__(self, dims: Sequence[int], **options: Any) -> None:
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(f"dims must hold each axis from 1 on once; received {dims!r}.")
        super().__init__(**options)

    def expected_shape(self) -> Shape:
        return (None,) * (len(self.dims) + 1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = self.check_input_shape(input_shape)
        return shape[0], *(shape[axis] for axis in self.dims)

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        y = x.transpose(0, *self.dims)
        self._saved = (y,)
        return y

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        return grad.transpose(np.argsort((0, *self.dims)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dims": self.dims}


class RepeatVector(WeightlessLayer):
    """(N, C) as (N, n, C): each sample n times, `keras.layers.RepeatVector`; ValueError for a bad n."""

    input_rank = 2

    def __init__(self, n: int, **options: Any) -> None:
        if isinstance(n, bool) or not hasattr(n, "__index__") or n < 1:
            raise ValueError(f"n must be a positive integer; received {n!r}.")
        self.n = int(n)
        super().__init__(**options)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        batch, channels = self.check_input_shape(input_shape)
        return batch, self.n, channels

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        y = buffers.empty(self, "output", (len(x), self.n, x.shape[1]), x.dtype)
        y[...] = x[:, np.newaxis]
        self._saved = (y,)
        return y

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        gx = buffers.empty(self, "input_grad", (len(grad), grad.shape[2]), grad.dtype)
        return grad.sum(axis=1, out=gx)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}


class Identity(WeightlessLayer):
    """The input as it is, `keras.layers.Identity`."""

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        self._saved = (x,)
        return x

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        return grad
