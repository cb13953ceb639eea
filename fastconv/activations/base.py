"""`Activation`: what all activations share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from fastconv.serialization import Configurable, as_float


class Activation(Configurable):
    """Base class: a subclass defines `name`, `forward` and `backward`, and `needs_input` where it is True."""

    name = ""
    needs_input = False
    keeps_shape = True  # where False, `forward` and `backward` are never given memory that they may also read

    def output_shape(self, shape: Any) -> Any:
        """The output's shape for an input of that shape; ValueError if there can be no such input."""
        return shape

    def __call__(self, x: Any, *args: Any, **parameters: Any) -> np.ndarray:
        """A new array with the activation of `x`, with the given parameters in place of this object's."""
        x = as_float(x)
        activation = type(self)(*args, **parameters) if args or parameters else self
        out = np.empty_like(x) if activation.keeps_shape else np.empty(activation.output_shape(x.shape), x.dtype)
        return activation.forward(x, out)

    def forward(self, x: np.ndarray, out: np.ndarray) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must define forward(x, out).")

    def backward(self, grad: np.ndarray, y: np.ndarray, x: np.ndarray | None, out: np.ndarray) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must define backward(grad, y, x, out).")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        # A Keras file may hold an activation layer here, whose config has these keys besides.
        return cls(**{key: value for key, value in config.items() if key not in ("name", "dtype", "trainable")})


def write(out: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`values`, copied into `out`."""
    out[...] = values
    return out


def non_negative(name: str, value: float | None) -> None:
    """ValueError for a parameter below 0 or NaN."""
    if value is not None and not value >= 0:
        raise ValueError(f"{name} must not be negative, not {value!r}.")
