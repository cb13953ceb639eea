"""Flatten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.buffers import FRESH, Buffers
from fastconv.layers.base import Layer, Shape
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
