"""ImageDataGenerator: its parameters, pixels and normalisation, its batches, and the threads that prepare them."""

import threading

import numpy as np
import pytest

import fastconv
from fastconv import layers
from fastconv.preprocessing.image import ImageDataGenerator, Iterator, draws
from fastconv.utils import PyDataset, Sequence, set_random_seed
from fastconv.utils.py_dataset import ahead, one_pass


def images(count=10, size=(6, 5, 1), seed=0):
    return (np.random.default_rng(seed).random((count, *size)) * 255).astype(np.float32)


def batches_of(dataset):
    return list(one_pass(dataset))


def own_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("fastconv-batches")]


@pytest.fixture(autouse=True)
def no_threads_are_left():
    yield
    assert not own_threads()


# Parameters.


def test_drawn_parameters_have_their_distributions():
    generator = ImageDataGenerator(
        rotation_range=30,
        width_shift_range=0.25,
        height_shift_range=[1, 3],
        shear_range=8,
        zoom_range=(0.5, 0.9),
        horizontal_flip=True,
        channel_shift_range=20,
        brightness_range=(0.2, 1.2),
    )
    drawn = draws.parameters(generator, draws.numbers(5, 0, 0, 4000), 10, 40)
    for name, low, high in (
        ("theta", -30, 30),
        ("ty", -10, 10),
        ("shear", -8, 8),
        ("zx", 0.5, 0.9),
        ("zy", 0.5, 0.9),
        ("channel_shift_intensity", -20, 20),
        ("brightness", 0.2, 1.2),
    ):
        shares, _ = np.histogram(drawn[name], bins=5, range=(low, high))
        assert shares.sum() == 4000 and abs(shares / 4000 - 0.2).max() < 0.03, name
    values, counts = np.unique(drawn["tx"], return_counts=True)
    assert values.tolist() == [-3, -1, 1, 3] and abs(counts / 4000 - 0.25).max() < 0.03
    assert abs(drawn["flip_horizontal"].mean() - 0.5) < 0.03 and "flip_vertical" not in drawn
    names = [drawn[name] for name in ("theta", "ty", "shear", "zx", "zy", "brightness")]
    assert abs(np.corrcoef(names) - np.eye(6)).max() < 0.06  # drawn independently


def test_shifts_by_an_integer_are_its_pixels():
    generator = ImageDataGenerator(width_shift_range=3)
    drawn = draws.parameters(generator, draws.numbers(5, 0, 0, 900), 10, 40)["ty"]
    assert sorted(set(drawn.tolist())) == [-2, -1, 0, 1, 2]


def test_random_numbers_depend_on_seed_epoch_and_place_alone():
    whole = draws.numbers(3, 1, 0, 20)
    np.testing.assert_array_equal(whole[7:12], draws.numbers(3, 1, 7, 5))
    for other in (draws.numbers(4, 1, 0, 20), draws.numbers(3, 2, 0, 20), whole[::-1]):
        assert not np.isin(whole, other).any() or other is not whole and not (whole == other).any()
    assert len(np.unique(whole)) == whole.size


def test_get_random_transform_names_all_parameters():
    set_random_seed(1)
    generator = ImageDataGenerator(rotation_range=20)
    parameters = generator.get_random_transform((6, 5, 1))
    assert -20 <= parameters.pop("theta") <= 20
    assert parameters == {
        "tx": 0.0, "ty": 0.0, "shear": 0.0, "zx": 1.0, "zy": 1.0, "flip_horizontal": False, "flip_vertical": False,
        "channel_shift_intensity": None, "brightness": None,
    }  # fmt: skip
    assert generator.get_random_transform((6, 5, 1), seed=3) == generator.get_random_transform((6, 5, 1), seed=3)
    with pytest.raises(ValueError, match="3 axes"):
        generator.get_random_transform((6, 5))


