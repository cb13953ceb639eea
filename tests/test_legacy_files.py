"""`.h5` files: those of Keras 1, 2 and 3 and of tf.keras, put together by hand as those write them, and our own."""

from __future__ import annotations

import json
import os

import h5py
import numpy as np
import pytest

from fastconv import Sequential, datasets, layers, saving, utils
from fastconv.saving import load_model


def small(optimizer=None, names=("conv2d", "dense"), classes=4):
    model = Sequential(
        [
            layers.Input((5, 4, 2)),
            layers.Conv2D(3, 2, name=names[0]),
            layers.Flatten(),
            layers.Dense(classes, activation="softmax", name=names[1]),
        ]
    )
    if optimizer is not None:
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.optimizer.build(model.trainable_weights)
    return model


SHAPES = [(2, 2, 2, 3), (3,), (36, 4), (4,)]


def arrays(seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(size=shape).astype("float32") for shape in SHAPES]


def write_layers(group, weights, suffix=":0", names=("kernel", "bias"), attribute=lambda texts: np.array(texts, "S")):
    """conv2d, flatten, dense: as tf.keras 2 writes them unless told otherwise."""
    group.attrs["layer_names"] = attribute(["conv2d", "flatten", "dense"])
    group.attrs["backend"] = "tensorflow"
    group.create_group("flatten").attrs["weight_names"] = np.array([])
    for index, layer in enumerate(["conv2d", "dense"]):
        own = group.create_group(layer)
        paths = [f"{layer}/{name}{suffix}" for name in names]
        own.attrs["weight_names"] = attribute(paths)
        for path, array in zip(paths, weights[2 * index :], strict=False):
            own[path] = array


def tf_keras_config(first_input="batch_input_shape"):
    def initializer(name, **config):
        return {"class_name": name, "config": {"dtype": "float32", **config}}

    conv = {
        "name": "conv2d",
        "trainable": True,
        first_input: [None, 5, 4, 2],
        "dtype": "float32",
        "filters": 3,
        "kernel_size": [2, 2],
        "strides": [1, 1],
        "padding": "valid",
        "data_format": "channels_last",
        "dilation_rate": [1, 1],
        "groups": 1,
        "activation": "linear",
        "use_bias": True,
        "kernel_initializer": initializer(
            "VarianceScaling", scale=2.0, mode="fan_in", distribution="normal", seed=None
        ),
        "bias_initializer": initializer("Zeros"),
        "kernel_regularizer": {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.01}},
        "activity_regularizer": None,
        "kernel_constraint": None,
    }
    dense = {"name": "dense", "trainable": True, "dtype": "float32", "units": 4, "activation": "softmax"}
    flatten = {"name": "flatten", "trainable": True, "dtype": "float32", "data_format": "channels_last"}
    entries = [("Conv2D", conv), ("Flatten", flatten), ("Dense", dense)]
    return [{"class_name": name, "config": config} for name, config in entries]


def write_model(path, config, weights, training=None, keras_version="2.10.0"):
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = keras_version
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(config).encode()
        if training is not None:
            file.attrs["training_config"] = json.dumps(training).encode()
        write_layers(file.create_group("model_weights"), weights)
        file.create_group("model_weights/top_level_model_weights").attrs["weight_names"] = np.array([])


