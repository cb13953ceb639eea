"""Well-known networks: sizes, arguments, and beside those of Keras."""

from __future__ import annotations

import json

import numpy as np
import peers
import pytest

import fastconv as keras
from fastconv import applications
from fastconv.applications import imagenet_utils
from fastconv.layers import Input, Rescaling
from fastconv.layers.budget import shapes_only

# Parameters with and without the top, layers with the top: those of Keras 3.15.1; of AlexNet those of its paper.
SIZES = {
    "VGG16": (138_357_544, 14_714_688, 23),
    "VGG19": (143_667_240, 20_024_384, 26),
    "ResNet50": (25_636_712, 23_587_712, 177),
    "ResNet101": (44_707_176, 42_658_176, 347),
    "ResNet152": (60_419_944, 58_370_944, 517),
    "MobileNetV2": (3_538_984, 2_257_984, 156),
    "EfficientNetB0": (5_330_571, 4_049_571, 240),
    "AlexNet": (60_965_224, 2_334_080, 15),
}


@pytest.fixture(autouse=True)
def names_begin_anew():
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name):
    make = getattr(applications, name)
    with shapes_only():
        whole = make(weights=None)
        base = make(weights=None, include_top=False, pooling="avg")
    assert (whole.count_params(), base.count_params(), len(whole.layers)) == SIZES[name]
    size = 227 if name == "AlexNet" else 224
    assert whole.input_shape == (None, size, size, 3) and whole.output_shape == (None, 1000)
    assert base.input_shape == (None, None, None, 3) and len(base.output_shape) == 2


def test_keras_names():
    from fastconv.applications.resnet50 import ResNet50
    from fastconv.applications.vgg16 import VGG16, decode_predictions, preprocess_input

    assert keras.applications.VGG16 is VGG16 and keras.applications.ResNet50 is ResNet50
    assert callable(decode_predictions) and callable(preprocess_input)
    with shapes_only():
        model = VGG16(weights=None)
    assert [layer.name for layer in model.layers[-6:]] == [
        "block5_conv2",
        "block5_conv3",
        "block5_pool",
        "flatten",
        "fc1",
        "fc2",
        "predictions",
    ][1:]


def test_an_input_tensor():
    image = Input((32, 32, 3), name="image")
    with shapes_only():
        model = applications.VGG16(weights=None, include_top=False, input_tensor=Rescaling(1 / 255)(image))
    assert model.input is image and [layer.name for layer in model.layers[:3]] == ["image", "rescaling", "block1_conv1"]


def test_weights_from_a_file(tmp_path, monkeypatch):
    make = {"alpha": 0.35, "input_shape": (32, 32, 3), "classes": 2}
    model = applications.MobileNetV2(weights=None, **make)
    path = tmp_path / "some.weights.h5"
    model.save_weights(path)
    other = applications.MobileNetV2(weights=str(path), **make)
    for mine, its in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with (
        shapes_only(),
        pytest.raises(ValueError, match=r"needs the file .*vgg16_weights_tf.*_notop.h5, which is not there"),
    ):
        applications.VGG16(include_top=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "no/such/file"}, "a file that exists; received 'no/such/file'"),
        ({"classes": 10}, 'weights="imagenet" has 1000 classes'),
        ({"input_shape": (64, 64, 3)}, "needs 224 x 224 x 3"),
        ({"input_shape": (64, 64, 1), "include_top": False}, "needs images of 3 channels"),
        ({"weights": None, "input_shape": (16, 64, 3)}, "must be at least 32 x 32"),
        ({"weights": None, "input_shape": (64, 3)}, "must be three sizes"),
        ({"weights": None, "input_shape": (None, 64, 3)}, "without None"),
        ({"weights": None, "pooling": "mean"}, 'pooling must be None, "avg" or "max"'),
        ({"weights": None, "input_tensor": np.ones((1, 32, 32, 3))}, "input_tensor must be a tensor"),
        ({"classifier_activation": "relu"}, 'the classifier_activation "softmax" or None'),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        applications.VGG16(**arguments)


def test_preprocess_input():
    """The numbers are those of Keras 3.15.1's numpy functions, worked out by hand from its constants."""
    pixel = np.array([[[[255, 0, 51]]]], np.uint8)
    for mode, expected in (
        ("caffe", [51 - 103.939, 0 - 116.779, 255 - 123.68]),
        ("tf", [1.0, -1.0, 51 / 127.5 - 1]),
        ("torch", [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]),
    ):
        got = imagenet_utils.preprocess_input(pixel, mode=mode)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got.ravel(), expected, rtol=1e-5)
        first = imagenet_utils.preprocess_input(pixel.transpose(0, 3, 1, 2), "channels_first", mode)
        np.testing.assert_array_equal(first, got.transpose(0, 3, 1, 2))
    given = np.ones((2, 2, 3))
    imagenet_utils.preprocess_input(given)
    assert (given == 1).all()
    with pytest.raises(ValueError, match="with 3 channels"):
        imagenet_utils.preprocess_input(np.ones((2, 2, 1)))
    with pytest.raises(ValueError, match="mode must be"):
        imagenet_utils.preprocess_input(given, mode="bgr")