# Pixels. What Keras 3.15.1 gives for x = arange(12).reshape(3, 4, 1), fill_mode="constant", cval=-1.
KERAS = {
    "tx": (
        {"tx": 1},
        [[1, 2, 3, -1], [5, 6, 7, -1], [9, 10, 11, -1]],
    ),
    "ty": ({"ty": -1}, [[-1, -1, -1, -1], [0, 1, 2, 3], [4, 5, 6, 7]]),
    "mirrored": ({"flip_horizontal": True, "tx": 1}, [[-1, 3, 2, 1], [-1, 7, 6, 5], [-1, 11, 10, 9]]),
    "brighter": ({"brightness": 1.3}, [[0, 1, 2, 3], [5, 6, 7, 9], [10, 11, 13, 14]]),
    "channels": ({"channel_shift_intensity": -2.5}, [[0, 0, 0, 0.5], [1.5, 2.5, 3.5, 4.5], [5.5, 6.5, 7.5, 8.5]]),
}


@pytest.mark.parametrize("name", KERAS)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_pixels(name, data_format):
    parameters, expected = KERAS[name]
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    x = x[..., None] if data_format == "channels_last" else x[None]
    generator = ImageDataGenerator(fill_mode="constant", cval=-1, data_format=data_format)
    out = generator.apply_transform(x, parameters)
    assert out.shape == x.shape and out.dtype == np.float32
    np.testing.assert_allclose(out.reshape(3, 4), expected, atol=1e-5)


def test_a_quarter_turn():
    x = images(1, (5, 5, 2))[0]
    turned = ImageDataGenerator().apply_transform(x, {"theta": 90})
    np.testing.assert_allclose(turned, np.rot90(x), atol=1e-3)


def test_splines_of_a_ramp():
    """Cubic splines give straight lines back, exactly."""
    pytest.importorskip("scipy", reason="SciPy is not installed: pip install 'fastconv[image]'")
    i, j = np.mgrid[:12, :12].astype(np.float32)
    x = (3 * i + 2 * j)[..., None]
    generator = ImageDataGenerator(interpolation_order=3, fill_mode="reflect")
    moved = generator.apply_transform(x, {"tx": 0.5, "ty": -0.25})[..., 0]  # half a pixel to the left, a quarter down
    np.testing.assert_allclose(moved[5:7, 5:7], (3 * (i - 0.25) + 2 * (j + 0.5))[5:7, 5:7], atol=0.02)


def test_layouts_agree():
    x = images(1, (5, 5, 3))[0]
    parameters = {"theta": 20, "zx": 0.8, "shear": 5, "channel_shift_intensity": 30, "brightness": 0.7}
    last = ImageDataGenerator().apply_transform(x, parameters)
    first = ImageDataGenerator(data_format="channels_first").apply_transform(x.transpose(2, 0, 1), parameters)
    np.testing.assert_allclose(first.transpose(1, 2, 0), last, atol=1e-4)


def test_batches_are_what_the_single_steps_give():
    generator = ImageDataGenerator(
        rotation_range=30, zoom_range=0.2, horizontal_flip=True, channel_shift_range=20, rescale=1 / 255,
        samplewise_center=True, preprocessing_function=lambda image: image + image.shape[0],
    )  # fmt: skip
    x = images()
    flow = generator.flow(x, batch_size=4, seed=9)
    order = flow.index_array.copy()
    batches = [flow[i] for i in range(3)]
    assert [len(batch) for batch in batches] == [4, 4, 2] and sorted(order) == list(range(10))
    for place, image in enumerate(np.concatenate(batches)):
        drawn = draws.parameters(generator, draws.numbers(9, 0, place, 1), 6, 5)
        alone = generator.apply_transform(x[order[place]], {name: value[0] for name, value in drawn.items()})
        np.testing.assert_allclose(image, generator.standardize(alone), atol=1e-5)


def test_a_subclass_that_the_data_sets_would_pass_over_is_refused():
    with pytest.raises(TypeError, match="overrides standardize, which data sets do not call"):

        class Mine(ImageDataGenerator):
            def standardize(self, x):
                return x


