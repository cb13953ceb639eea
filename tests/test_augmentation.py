"""Layers that prepare images: what they do to pixels, how they draw, and their gradients."""

import numpy as np
import pytest

import fastconv as keras
from fastconv import layers
from fastconv.buffers import ReusedBuffers
from fastconv.kernels import cpu_affine
from fastconv.layers.warping import rotation_maps, translation_maps, zoom_maps
from fastconv.testing import check_layer

FIRST = {"data_format": "channels_first"}
RANDOM = {
    "flip": lambda **options: layers.RandomFlip(**options),
    "flip-horizontal": lambda **options: layers.RandomFlip("horizontal", **options),
    "contrast": lambda **options: layers.RandomContrast((0.5, 0.5), value_range=(-10, 10), **options),
    "brightness": lambda **options: layers.RandomBrightness(0.1, value_range=(-10, 10), **options),
    "crop": lambda **options: layers.RandomCrop(4, 3, **options),
    "crop-larger": lambda **options: layers.RandomCrop(8, 3, **options),
    "rotation": lambda **options: layers.RandomRotation(0.2, **options),
    "rotation-constant": lambda **options: layers.RandomRotation(0.2, "constant", **options),
    "translation": lambda **options: layers.RandomTranslation(0.3, (0.1, 0.4), "wrap", "nearest", **options),
    "zoom": lambda **options: layers.RandomZoom(0.4, fill_mode="nearest", **options),
    "zoom-apart": lambda **options: layers.RandomZoom((-0.5, -0.3), 0.3, **options),
}


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize("case", RANDOM)
def test_random_layers(case, rng):
    """What a seed, a layout, inference and reused buffers mean; and the gradient."""
    x = rng.standard_normal((6, 5, 6, 2)).astype("float32")
    layer, twin, first = (RANDOM[case](seed=3, **options) for options in ({}, {}, FIRST))
    check_layer(layer, x.shape)
    y = layer(x)
    np.testing.assert_array_equal(twin(x, training=True), y)
    np.testing.assert_array_equal(first(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1), y)
    assert any(not np.array_equal(twin(x), y) for _ in range(5)) or case == "crop-larger"
    assert layers.deserialize(layers.serialize(layer)).get_config() == layer.get_config()
    if not case.startswith("crop"):
        np.testing.assert_array_equal(layer(x, training=False), x)

    buffers, outputs = ReusedBuffers(), []
    for _ in range(2):
        layer._calls = 0
        outputs.append(layer.forward(x, True, buffers))
    np.testing.assert_array_equal(outputs[1], y)
    layer._calls = 0
    layer(x)
    gy = rng.standard_normal(y.shape).astype("float32")
    gx = layer.backward(gy)
    np.testing.assert_array_equal(layer.backward(gy.copy(), buffers), gx)
    # Where nothing is clipped each layer is affine in x, for given random numbers: <A d, gy> = <d, A^T gy>.
    d = rng.standard_normal(x.shape).astype("float32")
    layer._calls = 0
    moved = layer(x + d)
    assert np.vdot((moved - y).astype("float64"), gy) == pytest.approx(np.vdot(d.astype("float64"), gx), abs=2e-3)


def warped(x, maps, smooth=True, fill_mode="constant", fill_value=0.0):
    images = np.array(x, "float32")[np.newaxis, ..., np.newaxis]
    y = np.empty_like(images)
    cpu_affine.affine(images, maps, smooth, fill_mode, fill_value, y)
    return y[0, ..., 0]


def test_warps_by_hand():
    x = np.arange(1.0, 10).reshape(3, 3)
    np.testing.assert_allclose(warped(x, rotation_maps(np.array([np.pi / 2]), 3, 3)), np.rot90(x), atol=1e-5)
    one, none = np.ones(1), np.zeros(1)
    down = translation_maps(one, none)
    for fill_mode, row in (
        ("constant", [7, 7, 7]),
        ("nearest", [1, 2, 3]),
        ("wrap", [7, 8, 9]),
        ("reflect", [1, 2, 3]),
    ):
        expected = [row, *x[:2].tolist()]
        np.testing.assert_array_equal(warped(x, down, fill_mode=fill_mode, fill_value=7), expected)
    # Beyond the first row: mirrored, so that the second row comes before the first.
    np.testing.assert_array_equal(warped(x, 2 * down - translation_maps(none, none), fill_mode="reflect")[0], [4, 5, 6])
    half = translation_maps(none, one / 2)
    np.testing.assert_array_equal(warped(x, half)[0], [0.5, 1.5, 2.5])
    np.testing.assert_array_equal(warped(x, half, smooth=False, fill_mode="wrap")[0], [3, 2, 3])  # halves away from 0
    seen_twice = zoom_maps(2 * one, one, 3, 3)
    np.testing.assert_array_equal(warped(x, seen_twice), [[0, 0, 0], [4, 5, 6], [0, 0, 0]])


def test_flips():
    """The same for both directions, for about half of the images."""
    x = np.arange(12.0).reshape(1, 2, 3, 2).repeat(400, axis=0)
    y = layers.RandomFlip(seed=1)(x)
    flipped = (y == x[:, ::-1, ::-1]).all(axis=(1, 2, 3))
    assert (flipped | (y == x).all(axis=(1, 2, 3))).all()
    assert 160 < flipped.sum() < 240
    y = layers.RandomFlip("vertical", seed=1)(x)
    assert ((y == x[:, ::-1]).all(axis=(1, 2, 3)) | (y == x).all(axis=(1, 2, 3))).all()


