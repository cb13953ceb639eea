"""What augmentation does to a batch of images: parameters, a row of a table each, and the pixels they give.

Everything is done for a whole batch at once. Images are (N, H, W, C) here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastconv.kernels import cpu_warp
from fastconv.utils.images import stretched
from fastconv.utils.optional import require

# A parameter by name is a number for each image; None where all images are left alone.
Parameters = Mapping[str, Any]

GEOMETRY = {"theta": 0.0, "tx": 0.0, "ty": 0.0, "shear": 0.0, "zx": 1.0, "zy": 1.0}
FLIPS = ("flip_horizontal", "flip_vertical")
FILL_MODES = tuple(cpu_warp.MODES)


def places(parameters: Parameters, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each output pixel (i, j) comes from: rows (N, 2, H) and columns (N, 2, W), whose sum `rows[:, :, i] +
    columns[:, :, j]` is the place.

    The map is rotation x shift x shear x zoom around the middle. As in Keras its first coordinate is the one along a
    row of pixels, although it is measured from half the height: `tx` moves along a row, and images that are not square
    turn around a point beside their middle.
    """
    theta, tx, ty, shear, zx, zy = (
        np.asarray(parameters.get(name, default), np.float64) for name, default in GEOMETRY.items()
    )
    c, s = np.cos(np.deg2rad(theta)), np.sin(np.deg2rad(theta))
    slant, squeeze = np.sin(np.deg2rad(shear)), np.cos(np.deg2rad(shear))
    # The map's matrix for (first, second) coordinates, and where it takes the origin.
    first = c * zx, (-c * slant - s * squeeze) * zy
    second = s * zx, (-s * slant + c * squeeze) * zy
    middle = height / 2 - 0.5, width / 2 - 0.5
    first_start = middle[0] + c * tx - s * ty - first[0] * middle[0] - first[1] * middle[1]
    second_start = middle[1] + s * tx + c * ty - second[0] * middle[0] - second[1] * middle[1]
    i, j = np.arange(height, dtype=np.float64), np.arange(width, dtype=np.float64)
    rows = np.stack(np.broadcast_arrays(_line(second_start, second[1], i), _line(first_start, first[1], i)), axis=-2)
    columns = np.stack(np.broadcast_arrays(_line(0.0, second[0], j), _line(0.0, first[0], j)), axis=-2)
    mirrored, upside_down = (np.asarray(parameters.get(name, False), bool)[..., None, None] for name in FLIPS)
    return np.where(upside_down, rows[..., ::-1], rows), np.where(mirrored, columns[..., ::-1], columns)


def _line(start: Any, step: Any, positions: np.ndarray) -> np.ndarray:
    return np.asarray(start)[..., np.newaxis] + np.asarray(step)[..., np.newaxis] * positions


def moved(
    images: np.ndarray, which: np.ndarray, parameters: Parameters, fill_mode: str, cval: float, order: int
) -> np.ndarray:
    """Images `which`, (N,), of (M, H, W, C) after their geometry's parameters and flips; new memory.

    Raises:
        ImportError: `order` is above 1 and SciPy is not installed.
    """
    if not any(name in parameters for name in (*GEOMETRY, *FLIPS)):
        return np.ascontiguousarray(images[which])
    if not any(name in parameters for name in GEOMETRY):
        order = 0  # flips need no interpolation
    if not images.flags.carray:  # the kernel is compiled for what is
        images, which = np.ascontiguousarray(images[which]), np.arange(len(which))
    which = np.ascontiguousarray(which, np.int64)
    shape = len(which), *images.shape[1:]
    rows, columns = (
        np.broadcast_to(table, (len(which), *table.shape[-2:])).copy()  # writable, as the kernel is compiled for
        for table in places(parameters, *images.shape[1:3])
    )
    out = np.empty(shape, images.dtype)
    if order in cpu_warp.ORDERS:
        cpu_warp.warp(images, which, rows, columns, out, fill_mode, cval, order)
        return out
    ndimage = require("scipy.ndimage", "image")
    for n, number in enumerate(which):
        where = rows[n, :, :, None] + columns[n, :, None, :]
        for c in range(shape[3]):
            image = images[number, :, :, c]
            out[n, :, :, c] = ndimage.map_coordinates(image, where, order=order, mode=fill_mode, cval=cval)
    return out


def shift_channels(images: np.ndarray, intensity: Any) -> None:
    """Add a number, (N,), to each image within the range of its values; in place."""
    axes = (1, 2, 3)
    lowest, highest = images.min(axes, keepdims=True), images.max(axes, keepdims=True)
    images += np.asarray(intensity, images.dtype).reshape(-1, 1, 1, 1)
    np.clip(images, lowest, highest, out=images)


def brighten(images: np.ndarray, factor: Any, scale: bool = False) -> np.ndarray:
    """Images times a number each, (N,), in whole steps of 0 to 255 as image files have them, which cuts fractions off.

    An image with values outside of 0 to 255 is stretched to that range before and, unless `scale` asks for the
    stretched one, back afterwards. A fourth channel, transparency, is left alone.
    """
    result = np.empty_like(images)
    for image, number, out in zip(images, np.broadcast_to(factor, len(images)), result, strict=True):
        lowest, highest = image.min(), image.max()
        outside = bool(lowest < 0 or highest > 255)
        steps = np.trunc(stretched(image) if outside or scale else image)
        np.clip(np.trunc(steps.astype(np.float32) * np.float32(number)), 0, 255, out=out)
        if image.shape[2] == 4:
            out[..., 3] = steps[..., 3]
        if outside and not scale:
            out *= (highest - lowest) / 255
            out += lowest
    return result


def transformed(
    images: np.ndarray, which: np.ndarray, parameters: Parameters, fill_mode: str, cval: float, order: int
) -> np.ndarray:
    """Images `which` of `images` after all their parameters; new memory."""
    out = moved(images, which, parameters, fill_mode, cval, order)
    if parameters.get("channel_shift_intensity") is not None:
        shift_channels(out, parameters["channel_shift_intensity"])
    if parameters.get("brightness") is not None:
        out = brighten(out, parameters["brightness"])
    return out
