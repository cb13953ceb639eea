"""Fashion-MNIST: 70,000 pictures of clothes in ten classes, 28 x 28, grey. Zalando SE, MIT licence."""

from __future__ import annotations

import os

from fastconv.datasets.files import Arrays
from fastconv.datasets.source import Source

SOURCE = Source(
    name="fashion_mnist",
    keras_cache="fashion-mnist",
    mirrors=(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    sha256={
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)


def load_data(path: str | os.PathLike[str] | None = None) -> Arrays:
    """((x_train, y_train), (x_test, y_test)): uint8 images (60000, 28, 28) and (10000, 28, 28), uint8 labels.

    The classes 0 to 9: T-shirt/top, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot.
    `path` is a folder with the four original .gz files or fashion_mnist.npz, or an .npz file. Without it the
    data is looked for in $FASTCONV_DATA/fashion_mnist, in fastconv's cache and in Keras's, and else
    downloaded (which needs the extra `data`).

    Raises:
        FileNotFoundError: the data is in none of these places and cannot be downloaded.
        ValueError: a file is damaged.
    """
    return SOURCE.load(path)[0]
