"""The programs that fastconv is for, as they were written for Keras, with only the imports changed.

They run on the embedded digits, which stand where the programs look for MNIST and Fashion-MNIST; the two
numbers of images that a program spells out are changed with them.
"""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from fastconv.datasets import mnist_5k
from fastconv.utils import set_random_seed

SEED_001 = """
from tensorflow import keras
keras.layers.Conv2D(10, kernel_size=(3, 3), activation= 'relu')
keras.layers.Conv2D(filters= 10, kernel_size=(3, 3), activation= 'relu')
keras.layers.Conv2D(10, kernel_size=(3, 3),
                    activation= 'relu',
                    padding= 'same')
"""

SEED_003 = """
import keras
keras.__version__

from keras import layers
from keras import models

model = models.Sequential()
model.add(layers.Conv2D(32, (3, 3), activation='relu', input_shape=(28, 28, 1)))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Conv2D(64, (3, 3), activation='relu'))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Conv2D(64, (3, 3), activation='relu'))

model.summary()

model.add(layers.Flatten())
model.add(layers.Dense(64, activation='relu'))
model.add(layers.Dense(10, activation='softmax'))

model.summary()

from keras.datasets import mnist
from keras.utils import to_categorical

(train_images, train_labels), (test_images, test_labels) = mnist.load_data()

train_images = train_images.reshape((60000, 28, 28, 1))
train_images = train_images.astype('float32') / 255

test_images = test_images.reshape((10000, 28, 28, 1))
test_images = test_images.astype('float32') / 255

train_labels = to_categorical(train_labels)
test_labels = to_categorical(test_labels)

model.compile(optimizer='rmsprop',
              loss='categorical_crossentropy',
              metrics=['accuracy'])
model.fit(train_images, train_labels, epochs=5, batch_size=64)

test_loss, test_acc = model.evaluate(test_images, test_labels)

test_acc
"""

SEED_004 = """
from  tensorflow import keras
keras.layers.Conv2D(10, kernel_size=(3,3), activation='relu')
keras.layers.Conv2D(10, kernel_size=(3,3), activation='relu', padding='same')
keras.layers.Conv2D(10, kernel_size=(3,3), activation='relu', padding='same', strides=1)
keras.layers.MaxPooling2D(2)

from tensorflow import keras
from sklearn.model_selection import train_test_split
(train_input, train_target), (test_input, test_target) =\\
    keras.datasets.fashion_mnist.load_data()
train_scaled = train_input.reshape(-1, 28, 28, 1) / 255.0
train_scaled, val_scaled, train_target, val_target = train_test_split(train_scaled, train_target, test_size=0.2, random_state=42)

model = keras.Sequential()
model.add(keras.layers.Conv2D(32, kernel_size=3, activation='relu', padding='same', input_shape=(28, 28, 1)))
model.add(keras.layers.MaxPooling2D(2))
model.add(keras.layers.Conv2D(64, kernel_size=3, activation='relu', padding='same'))
model.add(keras.layers.MaxPooling2D(2))
model.add(keras.layers.Flatten())
model.add(keras.layers.Dense(100, activation='relu'))
model.add(keras.layers.Dropout(0.4))
model.add(keras.layers.Dense(10, activation='softmax'))

model.summary()
"""  # noqa: E501  the seed's own line

# Seed 004 ends with the summary; this is how such a network is trained.
SEED_004_TRAINING = """
model.compile(optimizer='adam', loss='sparse_categorical_crossentropy', metrics=['accuracy'])
history = model.fit(train_scaled, train_target, epochs=2, validation_data=(val_scaled, val_target))
test_loss, test_acc = model.evaluate(test_input.reshape(-1, 28, 28, 1) / 255.0, test_target)
"""

IMPORTS = (
    (r"^from +tensorflow import keras$", "import fastconv as keras"),
    (r"^import keras$", "import fastconv as keras"),
    (r"^from keras(\.\w+)? import", r"from fastconv\1 import"),
)


