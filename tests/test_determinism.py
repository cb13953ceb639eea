"""The same seed gives the same bits: run after run, in other processes, at any number of threads."""

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastconv import layers, ops
from fastconv.models import Sequential
from fastconv.utils import set_random_seed


def train(seed):
    """A hash of the weights, predictions and history of a small network after three epochs."""
    set_random_seed(seed)
    x = np.random.default_rng(0).random((70, 11, 10, 2)).astype("float32")
    y = np.random.default_rng(1).integers(0, 3, 70)
    model = Sequential(
        [
            layers.Conv2D(17, 3, activation="relu", padding="same", input_shape=(11, 10, 2)),
            layers.Conv2D(18, 3, activation="relu", padding="same"),
            layers.MaxPooling2D((2, 3), strides=2),
            layers.Conv2D(6, (2, 3), strides=(1, 2), activation="tanh"),
            layers.AveragePooling2D(2, padding="same"),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(19, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, batch_size=16, epochs=3, validation_split=0.2, verbose=0)
    digest = hashlib.sha256()
    for array in (*model.get_weights(), model.predict(x, verbose=0)):
        digest.update(array.tobytes())
    digest.update(repr(sorted(history.history.items())).encode())
    return digest.hexdigest()


def test_twice_in_one_process():
    first = train(3)
    assert train(3) == first
    assert train(4) != first


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_at_any_number_of_threads(threads):
    environment = {**os.environ, "NUMBA_NUM_THREADS": str(threads)}
    shown = subprocess.run(
        [sys.executable, "-W", "error", Path(__file__)], env=environment, capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip() == train(5)


if __name__ == "__main__":
    print(train(5))


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="only x86's modes are set")
@pytest.mark.parametrize("images", [1, 64])  # on one thread, on all
def test_denormal_numbers_count_as_zero_in_kernels_only(images):
    tiny = np.float32(1e-40)
    x, w = np.full((images, 9, 9, 16), tiny, "float32"), np.ones((3, 3, 16, 16), "float32")
    y = ops.conv(x, w, algorithm="cpu_direct")
    assert not y.any()
    assert tiny * np.float32(1) == tiny > 0
