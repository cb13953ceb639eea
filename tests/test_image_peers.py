"""Images and their augmentation beside Keras's own code: pixels, normalisation, files, orders."""

import numpy as np
import pytest
from peers import MARK, keras

from fastconv.preprocessing import image as ours
from fastconv.preprocessing import image_dataset_from_directory

# Keras takes SciPy's functions from where they no longer are.
pytestmark = [MARK, pytest.mark.filterwarnings("ignore:Please import `affine_transform`:DeprecationWarning")]

SETTINGS = {
    "theta": 25.0, "tx": 1.3, "ty": -2.6, "shear": 12.0, "zx": 0.8, "zy": 1.3, "flip_horizontal": True,
    "flip_vertical": True, "channel_shift_intensity": 31.0, "brightness": 1.4,
}  # fmt: skip
CASES = [{name: value} for name, value in SETTINGS.items()] + [
    {"theta": -40.0, "tx": 9.0, "ty": 5.5},
    {"shear": 20.0, "zx": 1.7, "zy": 0.6, "flip_horizontal": True},
    {"tx": 0.5, "brightness": 0.4, "channel_shift_intensity": -60.0},
    SETTINGS,
]


@pytest.fixture(scope="module")
def theirs():
    keras()
    pytest.importorskip("scipy", reason="SciPy is not installed: make test-peers does so")
    from keras.src.legacy.preprocessing import image

    return image


def pictures(count=6, size=(9, 9, 3), seed=0):
    return (np.random.default_rng(seed).random((count, *size)) * 255).astype(np.float32)


@pytest.mark.parametrize("parameters", CASES, ids=lambda parameters: "-".join(parameters))
@pytest.mark.parametrize("fill_mode", ["nearest", "constant", "reflect", "wrap"])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_pixels(theirs, parameters, fill_mode, order):
    settings = {"fill_mode": fill_mode, "cval": 17.0, "interpolation_order": order}
    for size in ((9, 9, 3), (7, 12, 1), (6, 5, 4)):
        x = pictures(1, size)[0]
        expected = theirs.ImageDataGenerator(**settings).apply_transform(x.copy(), parameters)
        atol = 1e-4 if "brightness" not in parameters or order == 0 else 1.01  # cut to whole steps: one may be apart
        out = ours.ImageDataGenerator(**settings).apply_transform(x, parameters)
        np.testing.assert_allclose(out, expected, atol=atol)
        assert (np.abs(out - expected) > 1e-4).mean() < 0.01


@pytest.mark.parametrize("values", ["small", "large", "negative"])
def test_brightness_of_other_ranges(theirs, values):
    x = pictures(1)[0] * {"small": 0.3, "large": 2, "negative": 1}[values] - (90 if values == "negative" else 0)
    for scale in (False, True):
        for brightness in (0.0, 0.7, 1.0, 1.6):
            expected = theirs.apply_brightness_shift(x.copy(), brightness, scale)
            np.testing.assert_allclose(ours.apply_brightness_shift(x, brightness, scale), expected, atol=1e-4)


def test_channels_first(theirs):
    x = pictures(1)[0].transpose(2, 0, 1)
    parameters = {name: value for name, value in SETTINGS.items() if name != "brightness"}
    expected = theirs.ImageDataGenerator(data_format="channels_first").apply_transform(x, parameters)
    out = ours.ImageDataGenerator(data_format="channels_first").apply_transform(x, parameters)
    np.testing.assert_allclose(out, expected, atol=1e-4)


RANGES = {
    "rotation_range": 30, "width_shift_range": 0.3, "height_shift_range": [1, 4], "shear_range": 10, "zoom_range": 0.2,
    "horizontal_flip": True, "channel_shift_range": 25, "brightness_range": (0.5, 1.5),
}  # fmt: skip


@pytest.mark.parametrize("shift", [0.3, 3, 2.5, [1, 4], [0.1, 0.2], (-3, 0, 5)])
def test_distributions(theirs, shift):
    """The two draw the same: quantiles of two samples of 3000 are near each other."""
    settings = {**RANGES, "width_shift_range": shift, "height_shift_range": shift}
    mine, other = ours.ImageDataGenerator(**settings), theirs.ImageDataGenerator(**settings)
    np.random.seed(0)  # noqa: NPY002  Keras draws from there
    drawn = [[generator.get_random_transform((10, 30, 1)) for _ in range(3000)] for generator in (mine, other)]
    assert drawn[0][0].keys() == drawn[1][0].keys()
    for name in drawn[0][0]:
        one, two = (np.sort([float(sample[name]) for sample in part]) for part in drawn)
        assert abs(one - two).mean() <= 0.08 * (np.ptp(two) or 1e-9), name


