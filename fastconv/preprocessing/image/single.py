"""Transformations of one image, given or drawn, as functions.

Images have 3 axes, which `row_axis`, `col_axis` and `channel_axis` name; the channels are the first or the last. What
is random is drawn from the generator that `set_random_seed` seeds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import random
from fastconv.preprocessing.image.transforms import FILL_MODES, GEOMETRY, brighten, moved, shift_channels
from fastconv.utils.images import checked_choice


def apply_affine_transform(
    x: np.ndarray,
    theta: float = 0,
    tx: float = 0,
    ty: float = 0,
    shear: float = 0,
    zx: float = 1,
    zy: float = 1,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    order: int = 1,
) -> np.ndarray:
    """The image turned by theta degrees, moved, sheared by `shear` degrees and zoomed; parameters as for
    `ImageDataGenerator.apply_transform`.

    Raises:
        ValueError: axes, fill mode or order that there are not.
    """
    checked_choice("fill_mode", fill_mode, FILL_MODES)
    checked_choice("order", order, range(6))
    given = dict(zip(GEOMETRY, (theta, tx, ty, shear, zx, zy), strict=True))
    axes = (row_axis, col_axis, channel_axis)
    if row_axis > col_axis:  # the map's two coordinates are not exchanged then, which another naming of them does
        raise ValueError(f"row_axis must come before col_axis; received {row_axis} and {col_axis}.")
    batch = _image(x, axes).transpose(axes)[np.newaxis]
    return np.ascontiguousarray(
        moved(batch, np.array([0]), given, fill_mode, cval, order)[0].transpose(np.argsort(axes))
    )


def apply_channel_shift(x: np.ndarray, intensity: float, channel_axis: int = 0) -> np.ndarray:
    """The image plus `intensity`, within the range of its values."""
    result = _image(x, (0, 1, 2)).copy()
    shift_channels(result[np.newaxis], intensity)
    return result


def apply_brightness_shift(x: np.ndarray, brightness: float, scale: bool = True) -> np.ndarray:
    """The image, (H, W, C), times `brightness` in whole steps of 0 to 255; with `scale` stretched to that range
    before."""
    return brighten(_image(x, (0, 1, 2))[np.newaxis], brightness, scale)[0]


def random_rotation(x: np.ndarray, rg: float, *args: Any, **kwargs: Any) -> np.ndarray:
    """The image turned by up to `rg` degrees; the other arguments are `random_shift`'s from `row_axis` on."""
    return _moved(x, {"theta": _drawn(-rg, rg)}, *args, **kwargs)


def random_shift(x: np.ndarray, wrg: float, hrg: float, *args: Any, **kwargs: Any) -> np.ndarray:
    """The image moved by up to a share `hrg` of its height along its rows and `wrg` of its width along its columns.

    Further arguments: row_axis (1), col_axis (2), channel_axis (0), fill_mode ("nearest"), cval (0),
    interpolation_order (1).
    """
    names = ("row_axis", "col_axis")
    rows, columns = (kwargs.get(name, args[i] if len(args) > i else i + 1) for i, name in enumerate(names))
    shape = np.shape(x)
    shift = {"tx": _drawn(-hrg, hrg) * shape[rows], "ty": _drawn(-wrg, wrg) * shape[columns]}
    return _moved(x, shift, *args, **kwargs)


def random_shear(x: np.ndarray, intensity: float, *args: Any, **kwargs: Any) -> np.ndarray:
    """The image sheared by up to `intensity` degrees; the other arguments are `random_shift`'s from `row_axis` on."""
    return _moved(x, {"shear": _drawn(-intensity, intensity)}, *args, **kwargs)


def random_zoom(x: np.ndarray, zoom_range: Any, *args: Any, **kwargs: Any) -> np.ndarray:
    """The image zoomed by factors from (lowest, highest); the other arguments are `random_shift`'s from `row_axis`
    on."""
    if np.shape(zoom_range) != (2,):
        raise ValueError(f"zoom_range must be two numbers; received {zoom_range!r}.")
    return _moved(x, {"zx": _drawn(*zoom_range), "zy": _drawn(*zoom_range)}, *args, **kwargs)


def random_channel_shift(x: np.ndarray, intensity_range: float, channel_axis: int = 0) -> np.ndarray:
    """The image plus up to `intensity_range`, or less, within the range of its values."""
    return apply_channel_shift(x, _drawn(-intensity_range, intensity_range), channel_axis)


def random_brightness(x: np.ndarray, brightness_range: Any, scale: bool = True) -> np.ndarray:
    """The image times a factor from (lowest, highest), as `apply_brightness_shift` does it."""
    if np.shape(brightness_range) != (2,):
        raise ValueError(f"brightness_range must be two numbers; received {brightness_range!r}.")
    return apply_brightness_shift(x, _drawn(*brightness_range), scale)


def _drawn(low: float, high: float) -> float:
    return float(random.generator().uniform(low, high))


def _moved(
    x: np.ndarray,
    parameters: dict[str, float],
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation_order: int = 1,
) -> np.ndarray:
    return apply_affine_transform(
        x, row_axis=row_axis, col_axis=col_axis, channel_axis=channel_axis, fill_mode=fill_mode, cval=cval,
        order=interpolation_order, **parameters,  # type: ignore[arg-type]
    )  # fmt: skip


def _image(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """It as an array of float32 or float64. Raises ValueError if it has not these axes, or the channels in their
    middle."""
    x = np.asarray(x)
    if x.ndim != 3 or sorted(axes) != [0, 1, 2] or axes[2] == 1:
        raise ValueError(f"x must have 3 axes, channels first or last; received shape {x.shape} and axes {axes}.")
    return x.astype(np.result_type(x.dtype, np.float32), copy=False)
