"""MNIST: 70,000 handwritten digits, 28 x 28, grey. Yann LeCun, Corinna Cortes, Christopher J. C. Burges."""

from __future__ import annotations

import os

from fastconv.datasets.files import Arrays
from fastconv.datasets.source import Source

SOURCE = Source(
    name="mnist",
    keras_cache="mnist.npz",
    mirrors=(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://raw.githubusercontent.com/fgnt/mnist/master/",
    ),
    sha256={
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)


def load_data(path: str | os.PathLike[str] | None = None) -> Arrays:
    """((x_train, y_train), (x_test, y_test)): uint8 images (60000, 28, 28) and (10000, 28, 28), uint8 labels.

    `path` is a folder with the four original .gz files or mnist.npz, or an .npz file. Without it the data
    is looked for in $FASTCONV_DATA/mnist, in fastconv's cache and in Keras's, and else downloaded
    (which needs the extra `data`).

    Raises:
        FileNotFoundError: the data is in none of these places and cannot be downloaded.
        ValueError: a file is damaged.
    """
    return SOURCE.load(path)[0]