@pytest.mark.parametrize(
    "settings",
    [
        {"featurewise_center": True, "featurewise_std_normalization": True, "rescale": 1 / 255},
        {"samplewise_center": True, "samplewise_std_normalization": True},
        {"zca_whitening": True, "zca_epsilon": 1e-3, "featurewise_center": True},
        {"preprocessing_function": lambda x: x * 2 - 3, "rescale": 0.5},
    ],
)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_normalisation(theirs, settings, data_format):
    x = pictures(30, (5, 4, 3))
    x = x if data_format == "channels_last" else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    mine, other = (m.ImageDataGenerator(data_format=data_format, **settings) for m in (ours, theirs))
    for generator in (mine, other):
        generator.fit(x)
    for name in ("mean", "std"):
        if getattr(other, name) is not None:
            np.testing.assert_allclose(getattr(mine, name), getattr(other, name), rtol=1e-5)
    if other.zca_whitening_matrix is not None:
        np.testing.assert_allclose(mine.zca_whitening_matrix, other.zca_whitening_matrix, atol=1e-5)
    for part in (x[0], x[:4]):
        np.testing.assert_allclose(mine.standardize(part.copy()), other.standardize(part.copy()), atol=1e-4, rtol=1e-5)
    batches = [generator.flow(x, batch_size=30, shuffle=False)[0] for generator in (mine, other)]
    np.testing.assert_allclose(*batches, atol=1e-4, rtol=1e-5)


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("PIL", reason="Pillow is not installed: pip install 'fastconv[image]'")
    from PIL import Image

    for c, name in enumerate("abc"):
        (tmp_path / name / "deeper").mkdir(parents=True)
        for n in range(5):
            x = np.random.default_rng(10 * c + n).integers(0, 256, (12, 15, 4)).astype(np.uint8)
            where = tmp_path / name if n else tmp_path / name / "deeper"
            Image.fromarray(x if n != 2 else x[..., :3]).save(where / f"{n}.png")
    return tmp_path


@pytest.mark.parametrize("class_mode", ["categorical", "binary", "sparse", "input", None])
@pytest.mark.parametrize("subset", ["training", "validation", None])
def test_directories(theirs, folder, class_mode, subset):
    arguments = {"target_size": (8, 9), "shuffle": False, "batch_size": 4, "class_mode": class_mode, "subset": subset}
    flows = [
        module.ImageDataGenerator(validation_split=0.4).flow_from_directory(str(folder), **arguments)
        for module in (ours, theirs)
    ]
    for name in ("filenames", "filepaths", "class_indices", "samples", "n", "image_shape", "num_classes", "batch_size"):
        assert getattr(flows[0], name) == getattr(flows[1], name), name
    assert flows[0].classes.tolist() == flows[1].classes.tolist() and len(flows[0]) == len(flows[1])
    for n in range(len(flows[1])):
        for one, two in zip(
            *(batch if isinstance(batch, tuple) else (batch,) for batch in (f[n] for f in flows)), strict=True
        ):
            assert one.dtype == two.dtype
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
@pytest.mark.parametrize("mode", ["grayscale", "rgb", "rgba"])
def test_loading(theirs, folder, interpolation, mode):
    utils = keras().utils
    for keep in (False, True):
        arguments = mode, (7, 5), interpolation, keep
        one, two = (module.load_img(folder / "a" / "1.png", *arguments) for module in (ours, utils))
        np.testing.assert_array_equal(ours.img_to_array(one), utils.img_to_array(two))


def test_image_datasets(theirs, folder):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: make test-peers does so")
    for arguments in (
        {"shuffle": False},
        {"shuffle": False, "label_mode": "categorical", "crop_to_aspect_ratio": True},
        {"shuffle": False, "class_names": ["c", "a"], "label_mode": "binary", "interpolation": "nearest"},
        {"shuffle": False, "label_mode": None, "pad_to_aspect_ratio": True},
        {"seed": 7, "validation_split": 0.3, "subset": "validation"},
    ):
        settings = {"image_size": (6, 9), "batch_size": 4, "verbose": False, "follow_links": False, **arguments}
        mine = image_dataset_from_directory(folder, **settings)
        other = keras().utils.image_dataset_from_directory(str(folder), **settings)
        assert mine.class_names == other.class_names and sorted(mine.file_paths) == sorted(other.file_paths)
        if not settings.get("shuffle", True):
            assert mine.file_paths == other.file_paths
            for one, two in zip(mine, other, strict=True):
                parts = [batch if isinstance(batch, tuple) else (batch,) for batch in (one, two)]
                for ours_part, theirs_part in zip(*parts, strict=True):
                    # Keras promises float32, too, and gives uint8 for "nearest".
                    assert ours_part.dtype == theirs_part.numpy().dtype or "interpolation" in arguments
                    np.testing.assert_allclose(ours_part, theirs_part.numpy(), atol=1e-3)
