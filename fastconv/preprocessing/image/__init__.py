"""Images from files and arrays, and their augmentation, under the names of `keras.preprocessing.image`."""

from fastconv.preprocessing.image.arrays import NumpyArrayIterator
from fastconv.preprocessing.image.dataframe import DataFrameIterator
from fastconv.preprocessing.image.directory import DirectoryIterator
from fastconv.preprocessing.image.generator import ImageDataGenerator
from fastconv.preprocessing.image.iterator import Iterator
from fastconv.preprocessing.image.single import (
    apply_affine_transform,
    apply_brightness_shift,
    apply_channel_shift,
    random_brightness,
    random_channel_shift,
    random_rotation,
    random_shear,
    random_shift,
    random_zoom,
)
from fastconv.utils.images import array_to_img, img_to_array, load_img, save_img
from fastconv.utils.resampling import smart_resize

__all__ = [
    "DataFrameIterator",
    "DirectoryIterator",
    "ImageDataGenerator",
    "Iterator",
    "NumpyArrayIterator",
    "apply_affine_transform",
    "apply_brightness_shift",
    "apply_channel_shift",
    "array_to_img",
    "img_to_array",
    "load_img",
    "random_brightness",
    "random_channel_shift",
    "random_rotation",
    "random_shear",
    "random_shift",
    "random_zoom",
    "save_img",
    "smart_resize",
]
