"""Random numbers of augmentation: each sample's are a function of the seed, the epoch and its place in the order.

Whichever thread prepares a batch, and whatever the size of batches, a sample gets the same ones: they come from a
generator that counts (Philox), whose counter is the place.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from fastconv.preprocessing.image.transforms import Parameters

NUMBERS = 12  # of a sample; whole counts of the generator, each of which gives four


class Ranges(Protocol):
    """The settings of an `ImageDataGenerator` that parameters are drawn from."""

    rotation_range: float
    width_shift_range: Any
    height_shift_range: Any
    shear_range: float
    zoom_range: Any
    channel_shift_range: float
    horizontal_flip: bool
    vertical_flip: bool
    brightness_range: Any


def numbers(seed: int, epoch: int, first: int, count: int) -> np.ndarray:
    """(count, NUMBERS), uniform in [0, 1): those of the samples from place `first` on."""
    counter = np.array([first * NUMBERS // 4, epoch, 0, 0], np.uint64)
    return np.random.Generator(np.random.Philox(key=seed, counter=counter)).random((count, NUMBERS))


def order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The numbers below `count` in the random order of an epoch."""
    counter = np.array([0, epoch, 1, 0], np.uint64)
    return np.random.Generator(np.random.Philox(key=seed, counter=counter)).permutation(count)


def parameters(ranges: Ranges, numbers: np.ndarray, height: int, width: int) -> Parameters:
    """Parameters of transformations from random numbers, (N, NUMBERS); those that are switched off are left out."""
    turn, along, along_sign, across, across_sign, slant, zoom_x, zoom_y, mirror, upend, shift, light = numbers.T
    drawn: dict[str, np.ndarray] = {}
    if ranges.rotation_range:
        drawn["theta"] = _between(-ranges.rotation_range, ranges.rotation_range, turn)
    if _is_set(ranges.height_shift_range):
        drawn["tx"] = _shift(ranges.height_shift_range, along, along_sign, height)
    if _is_set(ranges.width_shift_range):
        drawn["ty"] = _shift(ranges.width_shift_range, across, across_sign, width)
    if ranges.shear_range:
        drawn["shear"] = _between(-ranges.shear_range, ranges.shear_range, slant)
    if tuple(ranges.zoom_range) != (1, 1):
        low, high = ranges.zoom_range
        drawn["zx"], drawn["zy"] = (_between(low, high, number) for number in (zoom_x, zoom_y))
    if ranges.horizontal_flip:
        drawn["flip_horizontal"] = mirror < 0.5
    if ranges.vertical_flip:
        drawn["flip_vertical"] = upend < 0.5
    if ranges.channel_shift_range:
        drawn["channel_shift_intensity"] = _between(-ranges.channel_shift_range, ranges.channel_shift_range, shift)
    if ranges.brightness_range is not None:
        low, high = ranges.brightness_range
        drawn["brightness"] = _between(low, high, light)
    return drawn


def _is_set(shift_range: Any) -> bool:
    return bool(np.any(shift_range))


def _between(low: float, high: float, number: np.ndarray) -> np.ndarray:
    return low + (high - low) * number


def _shift(shift_range: Any, number: np.ndarray, sign: np.ndarray, size: int) -> np.ndarray:
    """Pixels. A float is a range: a share of `size` below 1, pixels from 1 on. An integer n stands for the pixels 0 to
    n - 1, a list for those in it (or for shares, if all are below 1), each in both directions."""
    if np.ndim(shift_range) or isinstance(shift_range, (int, np.integer)):
        choices = np.asarray(shift_range) if np.ndim(shift_range) else np.arange(shift_range)
        pixels = choices[(number * len(choices)).astype(np.int64)] * np.where(sign < 0.5, -1.0, 1.0)
    else:
        pixels = _between(-shift_range, shift_range, number)
    return pixels * size if np.max(shift_range) < 1 else pixels
