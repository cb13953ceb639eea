"""Five thousand real MNIST digits that come with fastconv; mnist_5k.txt names their origin and licence."""

from __future__ import annotations

from importlib import resources

import numpy as np

from fastconv.datasets.files import Arrays

_TRAIN = 4000


def load_data() -> Arrays:
    """((x_train, y_train), (x_test, y_test)): uint8 images (4000, 28, 28) and (1000, 28, 28), uint8 labels.

    The split is fixed: of the 500 examples of each digit the first 400 are for training and the last 100 are
    held out. The digits follow each other 0, 1, ... 9, 0, 1, ..., so that every run of ten is balanced.
    """
    with resources.files(__package__).joinpath("mnist_5k.npz").open("rb") as stream:
        with np.load(stream, allow_pickle=False) as archive:
            x, y = archive["x"], archive["y"]
    return (x[:_TRAIN], y[:_TRAIN]), (x[_TRAIN:], y[_TRAIN:])
