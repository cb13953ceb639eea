"""Images made larger or smaller, as TensorFlow's `tf.image.resize` does it without antialiasing.

Each way of interpolating is a weight for every pair of an old and a new row, so that an image is resized by two matrix
products, one for its rows and one for its columns. Weights are exact, where TensorFlow's "bicubic" looks them up in a
table (up to 0.15 apart on 0 to 255).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv.layers.layout import from_last, to_last
from fastconv.utils.images import checked_choice, checked_data_format, checked_size


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(0, 1 - x)


def _keys_cubic(x: np.ndarray) -> np.ndarray:
    return np.select([x < 1, x < 2], [(1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2])


def _mitchell_cubic(x: np.ndarray) -> np.ndarray:
    near, far = (7 / 6 * x - 2) * x * x + 8 / 9, ((-7 / 18 * x + 2) * x - 10 / 3) * x + 16 / 9
    return np.select([x < 1, x < 2], [near, far])


def _gaussian(x: np.ndarray) -> np.ndarray:
    return np.where(x < 1.5, np.exp(-2 * x * x), 0)


def _lanczos(radius: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.where(x < radius, np.sinc(x) * np.sinc(x / radius), 0)


# The weight of an old pixel by its distance from the new one's centre.
_WEIGHTS = {
    "bilinear": _triangle,
    "bicubic": _keys_cubic,
    "lanczos3": _lanczos(3),
    "lanczos5": _lanczos(5),
    "gaussian": _gaussian,
    "mitchellcubic": _mitchell_cubic,
}
_BLURRING = ("gaussian", "mitchellcubic")  # also where the size stays
INTERPOLATIONS = ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic")


@functools.lru_cache(maxsize=256)
def _matrix(old: int, new: int, interpolation: str) -> np.ndarray:
    """(new, old), float32: the share of every old pixel in every new one."""
    scale = old / new
    edges = np.arange(new + 1) * scale
    if interpolation == "nearest":
        nearest = np.minimum(np.floor((np.arange(new) + 0.5) * scale), old - 1)
        weights = nearest[:, np.newaxis] == np.arange(old)
    elif interpolation == "area":
        begins, ends = edges[:-1, np.newaxis], edges[1:, np.newaxis]
        weights = np.maximum(0, np.minimum(ends, np.arange(1, old + 1)) - np.maximum(begins, np.arange(old)))
    else:
        centres = (np.arange(new) + 0.5) * scale
        weights = _WEIGHTS[interpolation](np.abs(np.arange(old) + 0.5 - centres[:, np.newaxis]))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def resize(x: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """An image (H, W, C) as one of `size`, (height, width, C), float32."""
    x = np.asarray(x, np.float32)
    if x.shape[:2] == size and interpolation not in _BLURRING:
        return x.copy()
    rows, columns = (_matrix(old, new, interpolation) for old, new in zip(x.shape[:2], size, strict=True))
    height, width, channels = x.shape
    x = (rows @ x.reshape(height, width * channels)).reshape(size[0], width, channels)
    return columns @ x


def crop_and_resize(x: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """The largest part in the middle of (H, W, C) that has the proportions of `size`, as an image of that size."""
    height, width = x.shape[:2]
    part_height = max(1, min(height, int(width * size[0] / size[1])))
    part_width = max(1, min(width, int(height * size[1] / size[0])))
    top, left = (height - part_height) // 2, (width - part_width) // 2
    return resize(x[top : top + part_height, left : left + part_width], size, interpolation)


def resize_and_pad(x: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """An image (H, W, C), as large as fits into `size`, in the middle of zeros."""
    height, width, channels = x.shape
    ratio = max(height / size[0], width / size[1])
    inner = max(1, int(height / ratio)), max(1, int(width / ratio))
    result = np.zeros((*size, channels), np.float32)
    top, left = (max(0, int((whole - old / ratio) / 2)) for whole, old in zip(size, (height, width), strict=True))
    result[top : top + inner[0], left : left + inner[1]] = resize(x, inner, interpolation)
    return result


def smart_resize(
    x: Any, size: Sequence[int], interpolation: str = "bilinear", data_format: str = "channels_last"
) -> np.ndarray:
    """Images as images of `size` without distortion: what sticks out on both sides is cut off.

    Args:
        x: an image (H, W, C), or a batch of them; in "channels_first" (C, H, W).
        size: (height, width).
        interpolation: "bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian" or "mitchellcubic".

    Returns:
        float32, (height, width, C) or a batch of them, in `data_format`.
    """
    size = checked_size("size", size)
    checked_choice("interpolation", interpolation, INTERPOLATIONS)
    x = np.asarray(x)
    if x.ndim not in (3, 4):
        raise ValueError(f"x must be an image of 3 axes or a batch of 4; received shape {x.shape}.")
    batch = to_last(x if x.ndim == 4 else x[np.newaxis], checked_data_format(data_format))
    result = np.stack([crop_and_resize(image, size, interpolation) for image in batch])
    result = from_last(result, data_format)
    return result if x.ndim == 4 else result[0]
