"""`NumpyArrayIterator`: batches of images that are in memory."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from fastconv import config
from fastconv.preprocessing.image.iterator import Copies, Iterator, subset_range
from fastconv.utils.images import checked_data_format


class NumpyArrayIterator(Iterator):
    """What `ImageDataGenerator.flow` returns; its arguments are described there.

    Gives x, (x, y) or (x, y, sample_weight); x is a list where other arrays go with the images.

    Attributes:
        x, x_misc, y, sample_weight: the arrays of its subset; x in `dtype`.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        image_data_generator: Any,
        batch_size: int = 32,
        shuffle: bool = False,
        sample_weight: Any = None,
        seed: int | None = None,
        data_format: str | None = None,
        save_to_dir: Any = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        ignore_class_split: bool = False,
        dtype: Any = None,
        **workers: int,
    ) -> None:
        self.dtype = dtype or config.floatx()
        self.data_format = checked_data_format(data_format)
        x, others = x if isinstance(x, (tuple, list)) and len(x) == 2 else (x, [])
        others = [np.asarray(other) for other in (others if isinstance(others, list) else [others])]
        x, y, sample_weight = (None if array is None else np.asarray(array) for array in (x, y, sample_weight))
        if x is None or x.ndim != 4 or x.dtype.kind not in "biuf":
            received = "None" if x is None else f"{x.dtype} of shape {x.shape}"
            raise ValueError(f"x must be images, numbers with 4 axes; received {received}.")
        arrays = {"y": y, "sample_weight": sample_weight, **{f"x[1][{i}]": other for i, other in enumerate(others)}}
        for name, array in arrays.items():
            if array is not None and (array.ndim == 0 or len(array) != len(x)):
                raise ValueError(
                    f"{name} must have a row for each of the {len(x)} images; received shape {array.shape}."
                )
        first, end = subset_range(subset, image_data_generator.validation_split, len(x))
        cut = end if subset == "validation" else first
        if subset and y is not None and not ignore_class_split:
            validating, training = (np.unique(part, axis=0) for part in (y[:cut], y[cut:]))
            if not np.array_equal(validating, training):
                raise ValueError(
                    f"the training and the validation subset of y have different classes: {len(training)} and "
                    f"{len(validating)}. Shuffle x and y first, or pass ignore_class_split=True."
                )
        channels = x.shape[3 if self.data_format == "channels_last" else 1]
        if channels not in (1, 3, 4):
            warnings.warn(f"x has {channels} channels ({self.data_format}, {x.shape}), not 1, 3 or 4.", stacklevel=3)
        self.x = np.require(x[first:end], self.dtype, ["C", "A", "W"])
        self.x_misc = [other[first:end] for other in others]
        self.y = None if y is None else y[first:end]
        self.sample_weight = None if sample_weight is None else sample_weight[first:end]
        self.image_data_generator = image_data_generator
        self.save_to_dir, self.save_prefix, self.save_format = save_to_dir, save_prefix, save_format
        self._copies = Copies(save_to_dir, save_prefix, save_format, self.data_format)
        super().__init__(len(self.x), batch_size, shuffle, seed, **workers)

    def _batch(self, which: np.ndarray, numbers: np.ndarray) -> Any:
        images = self.image_data_generator.augmented(self.x, which, numbers)
        self._copies.save(images, which, numbers)
        x = [images, *(other[which] for other in self.x_misc)] if self.x_misc else images
        labels = [array[which] for array in (self.y, self.sample_weight) if array is not None]
        return x if self.y is None else (x, *labels)
