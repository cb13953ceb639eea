"""Image files and arrays, under the names of `keras.utils`; Pillow reads and writes the files."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import config
from fastconv.layers.layout import from_last, to_last
from fastconv.utils.files import atomic_write
from fastconv.utils.optional import require

CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}
_MODES = {"rgb": ("RGB",), "rgba": ("RGBA",), "grayscale": ("L", "I;16", "I")}
_RESAMPLING = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")


def checked_data_format(data_format: str | None) -> str:
    """It, or the one of `config`. Raises ValueError if there is no such."""
    if data_format is None:
        return config.image_data_format()
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(f'data_format must be "channels_last" or "channels_first"; received {data_format!r}.')
    return data_format


def checked_choice(argument: str, value: Any, choices: Any) -> Any:
    """`value` if it is one of `choices`. Raises ValueError else."""
    if not any(value is choice or value == choice for choice in choices):
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, choices))}; received {value!r}.")
    return value


def checked_size(argument: str, size: Any) -> tuple[int, int]:
    """(height, width). Raises ValueError if they are not two positive integers."""
    if (
        not isinstance(size, (tuple, list))
        or len(size) != 2
        or not all(hasattr(n, "__index__") and n > 0 for n in size)
    ):
        raise ValueError(f"{argument} must be (height, width), two positive integers; received {size!r}.")
    return int(size[0]), int(size[1])


def load_img(
    path: str | bytes | os.PathLike[str] | io.BytesIO,
    color_mode: str = "rgb",
    target_size: Sequence[int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Any:
    """Read an image file into a Pillow image. Needs the extra `image`.

    Args:
        path: the file's path, or its contents as a `BytesIO`.
        color_mode: "grayscale", "rgb" or "rgba". Gray images of 16 or 32 bits stay so.
        target_size: (height, width) to resize to; None for the image's own.
        interpolation: "nearest", "bilinear", "bicubic", "hamming", "box" or "lanczos".
        keep_aspect_ratio: resize the largest part in the middle that has `target_size`'s proportions.

    Raises:
        ValueError: an argument that is none of these. OSError: no such file, or no image, or a damaged one; the message
            has the path. TypeError: `path` is no path.
    """
    checked_choice("color_mode", color_mode, CHANNELS)
    checked_choice("interpolation", interpolation, _RESAMPLING)
    size = None if target_size is None else checked_size("target_size", target_size)
    if not isinstance(path, (str, bytes, os.PathLike, io.BytesIO)):
        raise TypeError(f"path must be a path or an io.BytesIO; received {type(path).__name__}.")
    image_module = require("PIL.Image", "image")
    try:
        with image_module.open(path) as file:
            image = file.convert(_MODES[color_mode][0]) if file.mode not in _MODES[color_mode] else file.copy()
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, image_module.DecompressionBombError) as error:
        name = "the contents given" if isinstance(path, io.BytesIO) else os.fsdecode(path)
        raise OSError(f"{name} cannot be read as an image: {error}") from error
    if size is None or image.size == size[::-1]:
        return image
    box = _middle(image.size, size) if keep_aspect_ratio else None
    return image.resize(size[::-1], image_module.Resampling[interpolation.upper()], box=box)


def _middle(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the largest part in the middle of a (width, height) with a (height, width)'s
    proportions."""
    width, height = size
    part_height = min(height, width * target[0] // target[1])
    part_width = min(width, height * target[1] // target[0])
    left, top = (width - part_width) // 2, (height - part_height) // 2
    return left, top, left + part_width, top + part_height


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> np.ndarray:
    """A Pillow image as an array, (H, W, C) or in "channels_first" (C, H, W), of `floatx` or `dtype`.

    Raises:
        ValueError: it has neither two nor three axes, or an unknown `data_format`.
    """
    data_format = checked_data_format(data_format)
    x = np.array(img, dtype or config.floatx())
    if x.ndim not in (2, 3):
        raise ValueError(f"img must have the axes (H, W) or (H, W, C); received shape {x.shape}.")
    return from_last(x.reshape(1, *x.shape[:2], -1), data_format)[0]


def array_to_img(x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None) -> Any:
    """An array as a Pillow image. Needs the extra `image`.

    Args:
        x: (H, W, C), or in "channels_first" (C, H, W), with 1, 3 or 4 channels.
        scale: stretch its values to 0 to 255; else they must lie in that range, and their fractions are cut off.
        dtype: what to compute in, `floatx` by default.

    Raises:
        ValueError: another shape.
    """
    data_format = checked_data_format(data_format)
    x = np.asarray(x, dtype or config.floatx())
    if x.ndim != 3:
        raise ValueError(f"x must be a single image of 3 axes; received shape {x.shape}.")
    x = to_last(x[np.newaxis], data_format)[0]
    if x.shape[2] not in (1, 3, 4):
        raise ValueError(f"x must have 1, 3 or 4 channels; received shape {x.shape}.")
    if scale:
        x = stretched(x)
    image_module = require("PIL.Image", "image")
    if x.shape[2] == 1:
        plane = x[:, :, 0]
        return image_module.fromarray(plane.astype(np.int32 if x.max() > 255 else np.uint8))
    return image_module.fromarray(x.astype(np.uint8))


def stretched(x: np.ndarray) -> np.ndarray:
    """Its values moved and stretched to 0 to 255; all 0 where they are all the same."""
    x = x - x.min()
    return x / (x.max() or 1) * 255


def save_img(
    path: Any, x: Any, data_format: str | None = None, file_format: str | None = None, scale: bool = True, **kwargs: Any
) -> None:
    """Write an array to an image file. Needs the extra `image`.

    Args:
        path: where to, or a stream.
        x, data_format, scale: as for `array_to_img`.
        file_format: such as "png"; by default the path's ending says it. A stream needs it.
        kwargs: for Pillow's `Image.save`.

    Raises:
        ValueError: x has another shape, or there is no such format. OSError: the file cannot be written; one that was
            there before stays as it was.
    """
    image = array_to_img(x, data_format, scale)
    is_path = isinstance(path, (str, os.PathLike))
    ending = "." + (file_format or (Path(path).suffix[1:] if is_path else "")).lower()
    file_format = require("PIL.Image", "image").registered_extensions().get(ending, file_format)
    if image.mode == "RGBA" and file_format == "JPEG":
        warnings.warn("JPEG has no transparency: the image is saved as RGB.", stacklevel=2)
        image = image.convert("RGB")
    with atomic_write(path) if is_path else nullcontext(path) as stream:
        image.save(stream, format=file_format, **kwargs)
