"""RandomFlip, RandomCrop, RandomContrast and RandomBrightness: another version of an image each time, in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.buffers import FRESH, Buffers
from fastconv.layers.base import gradient_out
from fastconv.layers.layout import empty_like, from_last, to_last
from fastconv.layers.regularization import RandomLayer
from fastconv.layers.resizing import FixedSize, ImageLayer, Window, largest_window

_MODES = ("horizontal", "vertical", "horizontal_and_vertical")
Range = tuple[float, float]


class RandomImageLayer(ImageLayer, RandomLayer):
    """Base of layers that change images at random in training and leave them alone otherwise.

    Args:
        seed: of the layer's own random numbers; None draws one from `fastconv.random` when the layer is made.
        data_format, options: as for `ImageLayer`.
    """

    def forward(self, x: np.ndarray, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        self.check_input_shape(x.shape)
        if not training:
            self._saved = (x, None)
            return x
        images = to_last(x, self.data_format)
        changed, how = self.change(images, self.next_generator(), buffers)
        y = from_last(changed, self.data_format)
        self._saved = (y, how)
        return y

    def change(self, images: np.ndarray, draw: np.random.Generator, buffers: Buffers) -> tuple[np.ndarray, Any]:
        """Other images (N, H, W, C), and what `change_back` has to know; not None."""
        raise NotImplementedError

    def change_back(self, gy: np.ndarray, how: Any, buffers: Buffers) -> np.ndarray:
        """The gradient for the images of the last `change` from that for its output."""
        raise NotImplementedError

    def input_gradient(self, grad: np.ndarray, saved: tuple[Any, ...], buffers: Buffers) -> np.ndarray:
        how = saved[1]
        if how is None:
            return grad
        return from_last(self.change_back(to_last(grad, self.data_format), how, buffers), self.data_format)


class RandomFlip(RandomImageLayer):
    """Half of the images mirrored, `keras.layers.RandomFlip`.

    Args:
        mode: "horizontal" (left and right change places), "vertical", or "horizontal_and_vertical": as in Keras both or
            neither for an image.
        seed, data_format, options: as for `RandomImageLayer`.

    Raises:
        ValueError: an unknown mode.
    """

    def __init__(
        self,
        mode: str = "horizontal_and_vertical",
        seed: int | None = None,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        if mode not in _MODES:
            raise ValueError(f"mode must be one of {', '.join(_MODES)}; received {mode!r}.")
        self.mode = mode
        super().__init__(seed=seed, data_format=data_format, **options)

    @property
    def mirrored(self) -> tuple[bool, bool]:
        """Whether the order of rows is turned round, and that of columns."""
        return self.mode != "horizontal", self.mode != "vertical"

    def flips(self, count: int, draw: np.random.Generator) -> np.ndarray:
        """Which of so many images are mirrored."""
        return draw.random(count) <= 0.5

    def change(self, images: np.ndarray, draw: np.random.Generator, buffers: Buffers) -> tuple[np.ndarray, Any]:
        flips = self.flips(len(images), draw)
        return self._flipped(images, flips, empty_like(images, buffers, self, "output")), flips

    def change_back(self, gy: np.ndarray, how: Any, buffers: Buffers) -> np.ndarray:
        return self._flipped(gy, how, empty_like(gy, buffers, self, "input_grad"))

    def _flipped(self, images: np.ndarray, flips: np.ndarray, out: np.ndarray) -> np.ndarray:
        rows, columns = (slice(None, None, -1 if mirrored else 1) for mirrored in self.mirrored)
        for image, flip, target in zip(images, flips, out, strict=True):
            target[...] = image[rows, columns] if flip else image
        return out

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}


class RandomContrast(RandomImageLayer):
    """(x - mean) * factor + mean for each channel of an image, clipped to a range, `keras.layers.RandomContrast`.

    Args:
        factor: (lower, upper) for factors from 1 - lower to 1 + upper; a number is, as Keras reads it, (0, number).
        value_range: smallest and largest value of the outputs.
        seed, options: as for `RandomImageLayer`.

    Raises:
        ValueError: a factor out of [0, 1].
    """

    def __init__(
        self,
        factor: float | Sequence[float],
        value_range: Sequence[float] = (0, 255),
        seed: int | None = None,
        **options: Any,
    ) -> None:
        self.factor = read_factor(factor, 0.0, 1.0)
        self.value_range = read_range(value_range)
        super().__init__(seed=seed, **options)

    def factors(self, count: int, draw: np.random.Generator) -> np.ndarray:
        """Those of so many images."""
        return draw.uniform(1 - self.factor[0], 1 + self.factor[1], count)

    def change(self, images: np.ndarray, draw: np.random.Generator, buffers: Buffers) -> tuple[np.ndarray, Any]:
        factors = self.factors(len(images), draw).reshape(-1, 1, 1, 1).astype(images.dtype)
        means = images.mean(axis=(1, 2), keepdims=True)
        y = np.subtract(images, means, out=empty_like(images, buffers, self, "output"))
        y *= factors
        y += means
        np.clip(y, *self.value_range, out=y)
        return y, (y, factors)

    def change_back(self, gy: np.ndarray, how: Any, buffers: Buffers) -> np.ndarray:
        y, factors = how
        inner = np.multiply(gy, _unclipped(y, self.value_range), out=empty_like(gy, buffers, self, "input_grad"))
        means = inner.mean(axis=(1, 2), keepdims=True)
        inner *= factors
        inner += (1 - factors) * means
        return inner

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor, "value_range": self.value_range}


class RandomBrightness(RandomImageLayer):
    """A number added to all of an image, clipped to a range, `keras.layers.RandomBrightness`.

    Args:
        factor: (lower, upper), or a number for (-number, number): the share of the range that is added.
        value_range: smallest and largest value of the outputs.
        seed, options: as for `RandomImageLayer`.

    Raises:
        ValueError: a factor out of [-1, 1], or a range that is no pair of numbers.
    """

    def __init__(
        self,
        factor: float | Sequence[float],
        value_range: Sequence[float] = (0, 255),
        seed: int | None = None,
        **options: Any,
    ) -> None:
        self.factor = read_factor(factor, -1.0, 1.0)
        self.value_range = sorted(read_range(value_range))
        super().__init__(seed=seed, **options)

    def added(self, count: int, draw: np.random.Generator) -> np.ndarray:
        """The numbers added to so many images."""
        return draw.uniform(*self.factor, count) * (self.value_range[1] - self.value_range[0])

    def change(self, images: np.ndarray, draw: np.random.Generator, buffers: Buffers) -> tuple[np.ndarray, Any]:
        added = self.added(len(images), draw).reshape(-1, 1, 1, 1).astype(images.dtype)
        y = np.add(images, added, out=empty_like(images, buffers, self, "output"))
        np.clip(y, *self.value_range, out=y)
        return y, y

    def change_back(self, gy: np.ndarray, how: Any, buffers: Buffers) -> np.ndarray:
        return np.multiply(gy, _unclipped(how, self.value_range), out=gradient_out(gy, buffers))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor, "value_range": self.value_range}


class RandomCrop(FixedSize, RandomLayer):
    """A part of the images at a random place, one for the batch, `keras.layers.RandomCrop`.

    Without training, and for images that are not larger, it is the largest middle part of the output's shape, resized.
    Keras 3.15 says so too, but gives images back as they are without training.

    Args:
        height, width: of the output.
        seed, data_format, options: as for `RandomImageLayer`.

    Raises:
        ValueError: `height` or `width` is no positive integer.
    """

    def __init__(
        self,
        height: int,
        width: int,
        seed: int | None = None,
        data_format: str | None = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(height, width, seed=seed, data_format=data_format, name=name, **options)

    def is_random(self, height: int, width: int) -> bool:
        """Whether the part of images of that size is drawn, in training."""
        return height > self.height and width > self.width

    def window(self, height: int, width: int, training: bool) -> Window:
        if not training:
            return largest_window(height, width, self.height, self.width)
        if self.is_random(height, width):
            top, left = self.next_generator().integers(0, (height - self.height + 1, width - self.width + 1))
            return int(top), int(left), self.height, self.width
        top, left, _, _ = largest_window(height, width, self.height, self.width)
        return top, left, min(self.height, height - top), min(self.width, width - left)


def read_factor(factor: Any, lowest: float, highest: float, name: str = "factor") -> Range:
    """(lower, upper), or for a number (-number, number) as far as that is allowed.

    Raises:
        ValueError: another form, or out of [lowest, highest].
    """
    pair = tuple(factor) if isinstance(factor, (tuple, list)) else (factor, factor)
    known = (isinstance(x, (int, float, np.number)) and not isinstance(x, bool) for x in pair)
    if len(pair) != 2 or not all(known) or not all(lowest <= x <= highest for x in pair):
        raise ValueError(f"{name} must be a number, or two, from {lowest:.3g} to {highest:.3g}; received {factor!r}.")
    if pair[0] is factor:
        return max(-abs(factor), lowest), abs(factor)
    lower, upper = sorted(pair)
    return lower, upper


def read_range(value_range: Any) -> Sequence[float]:
    """`value_range` as it is; ValueError if it is no pair of numbers."""
    if not isinstance(value_range, (tuple, list)) or len(value_range) != 2:
        raise ValueError(f"value_range must be a pair of numbers; received {value_range!r}.")
    return value_range


def _unclipped(y: np.ndarray, value_range: Sequence[float]) -> np.ndarray:
    """Where y was not clipped."""
    return (y > value_range[0]) & (y < value_range[1])