def run(program):
    """Run a program for Keras with its imports changed and give its variables."""
    for keras, ours in IMPORTS:
        program = re.sub(keras, ours, program, flags=re.MULTILINE)
    assert not re.search(r"^(import|from) +(keras|tensorflow)", program, flags=re.MULTILINE)
    variables = {}
    set_random_seed(1)
    exec(compile(program, "seed", "exec"), variables)
    return variables


@pytest.fixture
def digits_as_data(tmp_path, monkeypatch):
    """The embedded digits where the programs look for their data."""
    (x_train, y_train), (x_test, y_test) = mnist_5k.load_data()
    for name in ("mnist", "fashion_mnist"):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / f"{name}.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    monkeypatch.setenv("FASTCONV_DATA", str(tmp_path))


@pytest.fixture
def sklearn(monkeypatch):
    """scikit-learn's split, or a stand-in of the same meaning where it is not installed."""
    try:
        import sklearn.model_selection  # noqa: F401
    except ImportError:
        module = types.ModuleType("sklearn.model_selection")
        module.train_test_split = train_test_split
        monkeypatch.setitem(sys.modules, "sklearn", types.ModuleType("sklearn"))
        monkeypatch.setitem(sys.modules, "sklearn.model_selection", module)


def train_test_split(*arrays, test_size, random_state):
    order = np.random.default_rng(random_state).permutation(len(arrays[0]))
    cut = len(order) - round(len(order) * test_size)
    return [array[rows] for array in arrays for rows in (order[:cut], order[cut:])]


def rows_of(table):
    """(type, output shape, parameters) of each layer in a printed summary."""
    found = re.findall(r"\((\w+)\)\W+(\([\w, ]+\))\W+([\d,]+)", table)
    return [(kind, shape, int(count.replace(",", ""))) for kind, shape, count in found]


def test_the_program_in_the_readme(capsys):
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    program = re.search(r"```python\n(import fastconv as keras\n.*?)```", readme, flags=re.DOTALL).group(1)
    assert len(program.split("\n\n")[-1].splitlines()) <= 10
    model = run(program)["model"]
    assert model.count_params() == 320 + 13 * 13 * 32 * 10 + 10
    capsys.readouterr()


def test_seed_001():
    keras = run(SEED_001)["keras"]
    layer = keras.layers.Conv2D(10, kernel_size=(3, 3), activation="relu", padding="same")
    assert layer.compute_output_shape((None, 28, 28, 1)) == (None, 28, 28, 10)


def test_seed_003(digits_as_data, capsys):
    program = SEED_003.replace("60000", "4000").replace("10000", "1000")
    variables = run(program)
    first, second = capsys.readouterr().out.split("Model: ")[1:]
    convolutions = [
        ("Conv2D", "(None, 26, 26, 32)", 320),
        ("MaxPooling2D", "(None, 13, 13, 32)", 0),
        ("Conv2D", "(None, 11, 11, 64)", 18496),
        ("MaxPooling2D", "(None, 5, 5, 64)", 0),
        ("Conv2D", "(None, 3, 3, 64)", 36928),
    ]
    dense = [("Flatten", "(None, 576)", 0), ("Dense", "(None, 64)", 36928), ("Dense", "(None, 10)", 650)]
    assert rows_of(first) == convolutions
    assert "55,744" in first
    assert rows_of(second) == convolutions + dense
    assert "93,322" in second
    assert variables["model"].count_params() == 93322
    assert variables["test_acc"] > 0.93


def test_seed_004(digits_as_data, sklearn, capsys):
    variables = run(SEED_004 + SEED_004_TRAINING)
    assert rows_of(capsys.readouterr().out) == [
        ("Conv2D", "(None, 28, 28, 32)", 320),
        ("MaxPooling2D", "(None, 14, 14, 32)", 0),
        ("Conv2D", "(None, 14, 14, 64)", 18496),
        ("MaxPooling2D", "(None, 7, 7, 64)", 0),
        ("Flatten", "(None, 3136)", 0),
        ("Dense", "(None, 100)", 313700),
        ("Dropout", "(None, 100)", 0),
        ("Dense", "(None, 10)", 1010),
    ]
    assert variables["model"].count_params() == 333526
    assert sorted(variables["history"].history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert variables["test_acc"] > 0.9
