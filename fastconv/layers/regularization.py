"""Dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import random
from fastconv.buffers import FRESH, Buffers
from fastconv.layers.base import Layer, gradient_out
from fastconv.layers.layout import empty_like


class Dropout(Layer):
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

    by_sample = True
    random_state_keys = ("key", "_calls")

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        if isinstance(rate, bool) or not isinstance(rate, (int, float, np.number)) or not 0 <= rate <= 1:
            raise ValueError(f"rate must be a number from 0 to 1; received {rate!r}.")
        if seed is not None and (isinstance(seed, bool) or not hasattr(seed, "__index__")):
            raise ValueError(f"seed must be an integer or None; received {seed!r}.")
        self.rate = float(rate)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        self.seed = seed
        self.key = (random.new_seed() if seed is None else int(seed)) & 0xFFFFFFFFFFFFFFFF
        self._calls = 0
        super().__init__(**options)

    def next_call(self) -> int:
        """How many masks were drawn before the one that is drawn now."""
        self._calls += 1
        return self._calls - 1

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
        mask = self._draw(x, buffers)
        y = np.multiply(x, mask, out=empty_like(x, buffers, self, "output"))
        self._saved = (y, mask)
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
        _, mask = self._recall(grad)
        return grad if mask is None else np.multiply(grad, mask, out=gradient_out(grad, buffers))

    def _draw(self, x: np.ndarray, buffers: Buffers) -> np.ndarray:
        """A mask of 0 and 1 / (1 - rate)."""
        if self.noise_shape is None:
            mask = empty_like(x, buffers, self, "mask")
        else:
            mask = buffers.empty(self, "mask", self.mask_shape(x.shape), x.dtype)
        # Drawn in the order of memory, so that a layout changes no bit.
        memory = mask if mask.flags.c_contiguous else mask.transpose(0, 2, 3, 1)
        from fastconv.kernels import cpu_dropout

        cpu_dropout.draw(memory, self.key, self.next_call(), self.rate)
        return mask

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed, "noise_shape": self.noise_shape}
