"""Circles, rectangles and triangles drawn by hand, read from folders: a program as in many courses on Keras."""

import os
from pathlib import Path

import pytest

from fastconv import layers, models, utils
from fastconv.preprocessing.image import ImageDataGenerator

FOLDER = Path(os.environ.get("FASTCONV_DATA", Path(__file__).parent.parent.parent / "shared" / "data")) / "shapes"
FOLDER = FOLDER / "handwriting_shape"

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"{FOLDER} is not here: set FASTCONV_DATA to the folder with shapes/handwriting_shape"
)


def test_45_drawings_are_enough(capsys):
    """Transformed at random they teach the network to name 14 of 15 others, or all."""
    pytest.importorskip("PIL", reason="Pillow is not installed: pip install 'fastconv[image]'")
    utils.set_random_seed(5)
    generator = ImageDataGenerator(
        rescale=1 / 255,
        rotation_range=15,
        width_shift_range=0.1,
        height_shift_range=0.1,
        zoom_range=0.15,
        horizontal_flip=True,
    )
    train = generator.flow_from_directory(FOLDER / "train", target_size=(24, 24), batch_size=3)
    test = ImageDataGenerator(rescale=1 / 255).flow_from_directory(
        FOLDER / "test", target_size=(24, 24), batch_size=3, shuffle=False
    )
    model = models.Sequential()
    model.add(layers.Conv2D(32, kernel_size=(3, 3), activation="relu", input_shape=(24, 24, 3)))
    model.add(layers.Conv2D(64, (3, 3), activation="relu"))
    model.add(layers.MaxPooling2D(pool_size=(2, 2)))
    model.add(layers.Flatten())
    model.add(layers.Dense(128, activation="relu"))
    model.add(layers.Dense(3, activation="softmax"))
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    model.fit(train, epochs=15, validation_data=test, verbose=0)
    assert model.evaluate(test, verbose=0)[1] >= 0.9
    assert model.predict(test, verbose=0).shape == (15, 3)
    assert test.class_indices == {"circle": 0, "rectangle": 1, "triangle": 2}
    assert "Found 45 images belonging to 3 classes." in capsys.readouterr().out
