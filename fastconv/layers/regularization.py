"""Dropout, SpatialDropout1D and SpatialDropout2D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import random
from fastconv.buffers import FRESH, Buffers
from fastconv.layers.base import Shape, WeightlessLayer, gradient_out
from fastconv.layers.layout import empty_like, in_memory
from fastconv.ops.arrays import resolve_data_format


class RandomLayer(WeightlessLayer):
    """Base of layers that draw random numbers in training.

    Args:
        seed: of the layer's own random numbers, which are a function of it and of how often the layer has drawn; None
            draws one from `fastconv.random` when the layer is made.
        options: as for `Layer`.

    Raises:
        ValueError: `seed` is no integer.
    """

    random_state_keys = ("key", "_calls")

    def __init__(self, seed: int | None = None, **options: Any) -> None:
        if seed is not None and (isinstance(seed, bool) or not hasattr(seed, "__index__")):
            raise ValueError(f"seed must be an integer or None; received {seed!r}.")
        self.seed = seed
        self.key = (random.new_seed() if seed is None else int(seed)) & 0xFFFFFFFFFFFFFFFF
        self._calls = 0
        super().__init__(**options)

    def next_call(self) -> int:
        """How often the layer has drawn before; from now on once more."""
        self._calls += 1
        return self._calls - 1

    def next_generator(self) -> np.random.Generator:
        """A generator for one call: its numbers follow from `key` and `next_call` alone."""
        return np.random.Generator(np.random.Philox(key=self.key, counter=[0, 0, 0, self.next_call()]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


def share(rate: Any, name: str, below: float = 1.0) -> float:
    """`rate` as a number from 0 to 1, or to below 1; ValueError for others."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.number)) or not 0 <= rate <= below:
        raise ValueError(f"{name} must be a number from 0 to {'1' if below == 1 else 'below 1'}; received {rate!r}.")
    return float(rate)


class Dropout(RandomLayer):
    """In training sets elements to 0 at random and scales the others up by 1 / (1 - rate),
    `keras.layers.Dropout`.

    Args:
        rate: share of the elements that become 0, from 0 to 1.
        noise_shape: shape of the mask that is drawn, broadcast to the input; None in it stands for the
            input's size, 1 gives all elements along that axis one fate.
        seed: of the layer's own random numbers, from which a CPU and a GPU make the same masks; None draws one from
            `fastconv.random` when the layer is made.
        options: as for `Layer`.

    Raises:
        ValueError: `rate` is out of range, or `seed` is no integer.
    """

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        self.rate = share(rate, "rate")
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        super().__init__(seed=seed, **options)

    def mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the mask that is drawn for an input of that shape."""
        if self.noise_shape is None:
            return shape
        sizes = zip(self.noise_shape, shape, strict=True)
        return tuple(size if wanted is None else wanted for wanted, size in sizes)

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        if not training or self.rate == 0:
            self._saved = (x, None)
            return x
        mask = self.draw(x, buffers)
        y = np.multiply(x, mask, out=empty_like(x, buffers, self, "output"))
        self._saved = (y, mask)
        return y

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        mask = saved[1]
        return grad if mask is None else np.multiply(grad, mask, out=gradient_out(grad, buffers))

    def draw(self, x: np.ndarray, buffers: Buffers) -> np.ndarray:
        """A mask of 0 and 1 / (1 - rate)."""
        if self.noise_shape is None:
            mask = empty_like(x, buffers, self, "mask")
        else:
            mask = buffers.empty(self, "mask", self.mask_shape(x.shape), x.dtype)
        from fastconv.kernels import cpu_dropout

        # Drawn in the order of memory, so that a layout changes no bit.
        cpu_dropout.draw(in_memory(mask), self.key, self.next_call(), self.rate)
        return mask

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "noise_shape": self.noise_shape}


class SpatialDropout(Dropout):
    """Base of SpatialDropout2D and SpatialDropout1D: whole channels of a sample become 0."""

    rank = 2

    def expected_shape(self) -> Shape:
        return (None,) * (self.rank + 2)

    def get_config(self) -> dict[str, Any]:
        return {"rate": self.rate, "seed": self.seed, "name": self.name, "dtype": self.dtype}


class SpatialDropout1D(SpatialDropout):
    """In training sets whole channels of sequences (N, W, C) to 0, `keras.layers.SpatialDropout1D`; see `Dropout`."""

    rank = 1

    def __init__(
        self, rate: float, seed: int | None = None, name: str | None = None, dtype: Any = None, **options: Any
    ) -> None:
        super().__init__(rate, (None, 1, None), seed, name=name, dtype=dtype, **options)


class SpatialDropout2D(SpatialDropout):
    """In training sets whole channels of images to 0, `keras.layers.SpatialDropout2D`; see `Dropout`.

    data_format: "channels_last" or "channels_first"; None for `config.image_data_format()`.
    """

    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        self.data_format = resolve_data_format(data_format)
        noise_shape = (None, 1, 1, None) if self.data_format == "channels_last" else (None, None, 1, 1)
        super().__init__(rate, noise_shape, seed, name=name, dtype=dtype, **options)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}