def test_decode_predictions(tmp_path, monkeypatch):
    names = {str(i): [f"n{i:08}", f"class {i}"] for i in range(1000)}
    path = tmp_path / "index.json"
    path.write_text(json.dumps(names))
    scores = np.zeros((2, 1000), np.float32)
    scores[0, [7, 3]], scores[1, 999] = (0.6, 0.4), 1
    first, second = imagenet_utils.decode_predictions(scores, top=2, class_index=path)
    assert first == [("n00000007", "class 7", np.float32(0.6)), ("n00000003", "class 3", np.float32(0.4))]
    assert second[0][1] == "class 999" and len(second) == 2
    with pytest.raises(ValueError, match=r"shape \(samples, 1000\)"):
        imagenet_utils.decode_predictions(np.zeros((1, 10)), class_index=path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"imagenet_class_index.json, which is not there"):
        imagenet_utils.decode_predictions(scores)


def described(model):
    """The layers of a model as one may compare them: name, class, what it is connected to, arguments."""
    layers = []
    for layer in json.loads(model.to_json())["config"]["layers"]:
        left_out = ("dtype", "optional", "seed")
        config = {key: value for key, value in layer["config"].items() if key not in left_out and value is not None}
        for key, value in config.items():
            if isinstance(value, dict) and "class_name" in value:
                kept = {name: inner for name, inner in value["config"].items() if not name.endswith(("seed", "axes"))}
                config[key] = value["class_name"], kept
            elif isinstance(value, float):
                config[key] = round(value, 12)
        calls = [node["args"] for node in layer["inbound_nodes"]]
        found = json.dumps(calls)
        taken = [part.split("]")[0] for part in found.split('"keras_history": [')[1:]]
        layers.append((layer["name"], layer["class_name"], taken, config))
    return layers


@peers.MARK
@pytest.mark.parametrize(
    ("name", "top"),
    [("VGG16", True), ("VGG19", False), ("ResNet50", True), ("ResNet101", False)]
    + [(name, top) for name in ("MobileNetV2", "EfficientNetB0") for top in (True, False)],
)
def test_architectures_are_those_of_keras(name, top):
    theirs = peers.keras()
    theirs.utils.clear_session()
    arguments = {"weights": None, "include_top": top, "input_shape": (64, 64, 3), "classes": 5}
    its = getattr(theirs.applications, name)(**arguments)
    with shapes_only():
        mine = getattr(applications, name)(**arguments)
    assert mine.name == its.name
    for ours, other in zip(described(mine), described(its), strict=True):
        assert ours == other
    assert [w.shape for w in mine.weights] == [tuple(w.shape) for w in its.weights]


@peers.MARK
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of Keras, by NumPy
@pytest.mark.parametrize("name", ["VGG16", "ResNet50", "MobileNetV2", "EfficientNetB0"])
def test_outputs_are_those_of_keras(name):
    theirs = peers.keras()
    arguments = {"weights": None, "include_top": False, "input_shape": (64, 64, 3), "pooling": "avg"}
    its = getattr(theirs.applications, name)(**arguments)
    mine = getattr(applications, name)(**arguments)
    rng = np.random.default_rng(7)
    for weight in its.weights:
        if "variance" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif any(part in weight.path for part in ("mean", "beta", "bias")):
            weight.assign(rng.uniform(-0.2, 0.2, weight.shape))
    mine.set_weights([np.asarray(weight) for weight in its.weights])
    x = rng.uniform(0, 255 if name.startswith("Eff") else 1, (2, 64, 64, 3)).astype("float32")
    expected = its.predict(x, verbose=0)
    np.testing.assert_allclose(mine.predict(x, verbose=0), expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())
    if name == "MobileNetV2":  # and a step of training
        x = rng.uniform(0, 1, (8, 64, 64, 3)).astype("float32")
        y = rng.standard_normal((8, expected.shape[1])).astype("float32")
        for model, library in ((mine, keras), (its, theirs)):
            model.compile(library.optimizers.SGD(0.1), "mse")
            model.train_on_batch(x, y)
        # By the norm: where a channel hardly varies in the batch, its normalization multiplies rounding errors.
        for ours, other in zip(mine.weights, its.weights, strict=True):
            error = np.linalg.norm(ours.numpy() - np.asarray(other))
            assert error <= 1e-2 * np.linalg.norm(np.asarray(other)) + 1e-6, ours.path


@peers.MARK
def test_preprocessing_is_that_of_keras():
    theirs = peers.keras()
    x = np.random.default_rng(1).uniform(0, 255, (2, 5, 4, 3)).astype("float32")
    for mode in ("caffe", "tf", "torch"):
        expected = theirs.applications.imagenet_utils.preprocess_input(x.copy(), mode=mode)
        np.testing.assert_allclose(imagenet_utils.preprocess_input(x, mode=mode), expected, rtol=1e-5, atol=1e-5)
