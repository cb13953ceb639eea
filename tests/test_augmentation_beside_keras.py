"""Layers that prepare images beside Keras's: the same pixels for the same random numbers, arguments and configs."""

import inspect
import json

import numpy as np
import peers
import pytest

from fastconv import layers

pytestmark = [peers.MARK, pytest.mark.filterwarnings("ignore")]

FIRST = {"data_format": "channels_first"}
FIXED = [
    *(("Resizing", {"height": 4, "width": 9, "interpolation": how}) for how in ("nearest", "bilinear", "bicubic")),
    *(
        ("Resizing", {"height": 4, "width": 3, "interpolation": how, "antialias": True})
        for how in ("bilinear", "lanczos3")
    ),
    ("Resizing", {"height": 4, "width": 4, "crop_to_aspect_ratio": True, **FIRST}),
    ("Resizing", {"height": 9, "width": 7, "pad_to_aspect_ratio": True, "fill_value": 3.0}),
    ("Resizing", {"height": 5, "width": 12, "pad_to_aspect_ratio": True, **FIRST}),
    ("CenterCrop", {"height": 4, "width": 3}),
    ("CenterCrop", {"height": 9, "width": 4, **FIRST}),
]
RANDOM = [
    *(("RandomFlip", {"mode": mode}) for mode in ("horizontal", "vertical", "horizontal_and_vertical")),
    ("RandomContrast", {"factor": (0.3, 0.4), "value_range": (-1, 1)}),
    ("RandomContrast", {"factor": 0.4}),
    ("RandomBrightness", {"factor": 0.4, "value_range": (-1.0, 2.0)}),
    *(
        ("RandomRotation", {"factor": (-0.3, 0.2), "fill_mode": mode, "interpolation": how, "fill_value": 0.5})
        for mode in ("reflect", "wrap", "constant", "nearest")
        for how in ("bilinear", "nearest")
    ),
    *(
        ("RandomTranslation", {"height_factor": 0.9, "width_factor": (0.1, 0.9), "fill_mode": mode, **options})
        for mode in ("reflect", "wrap", "constant", "nearest")
        for options in ({}, FIRST)
    ),
    ("RandomZoom", {"height_factor": 0.5}),
    ("RandomZoom", {"height_factor": (0.2, 0.9), "width_factor": 0.4, "fill_mode": "constant", **FIRST}),
    ("RandomCrop", {"height": 3, "width": 4}),
    ("RandomCrop", {"height": 3, "width": 9, **FIRST}),
]


class Given:
    """A generator that has drawn already."""

    def __init__(self, seed):
        self._generator = np.random.default_rng(seed)
        self.drawn = []

    def _keep(self, values):
        self.drawn.append(values)
        return values

    def random(self, count):
        return self._keep(self._generator.random(count))

    def uniform(self, lower, upper, shape):
        return self._keep(self._generator.uniform(lower, upper, shape))

    def integers(self, lower, upper):
        return self._keep(self._generator.integers(lower, upper))


def transformation(theirs, name, drawn, shape):
    """What Keras's layer would have made of these numbers."""
    height, width = shape[1:3]

    def column(values):
        return np.asarray(values, "float32").reshape(-1, 1)

    if name == "RandomFlip":
        return {"flips": (drawn[0] <= 0.5).reshape(-1, 1, 1, 1), "input_shape": shape}
    if name == "RandomContrast":
        return {"contrast_factor": drawn[0].astype("float32")}
    if name == "RandomBrightness":
        span = theirs.value_range[1] - theirs.value_range[0]
        return {"rgb_delta": (drawn[0] * span).astype("float32")}
    if name == "RandomRotation":
        zero, one = np.zeros(len(drawn[0]), "float32"), np.ones(len(drawn[0]), "float32")
        angles = theirs.backend.convert_to_tensor((drawn[0] * 360).astype("float32"))
        matrix = theirs._compute_affine_matrix(0.5, 0.5, angles, zero, zero, one, zero, zero, height, width)
        return {"rotation_matrix": matrix}
    if name == "RandomTranslation":
        moves = np.concatenate([column(drawn[1]) * width, column(drawn[0]) * height], axis=1)
        return {"translations": moves, "input_shape": shape}
    if name == "RandomZoom":
        return {
            "height_zoom": 1 + column(drawn[0]),
            "width_zoom": 1 + column(drawn[-1]),
            "input_shape": shape,
        }
    return tuple(drawn[0]) if drawn else None


@pytest.fixture(scope="module")
def keras():
    return peers.keras()


def images_for(arguments, shape=(3, 7, 6, 2)):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    return x.transpose(0, 3, 1, 2).copy() if arguments.get("data_format") else x


@pytest.mark.parametrize(("name", "arguments"), FIXED, ids=str)
def test_sizes(keras, name, arguments):
    theirs, ours = (getattr(module, name)(**arguments) for module in (keras.layers, layers))
    x = images_for(arguments)
    expected = np.asarray(theirs(x))
    np.testing.assert_allclose(ours(x), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours(x[0]), theirs(x[0]), rtol=1e-5, atol=1e-5)
    assert ours.compute_output_shape(x.shape) == tuple(theirs.compute_output_shape(x.shape)) == expected.shape


@pytest.mark.parametrize(("name", "arguments"), RANDOM, ids=str)
def test_pixels(keras, name, arguments):
    theirs, ours = (getattr(module, name)(**arguments) for module in (keras.layers, layers))
    x = images_for(arguments)
    given = Given(4)
    ours.next_generator = lambda: given
    y = ours(x, training=True)
    shape = x.transpose(0, 2, 3, 1).shape if arguments.get("data_format") else x.shape
    how = transformation(theirs, name, given.drawn, shape)
    if name == "RandomCrop" and how is None:
        how = theirs.get_random_transformation(x, training=True)  # nothing random: the image is too small
    if "input_shape" in (how or ()):
        how["input_shape"] = x.shape
    expected = np.asarray(theirs.transform_images(x, how, training=True))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    assert y.shape == tuple(theirs.compute_output_shape(x.shape))


@pytest.mark.parametrize(("name", "arguments"), [*FIXED, *RANDOM], ids=str)
def test_configs(keras, name, arguments):
    arguments = {**arguments, "name": "one", **({"seed": 3} if name.startswith("Random") else {})}
    theirs, ours = (getattr(module, name)(**arguments) for module in (keras.layers, layers))
    config = json.loads(json.dumps(theirs.get_config()))
    assert json.loads(json.dumps(ours.get_config())) == config
    assert json.loads(json.dumps(getattr(layers, name).from_config(config).get_config())) == config


@pytest.mark.parametrize("name", sorted({name for name, _ in [*FIXED, *RANDOM]}))
def test_arguments(keras, name):
    def named(cls):
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]

    assert named(getattr(layers, name)) == named(getattr(keras.layers, name))