def test_distributions():
    """Every image has numbers of its own, over the whole range."""
    x = np.tile(np.array([0.0, 1.0], "float32").reshape(1, 1, 2, 1), (500, 1, 1, 1))
    spans = np.ptp(layers.RandomContrast((0.25, 0.5), value_range=(-9, 9), seed=2)(x), axis=(1, 2, 3))
    assert (spans.min(), spans.max()) == (pytest.approx(0.75, abs=0.01), pytest.approx(1.5, abs=0.01))
    added = (layers.RandomBrightness(0.2, value_range=(-10, 10), seed=2)(x) - x)[:, 0, 0, 0]
    assert (added.min(), added.max()) == (pytest.approx(-4, abs=0.1), pytest.approx(4, abs=0.1))
    assert layers.RandomContrast(0.5).factor == (0.0, 0.5)  # as Keras reads a number
    assert layers.RandomBrightness(-0.5).factor == (-0.5, 0.5)
    places = {layers.RandomCrop(1, 1, seed=i)(np.arange(6.0).reshape(1, 2, 3, 1)).item() for i in range(60)}
    assert places == set(range(6))


def test_crops_and_sizes():
    x = np.arange(24.0).reshape(1, 4, 6, 1)
    np.testing.assert_array_equal(layers.CenterCrop(2, 3)(x)[0, :, :, 0], [[7, 8, 9], [13, 14, 15]])
    np.testing.assert_array_equal(layers.CenterCrop(2, 3)(x[0]), layers.CenterCrop(2, 3)(x)[0])  # a single image
    nearest = layers.Resizing(2, 3, "nearest")
    np.testing.assert_array_equal(nearest(x)[0, :, :, 0], [[7, 9, 11], [19, 21, 23]])
    np.testing.assert_allclose(
        layers.Resizing(2, 3, antialias=False)(x)[0, :, :, 0], [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]]
    )
    cropped = layers.Resizing(2, 2, crop_to_aspect_ratio=True)(x)  # of the columns 1 to 4
    np.testing.assert_allclose(cropped[0, :, :, 0], [[4.5, 6.5], [16.5, 18.5]])
    padded = layers.Resizing(6, 6, "nearest", pad_to_aspect_ratio=True, fill_value=-1)(x)
    np.testing.assert_array_equal(padded[0, :, :, 0], np.pad(x[0, :, :, 0], ((1, 1), (0, 0)), constant_values=-1))
    assert layers.Resizing(2, 3).compute_output_shape((None, None, None, 3)) == (None, 2, 3, 3)
    assert layers.Resizing(2, 3, **FIRST).compute_output_shape((3, 5, 5)) == (3, 2, 3)
    assert layers.RandomCrop(2, 3)(x, training=False).shape == (1, 2, 3, 1)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Resizing(3, 7),
        layers.Resizing(3, 2, "bicubic", antialias=True, **FIRST),
        layers.Resizing(7, 3, crop_to_aspect_ratio=True),
        layers.Resizing(7, 3, pad_to_aspect_ratio=True, fill_value=2.0),
        layers.CenterCrop(2, 3),
        layers.CenterCrop(7, 3),
    ],
    ids=str,
)
def test_gradients_of_sizes(layer):
    check_layer(layer, (2, 4, 5, 3), samples=20)


def test_in_a_model(rng):
    """Active in fit and in calls by hand."""
    model = keras.Sequential(
        [
            layers.Input((6, 6, 1)),
            layers.RandomRotation(0.5, seed=1),
            layers.RandomBrightness(1.0, value_range=(0, 1), seed=1),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    x, y = rng.random((8, 6, 6, 1)).astype("float32"), np.zeros((8, 1))
    before = model.predict(x, verbose=0)
    np.testing.assert_allclose(before, x.reshape(8, -1) @ model.layers[-1].get_weights()[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(model(x, training=False), before)
    assert not np.allclose(model(x), before, rtol=1e-2)  # as in Keras, a call by hand augments
    assert model.train_on_batch(x, y) != pytest.approx(float(np.mean(before**2)), rel=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.RandomFlip("sideways"), "mode must be"),
        (lambda: layers.RandomRotation(2), "factor must be"),
        (lambda: layers.RandomRotation("x"), "factor must be"),
        (lambda: layers.RandomContrast(-0.1), "factor must be"),
        (lambda: layers.RandomTranslation(0.1, (0.1, 0.2, 0.3)), "width_factor must be"),
        (lambda: layers.RandomZoom(-1), "height_factor must be"),
        (lambda: layers.RandomZoom(0.1, fill_mode="mirror"), "fill_mode must be"),
        (lambda: layers.RandomZoom(0.1, interpolation="bicubic"), "interpolation must be"),
        (lambda: layers.RandomBrightness(0.1, value_range=5), "value_range must be"),
        (lambda: layers.RandomCrop(0, 1), "height must be"),
        (lambda: layers.Resizing(1, 1, "area"), "interpolation must be"),
        (lambda: layers.Resizing(1, 1, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True), "cannot both"),
        (lambda: layers.Resizing(1, 1)(np.zeros((2, 3))), "expects inputs of shape"),
        (lambda: layers.CenterCrop(1, 1, bounding_box_format="xyxy"), "bounding_box_format"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
