"""Input and InputLayer: what a model is told about its data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.layers.base import Layer, as_sequence, as_shape
from fastconv.layers.tensor import KerasTensor, Node


class InputLayer(Layer):
    """The shape of a model's input, `keras.layers.InputLayer`; add it before the other layers.

    Args:
        shape: of a sample, without the batch; None in it for sizes that may vary.
        batch_size: of a batch, None for any.
        dtype: of the data a user feeds, kept for Keras's sake: data are converted to the layers' dtype.
        batch_shape: `shape` with the batch's size before it, in place of both.
        name: by default "input_layer".
        sparse, ragged, optional: must be False or None.

    Raises:
        ValueError: no shape, two of them, or an option that is not supported.
    """

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Sequence[int | None] | None = None,
        optional: bool = False,
        name: str | None = None,
    ) -> None:
        if sparse or ragged or optional:
            raise ValueError(f"InputLayer does not support {sparse=}, {ragged=}, {optional=}.")
        if (shape is None) == (batch_shape is None) or (batch_shape is not None and batch_size is not None):
            raise ValueError(
                "InputLayer needs either shape (and batch_size) or batch_shape; received "
                f"{shape=}, {batch_size=}, {batch_shape=}."
            )
        if batch_shape is None:
            batch_shape = (batch_size, *as_shape((1, *as_sequence(shape)), "shape")[1:])
        super().__init__(name=name)
        self.batch_shape = as_shape(batch_shape, "batch_shape")
        self.dtype = self.dtype if dtype is None else np.dtype(dtype).name
        self.input_shape = self.output_shape = self.batch_shape
        Node(self, None, (KerasTensor(self.batch_shape, self.dtype, self.name),))

    def get_config(self) -> dict[str, Any]:
        return {
            "batch_shape": self.batch_shape,
            "dtype": self.dtype,
            "sparse": False,
            "ragged": False,
            "name": self.name,
        }


def Input(
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: Any = None,
    sparse: bool | None = None,
    ragged: bool | None = None,
    batch_shape: Sequence[int | None] | None = None,
    name: str | None = None,
    optional: bool = False,
) -> KerasTensor:
    """The tensor that a model begins with, of an `InputLayer` made for it; arguments as there."""
    return InputLayer(shape, batch_size, dtype, sparse, ragged, batch_shape, optional, name).output