ADAM = {"name": "Adam", "learning_rate": 0.002, "decay": 0.0, "beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-07}
TRAINING = {
    "loss": "sparse_categorical_crossentropy",
    "metrics": [
        [{"class_name": "MeanMetricWrapper", "config": {"name": "accuracy", "fn": "sparse_categorical_accuracy"}}]
    ],
    "weighted_metrics": None,
    "loss_weights": None,
    "optimizer_config": {"class_name": "Custom>Adam", "config": {**ADAM, "jit_compile": True}},
}


def assert_same(have, want):
    assert len(have) == len(want)
    for a, b in zip(have, want, strict=True):
        np.testing.assert_array_equal(a, b)


# Whole models


@pytest.mark.parametrize("listed", [True, False])
def test_a_model_of_tf_keras(tmp_path, listed):
    """As a list of layers before Keras 2.2.3, with a name since then."""
    entries = tf_keras_config()
    config = entries if listed else {"name": "net", "layers": entries}
    write_model(tmp_path / "model.h5", {"class_name": "Sequential", "config": config}, arrays(), TRAINING)
    model = load_model(tmp_path / "model.h5")
    assert_same(model.get_weights(), arrays())
    assert model.input_shape == (None, 5, 4, 2)
    assert [layer.name for layer in model.layers] == ["conv2d", "flatten", "dense"]
    assert model.layers[0].kernel_regularizer.get_config()["l2"] == pytest.approx(0.01)
    assert model.layers[0].kernel_initializer.distribution == "truncated_normal"
    assert model.optimizer.learning_rate == 0.002
    assert model.optimizer.beta_2 == 0.99
    model.evaluate(np.zeros((2, 5, 4, 2)), [0, 1], verbose=0)
    assert model.metrics_names == ["loss", "accuracy"]


def test_a_model_of_keras_1(tmp_path):
    conv = {"name": "conv2d", "batch_input_shape": [None, 5, 4, 2], "nb_filter": 3, "nb_row": 2, "nb_col": 2}
    conv |= {"subsample": [1, 1], "border_mode": "valid", "dim_ordering": "tf", "init": "glorot_uniform", "bias": True}
    conv |= {"input_dtype": "float32", "W_regularizer": {"name": "WeightRegularizer", "l1": 0.0, "l2": 0.5}}
    dense = {"name": "dense", "output_dim": 4, "init": "glorot_uniform", "activation": "softmax", "bias": True}
    entries = [("Convolution2D", conv), ("Flatten", {"name": "flatten"}), ("Dropout", {"name": "d", "p": 0.25})]
    config = [{"class_name": name, "config": one} for name, one in [*entries, ("Dense", dense)]]
    write_model(tmp_path / "model.h5", {"class_name": "Sequential", "config": config}, arrays())
    model = load_model(tmp_path / "model.h5")
    assert_same(model.get_weights(), arrays())
    assert model.layers[0].kernel_regularizer.get_config()["l2"] == 0.5
    assert model.layers[2].rate == 0.25
    assert not model.compiled


def test_what_keras_1_kept_for_theano_is_refused(tmp_path):
    entries = tf_keras_config()
    entries[0]["config"]["dim_ordering"] = "th"
    write_model(tmp_path / "model.h5", {"class_name": "Sequential", "config": entries}, arrays())
    with pytest.raises(ValueError, match="layer 'conv2d' is in Theano's layout"):
        load_model(tmp_path / "model.h5")


# As Keras 3, tf.keras 2.11, tf.keras 2.10 and Keras 2 name and order them.
def adam_state(version, first, second):
    variables = ["conv2d/kernel", "conv2d/bias", "dense/kernel", "dense/bias"]
    if version == "3":
        names = [
            f"adam/sequential_{v.replace('/', '_')}_{slot}" for v in variables for slot in ("momentum", "velocity")
        ]
        slots = [array for pair in zip(first, second, strict=True) for array in pair]
        return ["adam/iteration", "adam/learning_rate", *names], [np.int32(17), np.float32(0.25), *slots]
    if version == "2.11":
        names = [f"Adam/{slot}/{v}:0" for v in variables for slot in "mv"]
        slots = [array for pair in zip(first, second, strict=True) for array in pair]
        return ["iteration:0", *names], [np.int64(17), *slots]
    if version == "2.10":
        return ["Adam/iter:0", *[f"Adam/{v}/{slot}:0" for slot in "mv" for v in variables]], [
            *(np.int64(17), *first, *second)
        ]
    names = [f"training/Adam/Variable_{number}:0" for number in range(12)]
    vhat = [np.zeros(1, "float32")] * 4  # there even without amsgrad
    return ["Adam/iterations:0", *names], [np.int64(17), *first, *second, *vhat]


@pytest.mark.parametrize("version", ["3", "2.11", "2.10", "2"])
def test_the_optimizers_state_in_all_its_orders(tmp_path, version):
    first, second = arrays(1), arrays(2)
    path = tmp_path / "model.h5"
    config = {"class_name": "Sequential", "config": {"name": "net", "layers": tf_keras_config()}}
    write_model(path, config, arrays(), TRAINING, f"{version}.0")
    with h5py.File(path, "r+") as file:
        group = file.create_group("optimizer_weights")
        names, values = adam_state(version, first, second)
        group.attrs["weight_names"] = np.array(names, "S")
        for name, value in zip(names, values, strict=True):
            group[name] = value
    optimizer = load_model(path).optimizer
    assert optimizer.iterations == 17
    assert optimizer.learning_rate == (0.25 if version == "3" else 0.002)
    slots = optimizer.slots_by_name()
    assert_same([slot.numpy() for slot in slots["momentum"]], first)
    assert_same([slot.numpy() for slot in slots["velocity"]], second)


def test_a_state_of_another_optimizer_begins_anew(tmp_path):
    path = tmp_path / "model.h5"
    config = {"class_name": "Sequential", "config": {"name": "net", "layers": tf_keras_config()}}
    write_model(path, config, arrays(), TRAINING)
    with h5py.File(path, "r+") as file:
        group = file.create_group("optimizer_weights")
        group.attrs["weight_names"] = np.array(["SGD/iter:0", "SGD/dense/kernel/momentum:0"], "S")
        group["SGD/iter:0"] = np.int64(3)
        group["SGD/dense/kernel/momentum:0"] = arrays()[2]
    with pytest.warns(UserWarning, match=r"keeps \['momentum'\].*\['momentum', 'velocity'\].*begins anew"):
        model = load_model(path)
    assert model.optimizer.iterations == 0
    assert_same(model.get_weights(), arrays())


def test_a_model_comes_back_as_it_was(tmp_path):
    utils.set_random_seed(1)
    model = small("adam")
    for number, variable in enumerate(model.optimizer.variables[2:], 1):
        variable.assign(np.full(variable.shape, number))
    model.optimizer.learning_rate = 0.125
    model.save(tmp_path / "model.h5")
    loaded = load_model(tmp_path / "model.h5")
    assert loaded.get_config() == model.get_config()
    assert_same(loaded.get_weights(), model.get_weights())
    assert_same(
        [variable.numpy() for variable in loaded.optimizer.variables],
        [variable.numpy() for variable in model.optimizer.variables],
    )
    assert loaded.optimizer.learning_rate == 0.125
    assert not load_model(tmp_path / "model.h5", compile=False).compiled
    model.save(tmp_path / "bare.hdf5", include_optimizer=False)
    assert not load_model(tmp_path / "bare.hdf5").compiled
    with h5py.File(tmp_path / "model.h5") as file:
        assert list(file["model_weights"].attrs["layer_names"]) == [layer.name.encode() for layer in model.layers]
        config = json.loads(file.attrs["model_config"])
        assert config["config"]["layers"][1].keys() == {"class_name", "config"}


# Weights alone


@pytest.mark.parametrize("where", ["root", "model_weights"])
@pytest.mark.parametrize("names", [("W_1", "b_1"), ("kernel", "bias")])
def test_weights_by_order(tmp_path, where, names):
    """At the root, with the names of Keras 1 and 2; or in the file of a whole model."""
    with h5py.File(tmp_path / "old.h5", "w") as file:
        group = file if where == "root" else file.create_group("model_weights")
        write_layers(group, arrays(), names=names, attribute=lambda texts: np.array(texts, h5py.string_dtype()))
    model = small(names=("other", "names"))
    model.load_weights(tmp_path / "old.h5")
    assert_same(model.get_weights(), arrays())


def test_the_order_is_that_of_the_attributes(tmp_path):
    with h5py.File(tmp_path / "old.h5", "w") as file:
        write_layers(file, arrays())
        for layer in ("conv2d", "dense"):
            file[layer].attrs["weight_names"] = file[layer].attrs["weight_names"][::-1]
    with pytest.raises(ValueError, match=r"old.h5: /conv2d/conv2d/bias:0 has shape \(3,\), but conv2d/kernel"):
        small().load_weights(tmp_path / "old.h5")


def test_names_in_parts(tmp_path):
    """HDF5 keeps 64 KB of attributes with an object, so long lists of names are split."""
    with h5py.File(tmp_path / "old.h5", "w") as file:
        write_layers(file, arrays())
        names = file.attrs.pop("layer_names")
        for number, name in enumerate(names):
            file.attrs[f"layer_names{number}"] = np.array([name])
    model = small()
    model.load_weights(tmp_path / "old.h5")
    assert_same(model.get_weights(), arrays())


def test_long_lists_of_names_are_written_in_parts(tmp_path):
    model = Sequential([layers.Input((1,)), *(layers.Dense(1, name=f"{i:05d}{'x' * 900}") for i in range(150))])
    model.save_weights(tmp_path / "long.h5")
    with h5py.File(tmp_path / "long.h5") as file:
        assert {"layer_names0", "layer_names1", "layer_names2"} <= set(file.attrs)
    other = Sequential([layers.Input((1,)), *(layers.Dense(1) for _ in range(150))])
    other.load_weights(tmp_path / "long.h5")
    assert_same(other.get_weights(), model.get_weights())


def test_by_name(tmp_path):
    with h5py.File(tmp_path / "old.h5", "w") as file:
        write_layers(file, arrays())
    model = small(names=("new", "dense"))
    kernel = model.layers[0].get_weights()[0]
    model.load_weights(tmp_path / "old.h5", by_name=True)
    assert_same(model.layers[2].get_weights(), arrays()[2:])
    assert_same([model.layers[0].get_weights()[0]], [kernel])


def test_by_name_with_no_name_in_common(tmp_path):
    with h5py.File(tmp_path / "old.h5", "w") as file:
        write_layers(file, arrays())
    model = small(names=("new", "other"))
    before = model.get_weights()
    with pytest.warns(UserWarning, match="no weights.* by name. The file has conv2d, dense; the model has new, other"):
        model.load_weights(tmp_path / "old.h5", by_name=True)
    assert_same(model.get_weights(), before)


def test_skip_mismatch(tmp_path):
    """The usual case: another number of classes."""
    small().save_weights(tmp_path / "legacy.h5")
    small().save_weights(tmp_path / "new.weights.h5")
    for name, options in [("legacy.h5", {}), ("legacy.h5", {"by_name": True}), ("new.weights.h5", {})]:
        model = Sequential(
            [
                layers.Input((5, 4, 2)),
                layers.Conv2D(3, 2, name="conv2d"),
                layers.Flatten(),
                layers.Dense(7, name="dense"),
            ]
        )
        dense = model.layers[2].get_weights()
        with pytest.raises(ValueError, match=r"shape \(36, 4\).*shape \(36, 7\)"):
            model.load_weights(tmp_path / name, **options)
        with pytest.warns(UserWarning, match="left as it is"):
            model.load_weights(tmp_path / name, skip_mismatch=True, **options)
        assert_same(model.layers[2].get_weights(), dense)


def test_another_number_of_layers(tmp_path):
    small().save_weights(tmp_path / "old.h5")
    model = Sequential([layers.Input((36,)), layers.Dense(4)])
    with pytest.raises(ValueError, match="it has 2 layers with weights.*the model 1.*by_name=True"):
        model.load_weights(tmp_path / "old.h5")


def test_layers_and_arrays_of_another_number(tmp_path):
    with h5py.File(tmp_path / "old.h5", "w") as file:
        write_layers(file, arrays())
        file["dense"].attrs["weight_names"] = np.array(["dense/kernel:0"], "S")
    with pytest.raises(ValueError, match="layer 'dense' has 1 arrays, but layer 'dense' expects 2: kernel, bias"):
        small().load_weights(tmp_path / "old.h5")


@pytest.mark.parametrize("hint", ["name", "backend", "shape"])
def test_theanos_layout_is_refused(tmp_path, hint):
    path = tmp_path / ("vgg16_weights_th_dim_ordering_th_kernels.h5" if hint == "name" else "old.h5")
    weights = arrays()
    if hint == "shape":
        weights[0] = weights[0].transpose(3, 2, 0, 1)
    with h5py.File(path, "w") as file:
        write_layers(file, weights)
        if hint == "backend":
            file.attrs["backend"] = "theano"
    with pytest.raises(ValueError, match="in Theano's layout"):
        small().load_weights(path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda file: file.attrs.pop("layer_names"), "neither layer_names nor layers"),
        (lambda file: file.pop("dense"), "layer 'dense' is listed, but has no weight_names"),
        (lambda file: file.attrs.update(layer_names=np.array(["..", "dense"], "S")), "cannot be a place"),
        (
            lambda file: file["dense"].attrs.__setitem__("weight_names", np.array(["/conv2d/x", "y"], "S")),
            "cannot be a place",
        ),
        (lambda file: file["dense"].pop("dense/bias:0"), "bias:0 is missing"),
        (lambda file: file.__setitem__("dense/dense/bias:0x", h5py.ExternalLink("/etc/passwd", "/")), None),
        (lambda file: file.attrs.update(layer_names=np.arange(3)), "expected text"),
    ],
)
def test_damaged_weights(tmp_path, edit, message):
    with h5py.File(tmp_path / "old.h5", "w") as file:
        write_layers(file, arrays())
        edit(file)
    model = small()
    if message is None:  # what nothing refers to is not looked at
        model.load_weights(tmp_path / "old.h5")
        return
    before = model.get_weights()
    with pytest.raises(ValueError, match=f"old.h5.*{message}"):
        model.load_weights(tmp_path / "old.h5")
    assert_same(model.get_weights(), before)


