"""RandomRotation, RandomTranslation and RandomZoom: images turned, moved and zoomed in training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.buffers import Buffers
from fastconv.layers.augmentation import RandomImageLayer, Range, read_factor
from fastconv.layers.layout import for_kernel

_FILL_MODES = ("reflect", "wrap", "constant", "nearest")
_INTERPOLATIONS = ("nearest", "bilinear")


class RandomWarp(RandomImageLayer):
    """Base of the three layers: each image is looked up through an affine map that a subclass draws: `maps`.

    Args:
        fill_mode: what stands for pixels beyond the edges: "reflect" (d c b a | a b c d | d c b a), "wrap" (a b c d | a
            b c d | a b c d), "nearest" (a a a a | a b c d | d d d d) or "constant".
        interpolation: "bilinear" or "nearest".
        fill_value: for "constant".
        seed, data_format, options: as for `RandomImageLayer`.

    Raises:
        ValueError: an unknown fill_mode or interpolation.
    """

    def __init__(self, fill_mode: str, interpolation: str, fill_value: float, **options: Any) -> None:
        for name, value, known in (
            ("fill_mode", fill_mode, _FILL_MODES),
            ("interpolation", interpolation, _INTERPOLATIONS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; received {value!r}.")
        self.fill_mode, self.interpolation, self.fill_value = fill_mode, interpolation, fill_value
        super().__init__(**options)

    def maps(self, count: int, height: int, width: int, draw: np.random.Generator) -> np.ndarray:
        """(count, 6), rows (a, b, c, d, e, f): output pixel (x, y) is the input's (a x + b y + c, d x + e y + f)."""
        raise NotImplementedError

    def change(self, images: np.ndarray, draw: np.random.Generator, buffers: Buffers) -> tuple[np.ndarray, Any]:
        from fastconv.kernels import cpu_affine

        images = for_kernel(images, images.dtype, buffers, self, "input")
        maps = self.maps(len(images), images.shape[1], images.shape[2], draw)
        y = buffers.empty(self, "output", images.shape, images.dtype)
        cpu_affine.affine(images, maps, self.interpolation == "bilinear", self.fill_mode, self.fill_value, y)
        return y, maps

    def change_back(self, gy: np.ndarray, how: Any, buffers: Buffers) -> np.ndarray:
        from fastconv.kernels import cpu_affine

        gy = for_kernel(gy, gy.dtype, buffers, self, "grad")
        gx = buffers.empty(self, "input_grad", gy.shape, gy.dtype)
        cpu_affine.affine_backward(gy, how, self.interpolation == "bilinear", self.fill_mode, gx)
        return gx

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "fill_mode": self.fill_mode,
            "interpolation": self.interpolation,
            "fill_value": self.fill_value,
        }


class RandomRotation(RandomWarp):
    """Images turned about their middle, `keras.layers.RandomRotation`.

    Args:
        factor: (lower, upper), or a number for (-number, number): the turn against the clock as a share of 360 degrees.
        fill_mode, interpolation, seed, fill_value, data_format, options: as for `RandomWarp`.

    Raises:
        ValueError: a factor out of [-1, 1], or an unknown option.
    """

    def __init__(
        self,
        factor: float | Sequence[float],
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        self.factor = read_factor(factor, -1.0, 1.0)
        super().__init__(fill_mode, interpolation, fill_value, seed=seed, data_format=data_format, **options)

    def maps(self, count: int, height: int, width: int, draw: np.random.Generator) -> np.ndarray:
        return rotation_maps(draw.uniform(*self.factor, count) * 2 * math.pi, height, width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


class RandomTranslation(RandomWarp):
    """Images moved, `keras.layers.RandomTranslation`.

    Args:
        height_factor, width_factor: (lower, upper), or a number for (-number, number): the way down, and to the right,
            as a share of the image's height and width.
        fill_mode, interpolation, seed, fill_value, data_format, options: as for `RandomWarp`.

    Raises:
        ValueError: a factor out of [-1, 1], or an unknown option.
    """

    def __init__(
        self,
        height_factor: float | Sequence[float],
        width_factor: float | Sequence[float],
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        self.height_factor, self.width_factor = height_factor, width_factor
        self._down = read_factor(height_factor, -1.0, 1.0, "height_factor")
        self._right = read_factor(width_factor, -1.0, 1.0, "width_factor")
        super().__init__(fill_mode, interpolation, fill_value, seed=seed, data_format=data_format, **options)

    def maps(self, count: int, height: int, width: int, draw: np.random.Generator) -> np.ndarray:
        down, right = draw.uniform(*self._down, count) * height, draw.uniform(*self._right, count) * width
        return translation_maps(down, right)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height_factor": self.height_factor, "width_factor": self.width_factor}


class RandomZoom(RandomWarp):
    """Images made smaller or larger about their middle, `keras.layers.RandomZoom`; the output's size stays.

    Args:
        height_factor, width_factor: (lower, upper), or a number for (-number, number): by what share more of the image
            is seen: 0.2 zooms out, -0.2 in. Without a width_factor the shape is kept.
        fill_mode, interpolation, seed, fill_value, data_format, options: as for `RandomWarp`.

    Raises:
        ValueError: a factor out of (-1, 1], or an unknown option.
    """

    def __init__(
        self,
        height_factor: float | Sequence[float],
        width_factor: float | Sequence[float] | None = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        self.height_factor, self.width_factor = height_factor, width_factor
        above_minus_1 = math.nextafter(-1, 0)
        self._tall = read_factor(height_factor, above_minus_1, 1.0, "height_factor")
        self._wide: Range | None = None
        if width_factor is not None:
            self._wide = read_factor(width_factor, above_minus_1, 1.0, "width_factor")
        super().__init__(fill_mode, interpolation, fill_value, seed=seed, data_format=data_format, **options)

    def maps(self, count: int, height: int, width: int, draw: np.random.Generator) -> np.ndarray:
        tall = 1 + draw.uniform(*self._tall, count)
        wide = tall if self._wide is None else 1 + draw.uniform(*self._wide, count)
        return zoom_maps(tall, wide, height, width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height_factor": self.height_factor, "width_factor": self.width_factor}


def rotation_maps(angles: np.ndarray, height: int, width: int) -> np.ndarray:
    """The maps that turn images by angles in radians."""
    x, y = (width - 1) / 2, (height - 1) / 2
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([cos, -sin, x - x * cos + y * sin, sin, cos, y - x * sin - y * cos], axis=1)


def translation_maps(down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The maps that move images by so many pixels."""
    zero, one = np.zeros(len(down)), np.ones(len(down))
    return np.stack([one, zero, -right, zero, one, -down], axis=1)


def zoom_maps(tall: np.ndarray, wide: np.ndarray, height: int, width: int) -> np.ndarray:
    """The maps that show so many times the height and the width of images."""
    zero = np.zeros(len(tall))
    return np.stack([wide, zero, (width - 1) / 2 * (1 - wide), zero, tall, (height - 1) / 2 * (1 - tall)], axis=1)
