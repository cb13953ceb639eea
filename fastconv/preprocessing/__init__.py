"""Data made ready for a network, under the names of `keras.preprocessing`."""

from fastconv.preprocessing import image
from fastconv.preprocessing.image_dataset import image_dataset_from_directory

__all__ = ["image", "image_dataset_from_directory"]