def test_links_are_refused(tmp_path):
    with h5py.File(tmp_path / "old.h5", "w") as file:
        write_layers(file, arrays())
        del file["dense/dense/bias:0"]
        file["dense/dense/bias:0"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(ValueError, match="bias:0 is a ExternalLink; links are not followed"):
        small().load_weights(tmp_path / "old.h5")


def test_what_cannot_be_asked_for(tmp_path):
    model = small()
    model.save_weights(tmp_path / "a.weights.h5")
    model.save_weights(tmp_path / "a.h5")
    with pytest.raises(ValueError, match="safe_mode=False is refused"):
        load_model(tmp_path / "a.h5", safe_mode=False)
    with pytest.raises(ValueError, match="no model in it, only weights"):
        load_model(tmp_path / "a.h5")
    with pytest.raises(ValueError, match="layout of Keras 3, which has no names"):
        model.load_weights(tmp_path / "a.weights.h5", by_name=True)
    model.save(tmp_path / "a.keras")
    with pytest.raises(ValueError, match="by_name is for the older"):
        model.load_weights(tmp_path / "a.keras", by_name=True)
    with pytest.raises(ValueError, match="ending decides the format"):
        model.save(tmp_path / "a.keras", save_format="h5")


# The caller's own classes


class Doubled(layers.Dense):
    pass


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_classes_of_ones_own(tmp_path, ending):
    model = Sequential([layers.Input((3,)), Doubled(2)])
    path = tmp_path / f"model{ending}"
    model.save(path)
    with pytest.raises(ValueError, match="Unknown layer 'Doubled'.*custom_objects"):
        load_model(path)
    for loaded in (load_model(path, custom_objects={"Doubled": Doubled}), _in_scope(path)):
        assert type(loaded.layers[0]) is Doubled
        assert_same(loaded.get_weights(), model.get_weights())
    with pytest.raises(ValueError, match="custom_objects must be a dict"):
        load_model(path, custom_objects=[Doubled])


def _in_scope(path):
    with saving.custom_object_scope({"Doubled": Doubled}):
        return load_model(path)


def test_registered_classes(tmp_path):
    @saving.register_keras_serializable("Mine")
    class Tripled(layers.Dense):
        pass

    try:
        model = Sequential([layers.Input((3,)), Tripled(2)])
        model.save(tmp_path / "model.keras")
        assert model.get_config()["layers"][1]["registered_name"] == "Mine>Tripled"
        assert type(load_model(tmp_path / "model.keras").layers[0]) is Tripled
    finally:
        saving.get_custom_objects().clear()


# Weights by name


def test_safetensors(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed: pip install 'fastconv[safetensors]'")
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "weights.safetensors"
    model = small()
    model.save_weights(path)
    stored = load_file(path)
    assert set(stored) == {"conv2d/kernel", "conv2d/bias", "dense/kernel", "dense/bias"}
    np.testing.assert_array_equal(stored["conv2d/kernel"], model.get_weights()[0])
    other = small()
    other.load_weights(path)
    assert_same(other.get_weights(), model.get_weights())
    before = other.get_weights()
    for change, message in [
        ({"dense/bias": np.zeros(5, "float32")}, r"dense/bias is F32 of shape \(5,\)"),
        ({"dense/bias": np.zeros(4, "int64")}, "dense/bias is I64"),
        ({"more": np.zeros(4, "float32")}, "the model has no more"),
    ]:
        save_file({**stored, **change}, path)
        with pytest.raises(ValueError, match=f"weights.safetensors.*{message}"):
            other.load_weights(path)
    assert_same(other.get_weights(), before)
    with pytest.raises(FileNotFoundError):
        other.load_weights(tmp_path / "none.safetensors")
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(ValueError, match="weights.safetensors is not a readable safetensors file"):
        other.load_weights(path)


# Models that others have trained


@pytest.mark.parametrize(
    ("file", "dataset", "scale", "accuracy"),
    [
        ("mnist_cnn_purinat33_MIT.h5", "mnist", 1, 0.974),
        ("fashion_mnist_cnn_anuraghalee_MIT.h5", "fashion_mnist", 255, 0.925),
    ],
)
def test_models_from_elsewhere(file, dataset, scale, accuracy):
    """Of tf.keras 2.10 and 2.12; the accuracies are those that Keras 3.15.1 finds with the same files."""
    path = os.path.join(os.environ.get("FASTCONV_DATA", ""), "pretrained", file)
    if not os.path.exists(path):
        pytest.skip(f"pretrained/{file} is not in the folder that the variable FASTCONV_DATA names")
    model = load_model(path)
    x, y = (array[:1000] for array in getattr(datasets, dataset).load_data()[1])
    classes = model.predict(x[..., np.newaxis] / np.float32(scale), verbose=0).argmax(axis=1)
    assert (classes == y).mean() == pytest.approx(accuracy, abs=1e-9)
    assert model.optimizer.iterations > 0
