"""`ImageDataGenerator`: batches of images, randomly transformed and normalised, from arrays and files."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv import config, random
from fastconv.layers.layout import from_last, to_last
from fastconv.preprocessing.image import draws
from fastconv.preprocessing.image.flows import Flows
from fastconv.preprocessing.image.iterator import checked_seed
from fastconv.preprocessing.image.transforms import FILL_MODES, FLIPS, GEOMETRY, Parameters, transformed
from fastconv.utils.images import checked_choice, checked_data_format

_EPSILON = 1e-6


class ImageDataGenerator(Flows):
    """Draws a transformation for each image, applies it, and normalises the result.

    `flow`, `flow_from_directory` and `flow_from_dataframe` return data sets for `fit`, `evaluate` and `predict`, whose
    worker threads prepare batches ahead of the step. The same seed gives the same batches, with any number of workers.

    Args:
        featurewise_center, featurewise_std_normalization: subtract the channels' mean over the data that `fit` was
            given; divide by their standard deviation.
        samplewise_center, samplewise_std_normalization: subtract each image's own mean; divide by its own deviation.
        zca_whitening, zca_epsilon: whiten with the matrix of `fit`; what is added to the singular values.
        rotation_range: degrees, in both directions.
        width_shift_range, height_shift_range: a float below 1 is a share of the size, from 1 on pixels; an integer n is
            one of -(n - 1) to n - 1 pixels; a list has the pixels to choose from, in both directions. As in Keras,
            `height_shift_range` moves images along their rows and `width_shift_range` along their columns.
        brightness_range: (lowest, highest) factor.
        shear_range: degrees, in both directions.
        zoom_range: (lowest, highest) or a float z for (1 - z, 1 + z); above 1 things become smaller. Both directions
            are drawn independently.
        channel_shift_range: what is at most added to, or taken from, all values of an image.
        fill_mode, cval: what lies outside: "nearest", "reflect" or "wrap" of the image, or "constant", which is `cval`.
        horizontal_flip, vertical_flip: mirror half of the images.
        rescale: factor for all values, after the transformation.
        preprocessing_function: called with each image, 3 axes, after the transformation and before all normalisation;
            from several threads.
        data_format: "channels_last" or "channels_first"; that of `config` by default.
        validation_split: the share of the data that `subset="validation"` takes, from the beginning.
        interpolation_order: 0 for the nearest pixel, 1 for linear; 2 to 5 for splines, which take SciPy (extra
            `image`).
        dtype: of the batches; `floatx` by default.

    Raises:
        ValueError: an argument that is none of these.
    """

    def __init__(
        self,
        featurewise_center: bool = False,
        samplewise_center: bool = False,
        featurewise_std_normalization: bool = False,
        samplewise_std_normalization: bool = False,
        zca_whitening: bool = False,
        zca_epsilon: float = 1e-6,
        rotation_range: float = 0,
        width_shift_range: Any = 0.0,
        height_shift_range: Any = 0.0,
        brightness_range: Any = None,
        shear_range: float = 0.0,
        zoom_range: Any = 0.0,
        channel_shift_range: float = 0.0,
        fill_mode: str = "nearest",
        cval: float = 0.0,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        rescale: float | None = None,
        preprocessing_function: Callable[[np.ndarray], Any] | None = None,
        data_format: str | None = None,
        validation_split: float = 0.0,
        interpolation_order: int = 1,
        dtype: Any = None,
    ) -> None:
        self.fill_mode = checked_choice("fill_mode", fill_mode, FILL_MODES)
        self.interpolation_order = checked_choice("interpolation_order", interpolation_order, range(6))
        self.data_format = checked_data_format(data_format)
        self.channel_axis, self.row_axis, self.col_axis = (
            (3, 1, 2) if self.data_format == "channels_last" else (1, 2, 3)
        )
        self.dtype = np.dtype(dtype or config.floatx()).name
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f'dtype must be "float32" or "float64"; received {dtype!r}.')
        if validation_split and not 0 < validation_split < 1:
            raise ValueError(f"validation_split must be between 0 and 1; received {validation_split!r}.")
        if preprocessing_function is not None and not callable(preprocessing_function):
            raise ValueError(f"preprocessing_function must be callable; received {preprocessing_function!r}.")
        self.validation_split = self._validation_split = validation_split or 0.0
        zoom_range = [1 - zoom_range, 1 + zoom_range] if np.ndim(zoom_range) == 0 else zoom_range
        self.zoom_range = _pair("zoom_range", zoom_range)
        self.brightness_range = None if brightness_range is None else _pair("brightness_range", brightness_range)
        self.rotation_range, self.shear_range = rotation_range, shear_range
        self.width_shift_range, self.height_shift_range = width_shift_range, height_shift_range
        self.channel_shift_range, self.cval = channel_shift_range, cval
        self.horizontal_flip, self.vertical_flip = horizontal_flip, vertical_flip
        self.rescale, self.preprocessing_function = rescale, preprocessing_function
        self.zca_whitening, self.zca_epsilon = zca_whitening, zca_epsilon
        self.featurewise_center = _implied(
            featurewise_center, zca_whitening, "zca_whitening", "featurewise_center=True"
        )
        self.featurewise_std_normalization = featurewise_std_normalization
        if zca_whitening and featurewise_std_normalization:
            warnings.warn("zca_whitening switches featurewise_std_normalization off.", stacklevel=2)
            self.featurewise_std_normalization = False
        self.featurewise_center = _implied(
            self.featurewise_center,
            featurewise_std_normalization,
            "featurewise_std_normalization",
            "featurewise_center=True",
        )
        self.samplewise_std_normalization = samplewise_std_normalization
        self.samplewise_center = _implied(
            samplewise_center,
            samplewise_std_normalization,
            "samplewise_std_normalization",
            "samplewise_center=True",
        )
        self.mean: np.ndarray | None = None
        self.std: np.ndarray | None = None
        self.zca_whitening_matrix: np.ndarray | None = None

    def __init_subclass__(cls) -> None:
        """Raises TypeError for a subclass whose methods the data sets would pass over: they call `augmented`."""
        steps = {"get_random_transform", "apply_transform", "standardize"} & cls.__dict__.keys()
        if steps and "augmented" not in cls.__dict__:
            raise TypeError(
                f"{cls.__name__} overrides {', '.join(sorted(steps))}, which data sets do not call: they treat whole "
                "batches with augmented(). Override that as well, or pass a preprocessing_function."
            )

    # Random transformations.

    def get_random_transform(self, img_shape: tuple[int, ...], seed: int | None = None) -> dict[str, Any]:
        """Parameters drawn for an image of this shape, which are those of `apply_transform`.

        seed: of the numbers; by default they are drawn from the generator that `set_random_seed` seeds.
        """
        numbers = draws.numbers(random.new_seed() if seed is None else checked_seed(seed), 0, 0, 1)
        drawn = draws.parameters(self, numbers, *self._size(img_shape))
        nothing: dict[str, Any] = {**GEOMETRY, **dict.fromkeys(FLIPS, False)}
        nothing.update(channel_shift_intensity=None, brightness=None)
        return {name: drawn[name][0].item() if name in drawn else value for name, value in nothing.items()}

    def apply_transform(self, x: np.ndarray, transform_parameters: Parameters) -> np.ndarray:
        """An image after a transformation.

        Args:
            x: 3 axes, in `data_format`.
            transform_parameters: any of "theta" (degrees), "tx", "ty" (pixels along a row and along a column), "shear"
                (degrees), "zx", "zy" (the same directions), "flip_horizontal", "flip_vertical",
                "channel_shift_intensity" and "brightness".

        Returns:
            An array of x's shape, float32 or as x float64.
        """
        self._size(np.shape(x))
        x = np.asarray(x)
        return self._transformed(x.astype(np.result_type(x.dtype, np.float32))[None], [0], transform_parameters)[0]

    def random_transform(self, x: np.ndarray, seed: int | None = None) -> np.ndarray:
        """An image, 3 axes, after a transformation drawn for it; arguments as for the two methods that it calls."""
        return self.apply_transform(x, self.get_random_transform(np.shape(x), seed))

    def augmented(self, images: np.ndarray, which: Any, numbers: np.ndarray) -> np.ndarray:
        """Images `which`, (N,), of a batch in `data_format`, transformed by what `numbers` give, and normalised.

        numbers: (N, draws.NUMBERS), each uniform in [0, 1).
        """
        parameters = draws.parameters(self, numbers, *self._size(images.shape[1:]))
        batch = self._transformed(images, which, parameters)
        if self.preprocessing_function is not None:
            for n, image in enumerate(batch):
                batch[n] = self.preprocessing_function(image)
        return self._normalized(batch, axes=(1, 2, 3))

    def _size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        if len(shape) != 3:
            raise ValueError(f"an image must have 3 axes; received shape {tuple(shape)}.")
        return shape[self.row_axis - 1], shape[self.col_axis - 1]

    def _transformed(self, images: np.ndarray, which: Any, parameters: Parameters) -> np.ndarray:
        """In `data_format` like `images`; C-contiguous, new memory."""
        out = transformed(
            to_last(images, self.data_format), np.asarray(which), parameters, self.fill_mode, self.cval,
            self.interpolation_order,
        )  # fmt: skip
        return np.ascontiguousarray(from_last(out, self.data_format))

    # Normalisation.

    def standardize(self, x: np.ndarray) -> np.ndarray:
        """Apply `preprocessing_function`, `rescale` and the normalisation to `x`, in place where its dtype is a
        float's.

        x: an image or a batch. As in Keras, "samplewise" means all of it.
        """
        if self.preprocessing_function is not None:
            x = self.preprocessing_function(x)
        x = np.asarray(x)
        return self._normalized(x if x.dtype.kind == "f" else x.astype(self.dtype), axes=None)

    def _normalized(self, x: np.ndarray, axes: tuple[int, ...] | None) -> np.ndarray:
        """axes: what the mean of a sample is taken over."""
        if self.rescale:
            x *= self.rescale
        if self.samplewise_center:
            x -= np.mean(x, axes, keepdims=True)
        if self.samplewise_std_normalization:
            x /= np.std(x, axes, keepdims=True) + _EPSILON
        if self.featurewise_center and (mean := self._statistic("mean")) is not None:
            x -= mean
        if self.featurewise_std_normalization and (std := self._statistic("std")) is not None:
            x /= std + _EPSILON
        if self.zca_whitening and (matrix := self._statistic("zca_whitening_matrix")) is not None:
            x = (x.reshape(-1, math.prod(x.shape[-3:])) @ matrix).reshape(x.shape)
        return x

    def _statistic(self, name: str) -> np.ndarray | None:
        """What `fit` computed, or None with a warning."""
        value: np.ndarray | None = getattr(self, name)
        if value is None:
            warnings.warn(f"{name} is not known: call fit(data) of the ImageDataGenerator first.", stacklevel=2)
        return value

    def fit(self, x: Any, augment: bool = False, rounds: int = 1, seed: int | None = None) -> None:
        """Compute what the featurewise normalisation and the whitening need.

        Args:
            x: sample data, (N, H, W, C) or in "channels_first" (N, C, H, W).
            augment: compute it on transformed images, `rounds` of each.
            seed: of these.

        Raises:
            ValueError: another shape.
        """
        x = np.array(x, self.dtype)
        if x.ndim != 4:
            raise ValueError(f"x must be images of 4 axes; received shape {x.shape}.")
        if self.rescale:
            x *= self.rescale
        if augment:
            numbers = draws.numbers(random.new_seed() if seed is None else checked_seed(seed), 0, 0, rounds * len(x))
            which = np.tile(np.arange(len(x)), rounds)
            x = self._transformed(x, which, draws.parameters(self, numbers, *self._size(x.shape[1:])))
        axes = (0, self.row_axis, self.col_axis)
        if self.featurewise_center:
            self.mean = np.mean(x, axes, keepdims=True)[0]
            x -= self.mean
        if self.featurewise_std_normalization:
            self.std = np.std(x, axes, keepdims=True)[0]
            x /= self.std + _EPSILON
        if self.zca_whitening:
            u, s, _ = np.linalg.svd(x.reshape(len(x), -1).T, full_matrices=False)
            self.zca_whitening_matrix = (u * (np.sqrt(len(x)) / (s + self.zca_epsilon))) @ u.T


def _pair(argument: str, value: Any) -> list[float]:
    if not isinstance(value, (tuple, list)) or len(value) != 2 or not all(np.isreal(v) for v in value):
        raise ValueError(f"{argument} must be two numbers; received {value!r}.")
    return list(value)


def _implied(given: bool, by: Any, name: str, what: str) -> bool:
    """`given`, or True with a warning where the setting `name`, which is `by`, needs it."""
    if by and not given:
        warnings.warn(f"{name} implies {what}.", stacklevel=3)
    return bool(given or by)