# Normalisation.


def test_featurewise_and_samplewise():
    x = images(8, (4, 3, 3))
    generator = ImageDataGenerator(featurewise_center=True, featurewise_std_normalization=True)
    generator.fit(x)
    assert generator.mean.shape == generator.std.shape == (1, 1, 3)
    out = np.concatenate(list(one_pass(generator.flow(x, shuffle=False))))
    np.testing.assert_allclose(out.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(out.std((0, 1, 2)), 1, atol=1e-5)
    out = ImageDataGenerator(samplewise_center=True, samplewise_std_normalization=True).flow(x)[0]
    np.testing.assert_allclose(out.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(out.std((1, 2, 3)), 1, atol=1e-5)


def test_whitening():
    x = images(60, (3, 2, 1))
    with pytest.warns(UserWarning, match="zca_whitening implies featurewise_center=True"):
        generator = ImageDataGenerator(zca_whitening=True)
    generator.fit(x)
    white = generator.flow(x, batch_size=60)[0].reshape(60, 6)
    np.testing.assert_allclose(white.T @ white / 60, np.eye(6), atol=1e-4)


def test_standardize_works_in_place_and_warns_where_it_was_not_fitted():
    generator = ImageDataGenerator(rescale=2.0, featurewise_center=True)
    x = np.ones((2, 2, 1), np.float32)
    with pytest.warns(UserWarning, match=r"mean is not known: call fit"):
        assert generator.standardize(x) is x
    np.testing.assert_array_equal(x, 2)


def test_fit_on_transformed_images():
    x = images(4)
    generator = ImageDataGenerator(featurewise_center=True, horizontal_flip=True, fill_mode="constant", rescale=0.5)
    generator.fit(x, augment=True, rounds=3, seed=1)
    np.testing.assert_allclose(generator.mean, x.mean() / 2, rtol=1e-5)  # flips leave the mean alone
    with pytest.raises(ValueError, match="4 axes"):
        generator.fit(x[0])


# Order, epochs, threads.


@pytest.mark.parametrize("workers", [0, 2, 4])
def test_the_same_batches_for_any_number_of_workers(workers):
    def epochs(workers):
        generator = ImageDataGenerator(rotation_range=40, width_shift_range=0.2, vertical_flip=True)
        flow = generator.flow(images(23), np.arange(23), batch_size=5, seed=4, workers=workers, max_queue_size=3)
        return [batch for _ in range(2) for batch in batches_of(flow)]

    ours, expected = epochs(workers), epochs(1)
    assert len(ours) == len(expected) == 10
    for (x, y), (other_x, other_y) in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(x, other_x)
        np.testing.assert_array_equal(y, other_y)
    first, second = (np.concatenate([y for _, y in ours[part]]) for part in (slice(5), slice(5, 10)))
    assert sorted(first) == sorted(second) == list(range(23)) and (first != second).any()


def test_next_index_and_passes_are_the_same_epochs():
    make = lambda: ImageDataGenerator(rotation_range=40).flow(images(7), np.arange(7), batch_size=3, seed=4)  # noqa: E731
    by_pass, by_next = make(), make()
    assert iter(by_next) is by_next and len(by_next) == 3
    for _ in range(2):
        for x, y in batches_of(by_pass):
            other_x, other_y = next(by_next)
            np.testing.assert_array_equal(x, other_x)
            np.testing.assert_array_equal(y, other_y)
    assert by_next.batch_index == 0 and by_next.total_batches_seen == 6
    next(by_next)
    by_next.reset()
    assert by_next.batch_index == 0
    with pytest.raises(ValueError, match="the batches are 0 to 2; received 3"):
        by_next[3]


def test_without_a_seed_set_random_seed_decides():
    def first():
        set_random_seed(8)
        return ImageDataGenerator(rotation_range=40).flow(images())[0]

    np.testing.assert_array_equal(first(), first())


def test_extra_arrays_weights_and_subsets():
    generator = ImageDataGenerator(validation_split=0.3)
    x, y = images(), np.array([0, 1] * 5)
    weights = np.linspace(0, 1, 10)
    flow = generator.flow((x, [y * 2, y * 3]), y, sample_weight=weights, shuffle=False, subset="training")
    (part, double, triple), labels, weight = flow[0]
    np.testing.assert_array_equal(part, x[3:])
    np.testing.assert_array_equal(double, y[3:] * 2)
    np.testing.assert_array_equal(triple, y[3:] * 3)
    np.testing.assert_array_equal(labels, y[3:])
    np.testing.assert_array_equal(weight, weights[3:])
    np.testing.assert_array_equal(generator.flow(x, shuffle=False, subset="validation")[0], x[:3])
    with pytest.raises(ValueError, match="different classes: 2 and 1"):
        generator.flow(x, np.arange(10) > 5, subset="training")
    assert generator.flow(x, np.arange(10) > 5, subset="training", ignore_class_split=True).n == 7


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"fill_mode": "mirrored"}, "fill_mode must be one of"),
        ({"zoom_range": (1, 2, 3)}, "zoom_range must be two numbers"),
        ({"brightness_range": 2}, "brightness_range must be two numbers"),
        ({"validation_split": 1.5}, "validation_split must be between"),
        ({"data_format": "last"}, "data_format must be"),
        ({"dtype": "int32"}, "dtype must be"),
        ({"interpolation_order": 6}, "interpolation_order must be one of"),
        ({"preprocessing_function": 3}, "preprocessing_function must be callable"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        ImageDataGenerator(**arguments)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"x": np.zeros((2, 3))}, "x must be images, numbers with 4 axes; received float64 of shape"),
        ({"y": [1]}, "y must have a row for each of the 10 images"),
        ({"batch_size": 0}, "batch_size must be a positive integer"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"subset": "test"}, "subset must be one of"),
        ({"save_to_dir": "/there/is/none"}, "save_to_dir must be a folder"),
        ({"workers": -1}, "workers must be an integer from 0"),
    ],
)
def test_bad_flows(arguments, message):
    with pytest.raises(ValueError, match=message):
        ImageDataGenerator().flow(**{"x": images(), **arguments})


