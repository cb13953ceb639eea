"""Images in files: reading, writing, resizing, and data sets of folders and tables of them."""

import io
import threading
import warnings

import numpy as np
import pytest

import fastconv
from fastconv import layers, utils
from fastconv.preprocessing import image, image_dataset_from_directory
from fastconv.preprocessing.image import ImageDataGenerator
from fastconv.utils.py_dataset import one_pass
from fastconv.utils.resampling import INTERPOLATIONS, resize, resize_and_pad

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: pip install 'fastconv[image]'")

CLASSES = ("circle", "square", "triangle")
COUNTS = (5, 4, 6)


def picture(number, size=(6, 8), channels=3):
    shape = (*size, channels)
    return (np.random.default_rng(number).random(shape) * 256).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Fifteen pictures of 6 x 8, of which (class, number) is written into the first pixel, and what is none."""
    for c, (name, count) in enumerate(zip(CLASSES, COUNTS, strict=True)):
        (tmp_path / name).mkdir()
        for n in range(count):
            pixels = picture(10 * c + n)
            pixels[0, 0] = 10 * c, n, 7
            Image.fromarray(pixels).save(tmp_path / name / f"{n}.{'bmp' if n == 1 else 'png'}")
        (tmp_path / name / "notes.txt").write_text("no picture")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    return tmp_path


def flow(folder, generator=None, **arguments):
    settings = {"target_size": (6, 8), "shuffle": False, "batch_size": 4, **arguments}
    return (generator or ImageDataGenerator()).flow_from_directory(folder, **settings)


def whole(dataset):
    return [np.concatenate(parts) for parts in zip(*one_pass(dataset), strict=True)]


# One file.


def test_load_img(tmp_path):
    pixels = picture(1, channels=4)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    assert utils.load_img(path, "rgba").size == (8, 6)
    np.testing.assert_array_equal(utils.img_to_array(utils.load_img(str(path))), pixels[..., :3])
    np.testing.assert_array_equal(np.asarray(utils.load_img(io.BytesIO(path.read_bytes()), "rgba")), pixels)
    gray = utils.img_to_array(utils.load_img(path, "grayscale"), "channels_first")
    assert gray.shape == (1, 6, 8) and gray.dtype == np.float32
    np.testing.assert_array_equal(np.asarray(utils.load_img(path, target_size=(3, 4))), pixels[1::2, 1::2, :3])


def test_the_proportions_are_kept_by_cutting(tmp_path):
    pixels = picture(2, (4, 10))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    cut = utils.load_img(tmp_path / "a.png", target_size=(2, 2), keep_aspect_ratio=True)
    np.testing.assert_array_equal(np.asarray(cut), pixels[1::2, 4:7:2])


def test_gray_images_of_16_bits_stay_so(tmp_path):
    pixels = np.array([[0, 300], [65535, 7]], np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    loaded = utils.img_to_array(utils.load_img(tmp_path / "a.png", "grayscale"))
    np.testing.assert_array_equal(loaded[..., 0], pixels)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_arrays_go_into_files_and_back(tmp_path, channels, data_format):
    x = picture(3, channels=channels).astype(np.float32)
    x[0, 0], x[0, 1] = 0, 255
    x = x if data_format == "channels_last" else x.transpose(2, 0, 1)
    path = tmp_path / "a.png"
    utils.save_img(path, x, data_format)
    mode = {1: "grayscale", 3: "rgb", 4: "rgba"}[channels]
    np.testing.assert_array_equal(utils.img_to_array(utils.load_img(path, mode), data_format), x)
    stretched = np.asarray(utils.array_to_img(x / 10 - 3, data_format))
    assert stretched.min() == 0 and stretched.max() == 255
    unstretched = utils.img_to_array(utils.array_to_img(x / 10, data_format, scale=False), data_format)
    np.testing.assert_array_equal(unstretched, np.trunc(x / 10))


def test_formats(tmp_path):
    x = picture(4, channels=4)
    with pytest.warns(UserWarning, match="JPEG has no transparency"):
        utils.save_img(tmp_path / "a.jpg", x)
    with Image.open(tmp_path / "a.jpg") as file:
        assert file.format == "JPEG"
    stream = io.BytesIO()
    utils.save_img(stream, x, file_format="tif")
    assert Image.open(stream).format == "TIFF"


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.none"
    path.write_bytes(b"old")
    with pytest.raises((ValueError, KeyError)):
        utils.save_img(path, picture(5))
    assert path.read_bytes() == b"old" and [file.name for file in tmp_path.iterdir()] == ["a.none"]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda path: utils.load_img(path, "cmyk"), "color_mode must be one of"),
        (lambda path: utils.load_img(path, interpolation="cubic"), "interpolation must be one of"),
        (lambda path: utils.load_img(path, target_size=(3, 0)), "target_size must be"),
        (lambda path: utils.array_to_img(np.zeros((2, 2))), "x must be a single image"),
        (lambda path: utils.array_to_img(np.zeros((2, 2, 5))), "1, 3 or 4 channels"),
        (lambda path: utils.img_to_array(np.zeros(3)), "img must have the axes"),
        (lambda path: utils.img_to_array(np.zeros((2, 2)), "last"), "data_format must be"),
    ],
)
def test_bad_arguments(folder, call, message):
    with pytest.raises(ValueError, match=message):
        call(folder / "circle" / "0.png")


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.png"):
        utils.load_img(tmp_path / "none.png")
    with pytest.raises(TypeError, match="path must be"):
        utils.load_img(3)
    Image.fromarray(picture(6, (40, 40))).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:700])
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("cut.png", "empty.png"):
        with pytest.raises(OSError, match=f"{name} cannot be read as an image"):
            utils.load_img(tmp_path / name)


# Resizing. Expected: tf.image.resize of TensorFlow 2.21 for the row 0 10 40 90, to 2 and to 6 pixels.
TENSORFLOW = {
    "bilinear": ([5, 65], [0, 5, 15, 35, 65, 90]),
    "nearest": ([10, 90], [0, 10, 10, 40, 90, 90]),
    "area": ([5, 65], [0, 5, 10, 40, 65, 90]),
}


@pytest.mark.parametrize("interpolation", TENSORFLOW)
def test_resizing(interpolation):
    row = np.array([0, 10, 40, 90], np.float32).reshape(1, 4, 1)
    for expected in TENSORFLOW[interpolation]:
        size = (1, len(expected))
        np.testing.assert_allclose(resize(row, size, interpolation).ravel(), expected, atol=1e-4)
        column = resize(row.transpose(1, 0, 2), size[::-1], interpolation)
        np.testing.assert_allclose(column.ravel(), expected, atol=1e-4)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_what_is_one_colour_stays_so(interpolation):
    for size in ((3, 4), (11, 9)):
        np.testing.assert_allclose(resize(np.full((5, 7, 2), 3.0), size, interpolation), 3, rtol=1e-5)


def test_smart_resize_cuts_and_padding_fills():
    x = picture(7, (4, 10)).astype(np.float32)
    np.testing.assert_array_equal(image.smart_resize(x, (4, 4)), x[:, 3:7])
    first = image.smart_resize(x[None].transpose(0, 3, 1, 2), (4, 4), data_format="channels_first")
    np.testing.assert_array_equal(first[0].transpose(1, 2, 0), x[:, 3:7])
    padded = resize_and_pad(x, (10, 10), "bilinear")
    np.testing.assert_array_equal(padded[3:7], x)
    assert not padded[:3].any() and not padded[7:].any()


# Folders.


def test_flow_from_directory(folder, capsys):
    data = flow(folder)
    assert capsys.readouterr().out == "Found 15 images belonging to 3 classes.\n"
    assert data.class_indices == {"circle": 0, "square": 1, "triangle": 2} and data.num_classes == 3
    assert data.samples == data.n == 15 and len(data) == 4 and data.image_shape == (6, 8, 3)
    assert (
        data.filenames[:2] == ["circle/0.png", "circle/1.bmp"] and data.classes.tolist() == [0] * 5 + [1] * 4 + [2] * 6
    )
    assert data.filepaths[5] == str(folder / "square" / "0.png")
    x, y = whole(data)
    assert x.dtype == y.dtype == np.float32 and x.shape == (15, 6, 8, 3)
    np.testing.assert_array_equal(x[:, 0, 0, 0] / 10, data.classes)
    np.testing.assert_array_equal(y, np.eye(3)[data.classes])


@pytest.mark.parametrize("mode", ["sparse", "binary", "input", None])
def test_class_modes(folder, mode):
    batch = next(flow(folder, class_mode=mode, batch_size=15))
    if mode is None:
        assert batch.shape == (15, 6, 8, 3)
    elif mode == "input":
        np.testing.assert_array_equal(*batch)
    else:
        assert batch[1].tolist() == [0.0] * 5 + [1.0] * 4 + [2.0] * 6 and batch[1].dtype == np.float32


def test_chosen_classes_and_subsets(folder):
    assert flow(folder, classes=["triangle", "circle"]).class_indices == {"triangle": 0, "circle": 1}
    generator = ImageDataGenerator(validation_split=0.4)
    validation, training = (flow(folder, generator, subset=subset).filenames for subset in ("validation", "training"))
    assert validation == ["circle/0.png", "circle/1.bmp", "square/0.png", "triangle/0.png", "triangle/1.bmp"]
    assert len(training) == 10 and not set(training) & set(validation)
    with pytest.raises(ValueError, match="has no folders .'star'."):
        flow(folder, classes=["star"])
    with pytest.raises(ValueError, match="class_mode must be one of"):
        flow(folder, class_mode="raw")
    with pytest.raises(FileNotFoundError):
        flow(folder / "nowhere")


def test_links_are_followed_if_wanted(folder):
    (folder / "more").mkdir()
    (folder / "more" / "link").symlink_to(folder / "circle")
    assert flow(folder).samples == 15
    assert flow(folder, follow_links=True).samples == 20


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_colours_sizes_and_transformations(folder, data_format):
    generator = ImageDataGenerator(rescale=1 / 255, horizontal_flip=True, data_format=data_format)
    data = flow(folder, generator, color_mode="grayscale", target_size=(5, 4), seed=1, shuffle=True)
    x, _ = data[0]
    assert x.shape == ((4, 5, 4, 1) if data_format == "channels_last" else (4, 1, 5, 4)) and x.max() <= 1
    for batch, sample in zip(x, data.index_array, strict=False):
        file = utils.load_img(data.filepaths[sample], "grayscale", (5, 4))
        original = utils.img_to_array(file, data_format) / 255
        flipped = original[:, ::-1] if data_format == "channels_last" else original[:, :, ::-1]
        assert np.allclose(batch, original) or np.allclose(batch, flipped)


def test_copies_are_saved(folder, tmp_path):
    (tmp_path / "copies").mkdir()
    data = flow(folder, save_to_dir=tmp_path / "copies", save_prefix="seen", save_format="jpeg", classes=["circle"])
    data[0]
    names = sorted(file.name for file in (tmp_path / "copies").iterdir())
    assert len(names) == 4 and all(name.startswith(f"seen_{n}_") for n, name in enumerate(names))


def test_damaged_files_are_raised_or_skipped(folder):
    damaged = folder / "square" / "0.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    for workers in (1, 3):
        with pytest.raises(OSError, match=r"square.0\.png cannot be read as an image"):
            whole(flow(folder, workers=workers))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fastconv-batches")]
    with pytest.warns(UserWarning, match=r"left out: .*square.0\.png"):
        x, y = whole(flow(folder, unreadable="skip", workers=3))
    assert x.shape == (14, 6, 8, 3) and y.sum(0).tolist() == [5, 3, 6]
    with pytest.raises(OSError, match="no image of a batch"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flow(folder, unreadable="skip", batch_size=1)[5]


def test_the_same_batches_for_any_number_of_workers(folder):
    def batches(workers):
        generator = ImageDataGenerator(rotation_range=30, zoom_range=0.2)
        return whole(flow(folder, generator, shuffle=True, seed=3, workers=workers))

    for workers in (2, 4):
        for ours, expected in zip(batches(workers), batches(1), strict=True):
            np.testing.assert_array_equal(ours, expected)


# Tables.


class Table(dict):
    """Columns by name, as a data frame has them."""


def table(folder, **columns):
    files = [f"{name}/{n}.{'bmp' if n == 1 else 'png'}" for name in CLASSES for n in range(2)]
    return Table({"filename": files, "class": ["a", "b", "a", "c", "b", "a"], **columns})


def from_table(folder, columns, **arguments):
    settings = {"target_size": (6, 8), "shuffle": False, "batch_size": 6, **arguments}
    return ImageDataGenerator(validation_split=0.5).flow_from_dataframe(columns, folder, **settings)


def test_flow_from_dataframe(folder, capsys):
    data = from_table(folder, table(folder, weight=[1, 2, 3, 4, 5, 6]), weight_col="weight")
    assert "Found 6 validated image filenames belonging to 3 classes." in capsys.readouterr().out
    x, y, weight = data[0]
    np.testing.assert_array_equal(x[:, 0, 0, :2], [[0, 0], [0, 1], [10, 0], [10, 1], [20, 0], [20, 1]])
    np.testing.assert_array_equal(y.argmax(1), [0, 1, 0, 2, 1, 0])
    assert weight.tolist() == [1, 2, 3, 4, 5, 6] and data.class_indices == {"a": 0, "b": 1, "c": 2}
    assert from_table(folder, table(folder), subset="validation").filenames == data.filenames[:3]


def test_labels_of_tables(folder):
    lists = table(folder, **{"class": [["a", "b"], ["b"], "a", ["c", "a"], None, ["d"]]})
    _, y = from_table(folder, lists, classes=["b", "a"])[0]
    assert y.tolist() == [[1, 1], [1, 0], [0, 1], [0, 1]]
    two = table(folder, u=[0, 1, 2, 3, 4, 5], v=[5, 4, 3, 2, 1, 0])
    assert from_table(folder, two, y_col="u", class_mode="raw")[0][1].tolist() == [0, 1, 2, 3, 4, 5]
    assert from_table(folder, two, y_col=["u", "v"], class_mode="raw")[0][1][0].tolist() == [0, 5]
    outputs = from_table(folder, two, y_col=["u", "v"], class_mode="multi_output")[0][1]
    assert [output.tolist() for output in outputs] == [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]]
    assert from_table(folder, two, classes=["a", "b"], class_mode="binary")[0][1].tolist() == [0, 1, 0, 1, 0]
    assert from_table(folder, two, class_mode=None)[0].shape == (6, 6, 8, 3)


class Missing:
    """As pandas has it: whether it equals anything is missing, too."""

    def __ne__(self, other):
        return self

    def __bool__(self):
        raise TypeError("no truth value")


def test_rows_without_a_label_are_left_out(folder):
    labels = ["a", None, float("nan"), Missing(), "b", "a"]
    for mode in ("categorical", "binary", "sparse"):
        data = from_table(folder, table(folder, **{"class": labels}), class_mode=mode)
        assert data.filenames == ["circle/0.png", "triangle/0.png", "triangle/1.bmp"] and data.labels == [0, 1, 0]


def test_bad_tables(folder):
    with pytest.raises(TypeError, match="y_col must be a list of columns"):
        from_table(folder, table(folder), class_mode="multi_output")
    with pytest.raises(TypeError, match="the column 'class' must be strings"):
        from_table(folder, table(folder, **{"class": [1, 2, 3, 4, 5, 6]}), class_mode="sparse")
    with pytest.raises(TypeError, match="the column 'filename' must be strings"):
        from_table(folder, table(folder, filename=[1] * 6))
    with pytest.raises(TypeError, match="weight_col: the column 'class' must hold numbers"):
        from_table(folder, table(folder), weight_col="class")
    with pytest.raises(ValueError, match="needs 2 classes; received 3"):
        from_table(folder, table(folder), class_mode="binary")
    broken = table(folder)
    broken["filename"][2] = "circle/77.png"
    with pytest.warns(UserWarning, match="1 file.s. of the column 'filename' are left out"):
        data = from_table(folder, broken)
    assert data.samples == 5 and data.labels == [0, 1, 2, 1, 0]


# image_dataset_from_directory.


def test_image_dataset(folder, capsys):
    data = utils.image_dataset_from_directory(folder, image_size=(3, 4), batch_size=4, shuffle=False)
    assert capsys.readouterr().out == "Found 15 files belonging to 3 classes.\n"
    assert data.class_names == list(CLASSES) and len(data) == 4 and data.file_paths[5] == str(folder / "square/0.png")
    x, y = (np.concatenate(parts) for parts in zip(*data, strict=True))
    assert x.shape == (15, 3, 4, 3) and x.dtype == np.float32 and y.dtype == np.int32
    assert y.tolist() == [0] * 5 + [1] * 4 + [2] * 6
    original = utils.img_to_array(utils.load_img(folder / "circle/0.png"))
    np.testing.assert_allclose(x[0], original.reshape(3, 2, 4, 2, 3).mean((1, 3)), atol=1e-4)
    assert [len(x) for x, _ in data] == [4, 4, 4, 3], "it can be used again"
    assert [len(x) for x, _ in data.take(2)] == [4, 4]


def test_image_dataset_labels(folder):
    def first(**arguments):
        batch_size = arguments.pop("batch_size", 15)
        settings = {"image_size": 4, "shuffle": False, "verbose": False, "batch_size": batch_size}
        return next(iter(image_dataset_from_directory(folder, **settings, **arguments)))

    assert first(label_mode="categorical")[1].tolist() == np.eye(3)[[0] * 5 + [1] * 4 + [2] * 6].tolist()
    two = first(label_mode="binary", class_names=["triangle", "circle"])[1]
    assert two.shape == (11, 1) and two.dtype == np.float32 and two.sum() == 5
    assert first(labels=None).shape == first(label_mode=None).shape == (15, 4, 4, 3)
    assert first(labels=[3, 4, 4] * 5)[1].tolist() == [3, 4, 4] * 5
    assert first(batch_size=None, data_format="channels_first")[0].shape == (3, 4, 4)
    assert first(color_mode="rgba", crop_to_aspect_ratio=True)[0].shape == (15, 4, 4, 4)
    assert not first(pad_to_aspect_ratio=True)[0][:, 3].any()


def test_image_dataset_order_and_subsets(folder):
    settings = {"seed": 3, "image_size": (6, 8), "batch_size": 5, "validation_split": 0.2, "verbose": False}
    training, validation = image_dataset_from_directory(folder, subset="both", **settings)
    assert len(training.file_paths) == 12 and len(validation.file_paths) == 3
    assert not set(training.file_paths) & set(validation.file_paths)
    alone = image_dataset_from_directory(folder, subset="validation", **settings)
    assert alone.file_paths == validation.file_paths
    # numpy.random.RandomState(3).shuffle of the 15 sorted paths, as Keras does, ends with these.
    expected = np.arange(15)
    np.random.RandomState(3).shuffle(expected)  # noqa: NPY002
    everything = image_dataset_from_directory(folder, shuffle=False, image_size=4, verbose=False).file_paths
    assert validation.file_paths == [everything[n] for n in expected[-3:]]
    passes = [np.concatenate([x[:, 0, 0, :2] for x, _ in training]) for _ in range(2)]
    assert (passes[0] != passes[1]).any() and sorted(map(tuple, passes[0])) == sorted(map(tuple, passes[1]))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"label_mode": "sparse"}, "label_mode must be one of"),
        ({"color_mode": "bgr"}, "color_mode must be one of"),
        ({"image_size": (3, 4, 5)}, "image_size must be"),
        ({"interpolation": "linear"}, "interpolation must be one of"),
        ({"validation_split": 0.2}, "must be given together"),
        ({"validation_split": 0.2, "subset": "training"}, "seed must be given"),
        ({"labels": [1, 2]}, "a list of 15 class numbers"),
        ({"labels": None, "class_names": ["circle"]}, "class_names can only be given"),
        ({"label_mode": "binary"}, "needs 2 classes; received 3"),
        ({"class_names": ["star"]}, "has no folders"),
        ({"crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True}, "cannot both be True"),
        ({"batch_size": 0}, "batch_size must be"),
    ],
)
def test_bad_image_datasets(folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        image_dataset_from_directory(folder, **arguments)


def test_training_from_folders(folder):
    """Fifteen pictures can be told apart by their classes' number, which is in the first pixel of each."""
    utils.set_random_seed(0)
    model = fastconv.Sequential([layers.Input((6, 8, 3)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    model.compile(optimizer=fastconv.optimizers.Adam(0.01), loss="categorical_crossentropy", metrics=["accuracy"])
    generator = ImageDataGenerator(rescale=1 / 255)
    data = flow(folder, generator, shuffle=True, seed=2)
    history = model.fit(data, epochs=40, validation_data=flow(folder, generator), verbose=0)
    assert history.history["val_accuracy"][-1] == 1
    assert (
        model.predict(flow(folder, generator, class_mode=None), verbose=0).argmax(1).tolist() == data.classes.tolist()
    )


def test_pillow_is_named_where_it_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r"fastconv\[image\]"):
        utils.load_img(tmp_path / "a.png")