# Training with it, and with data sets of one's own.


class Numbers(PyDataset):
    """Batch i has x = i; counts its epochs."""

    def __init__(self, count=6, fails_at=None, **kwargs):
        super().__init__(**kwargs)
        self.count, self.fails_at = count, fails_at
        self.begun = self.ended = 0
        self.used = []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index == self.fails_at:
            raise RuntimeError(f"batch {index} is broken")
        self.used.append(index)
        return np.full((2, 3), index, np.float32), np.full((2, 1), index, np.float32)

    def on_epoch_begin(self):
        self.begun += 1

    def on_epoch_end(self):
        self.ended += 1


def dense():
    set_random_seed(0)
    model = fastconv.Sequential([layers.Input((3,)), layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    return model


def test_sequence_is_the_old_name():
    assert Sequence is PyDataset is fastconv.utils.Sequence and issubclass(Iterator, Sequence)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_fit_evaluate_and_predict(workers):
    data, validation = Numbers(workers=workers, use_multiprocessing=True), Numbers(2, workers=workers)
    model = dense()
    history = model.fit(data, epochs=3, validation_data=validation, verbose=0)
    assert len(history.history["val_loss"]) == 3
    assert data.begun == data.ended == validation.begun == validation.ended == 3
    assert sorted(data.used) == sorted([*range(6)] * 3)
    model.set_weights([np.ones((3, 1)), np.zeros(1)])
    np.testing.assert_allclose(model.predict(data, verbose=0).ravel(), np.repeat(np.arange(6), 2) * 3)
    assert model.evaluate(data, verbose=0) == pytest.approx(4 * np.mean(np.arange(6) ** 2))


def test_fit_takes_batches_in_random_order_unless_told_not_to():
    seen = Numbers()
    dense().fit(seen, epochs=2, verbose=0)
    assert seen.used[:6] != seen.used[6:] and sorted(seen.used[:6]) == list(range(6))
    seen = Numbers()
    dense().fit(seen, epochs=2, verbose=0, shuffle=False)
    assert seen.used == [*range(6)] * 2


def test_steps_per_epoch_go_on_where_the_epoch_ended():
    data = Numbers(workers=2, max_queue_size=2)
    dense().fit(data, epochs=3, steps_per_epoch=4, shuffle=False, verbose=0)
    assert data.begun == data.ended == 2
    assert not own_threads()


class Endless(Numbers):
    @property
    def num_batches(self):
        return None


def test_without_end():
    data = Endless(workers=2)
    history = dense().fit(data, epochs=2, steps_per_epoch=5, verbose=0)
    assert len(history.history["loss"]) == 2 and data.begun == data.ended == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_errors_of_a_worker_arrive(workers):
    data = Numbers(fails_at=4, workers=workers)
    with pytest.raises(RuntimeError, match="batch 4 is broken"):
        dense().fit(data, verbose=0, shuffle=False)
    assert not own_threads() and data.ended == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_no_threads_after_an_interruption(error):
    class Stops(fastconv.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            assert own_threads() or batch == 0
            if batch == 2:
                raise error

    data = Numbers(20, workers=3, max_queue_size=4)
    try:
        dense().fit(data, verbose=0, callbacks=[Stops()], steps_per_epoch=10)
    except ZeroDivisionError:
        pass
    assert not own_threads() and data.ended == 1 and len(data.used) < 12


def test_no_more_than_the_queue_is_prepared_ahead():
    made = []
    source = ahead(lambda n: made.append(n) or n, range(100), workers=2, depth=5)
    assert next(source) == 0 and not own_threads()
    assert [next(source) for _ in range(3)] == [1, 2, 3]
    assert max(made) <= 3 + 5
    source.close()


def test_a_network_learns_from_transformed_images():
    """Bars that lie or stand, moved about: what a flow gives can be learned, and evaluated."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=96)
    x = np.zeros((96, 8, 8, 1), np.float32)
    x[y == 0, 3:5], x[y == 1, :, 3:5] = 1, 1
    generator = ImageDataGenerator(rotation_range=15, width_shift_range=0.2, height_shift_range=0.2)
    set_random_seed(1)
    model = fastconv.Sequential(
        [layers.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(2)]
    )
    loss = fastconv.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=fastconv.optimizers.Adam(0.01), loss=loss, metrics=["accuracy"])
    flow = generator.flow(x, y, batch_size=16, seed=1)
    model.fit(flow, epochs=8, validation_data=generator.flow(x, y, seed=2), verbose=0)
    assert model.evaluate(flow, verbose=0)[1] > 0.95


def test_flips_alone_need_no_splines(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scipy.ndimage", None)
    x = images(1)[0]
    generator = ImageDataGenerator(interpolation_order=3, horizontal_flip=True)
    flipped = generator.apply_transform(x, {"flip_horizontal": True})
    np.testing.assert_array_equal(flipped, x[:, ::-1])
    with pytest.raises(ImportError, match=r"fastconv\[image\]"):
        generator.apply_transform(x, {"theta": 3})


def test_what_gives_batches_by_number_is_a_data_set():
    class Old:
        """As one of another library, which has no base class of ours."""

        ended = 0

        def __len__(self):
            return 3

        def __getitem__(self, index):
            return np.full((2, 3), index, np.float32), np.zeros((2, 1), np.float32)

        def on_epoch_end(self):
            self.ended += 1

    old = Old()
    dense().fit(old, epochs=2, verbose=0)
    assert old.ended == 2
