"""Saved models: round trips, the layout of Keras 3, damaged and malicious files, interrupted writing."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile

import h5py
import numpy as np
import pytest

from fastconv import callbacks, constraints, initializers, layers, losses, metrics, optimizers, regularizers, utils
from fastconv.models.sequential import Sequential
from fastconv.saving import hdf5, load_model

MEMBERS = ["metadata.json", "config.json", "model.weights.h5"]


def convnet(**conv):
    """Every layer that an image classifier needs, with all sizes different."""
    return Sequential(
        [
            layers.Input((11, 9, 3)),
            layers.Conv2D(4, (3, 2), strides=(2, 1), padding="same", activation="relu", name="first", **conv),
            layers.MaxPooling2D((2, 1)),
            layers.Conv2D(6, 3, groups=2, use_bias=False, padding="same", name="second"),
            layers.AveragePooling2D(2),
            layers.ReLU(max_value=4.0, negative_slope=0.1),
            layers.Flatten(),
            layers.Dense(7, activation="tanh"),
            layers.Dropout(0.25),
            layers.Dense(5),
            layers.Softmax(),
        ],
        name="net",
    )


def small(optimizer="adam", units=4, **compile_options):
    model = Sequential(
        [
            layers.Input((5, 4, 2)),
            layers.Conv2D(3, 2),
            layers.Flatten(),
            layers.Dense(units, activation="softmax"),
        ]
    )
    if optimizer is not None:
        model.compile(optimizer, "sparse_categorical_crossentropy", **compile_options)
    return model


def batch(seed=0, shape=(5, 4, 2), classes=4, samples=12):
    random = np.random.default_rng(seed)
    return random.normal(size=(samples, *shape)).astype("float32"), random.integers(classes, size=samples)


def train(model, epochs=1, seed=0):
    return model.fit(*batch(seed), batch_size=5, epochs=epochs, shuffle=False, verbose=0)


def state(model):
    """Copies of all weights and of the optimizer's variables."""
    variables = [] if model.optimizer is None else model.optimizer.variables
    return [*model.get_weights(), *(variable.numpy() for variable in variables)]


def assert_same(have, want):
    assert len(have) == len(want)
    for a, b in zip(have, want, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path, **changes):
    """Replace members of a `.keras` file; keys are the names without what follows the first dot."""
    contents = members(path)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, changes.get(name.split(".")[0], data))


def edit_config(path, edit):
    config = json.loads(members(path)["config.json"])
    edit(config)
    rewrite(path, config=json.dumps(config))


def edit_weights(path, edit):
    """Change the HDF5 member of a `.keras` file in place."""
    stream = io.BytesIO(members(path)["model.weights.h5"])
    with h5py.File(stream, "r+") as file:
        edit(file)
    rewrite(path, model=stream.getvalue())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trained model, which no test changes, and the bytes of its file."""
    utils.set_random_seed(1)
    model = small()
    train(model)
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return model, path.read_bytes()


@pytest.fixture
def saved(trained, tmp_path):
    """The trained model and a file of it to play with."""
    path = tmp_path / "model.keras"
    path.write_bytes(trained[1])
    return trained[0], path


# Round trips


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kernel_initializer": "he_normal", "bias_initializer": initializers.Constant(0.5)},
        {"kernel_regularizer": "l2", "bias_regularizer": regularizers.L1L2(0.1, 0.2)},
        {"kernel_constraint": constraints.MaxNorm(2.0), "bias_constraint": "non_neg"},
        {"dilation_rate": 1, "use_bias": False, "trainable": False},
    ],
)
def test_a_model_comes_back_as_it_was(tmp_path, options):
    model = convnet(**options)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = load_model(path)
    assert loaded.get_config() == model.get_config()
    assert loaded.name == "net"
    assert not loaded.compiled
    assert_same(loaded.get_weights(), model.get_weights())
    x, _ = batch(shape=(11, 9, 3))
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_float64_and_channels_first(tmp_path):
    model = Sequential(
        [
            layers.Input((2, 6, 5), dtype="float64"),
            layers.Conv2D(3, 2, data_format="channels_first", dtype="float64"),
            layers.Flatten(data_format="channels_first", dtype="float64"),
            layers.Dense(3, dtype="float64"),
        ]
    )
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert {weight.dtype for weight in loaded.get_weights()} == {np.dtype("float64")}
    assert_same(loaded.get_weights(), model.get_weights())


OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.05),
    "momentum": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "adam": lambda: optimizers.Adam(0.01, clipnorm=1.0),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    "adamw": lambda: optimizers.AdamW(0.01),
    "adagrad": lambda: optimizers.Adagrad(0.05),
    "schedule": lambda: optimizers.Adam(optimizers.schedules.ExponentialDecay(0.01, 2, 0.5)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_with_the_same_bits(tmp_path, name):
    model = small(OPTIMIZERS[name](), metrics=["accuracy"])
    train(model, epochs=2)
    if name != "schedule":
        model.optimizer.learning_rate *= 0.3
    model.save(tmp_path / "model.keras")
    uninterrupted = train(model, epochs=2, seed=1).history
    loaded = load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is type(model.optimizer)
    assert train(loaded, epochs=2, seed=1).history == uninterrupted
    assert_same(state(loaded), state(model))


@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_dropout_goes_on_with_the_same_masks(tmp_path, ending):
    def dropping():
        model = Sequential([layers.Input((5, 4, 2)), layers.Flatten(), layers.Dropout(0.5), layers.Dense(4)])
        model.compile("sgd", "mse")
        return model

    model, x = dropping(), batch()[0]
    y = np.ones((len(x), 4))
    model.fit(x, y, batch_size=5, shuffle=False, verbose=0)
    if ending == ".keras":
        model.save(tmp_path / "model.keras")
        other = load_model(tmp_path / "model.keras")
    else:
        model.save_weights(tmp_path / "model.weights.h5")
        other = dropping()
        other.load_weights(tmp_path / "model.weights.h5")
    for one in (model, other):
        one.fit(x, y, batch_size=5, shuffle=False, verbose=0)
    assert_same(state(other), state(model))


def test_weights_of_the_first_versions_of_keras_3(tmp_path):
    model = small()
    model.save_weights(tmp_path / "model.weights.h5")
    with h5py.File(tmp_path / "model.weights.h5", "r+") as file:
        file.move("layers", "_layer_checkpoint_dependencies")
    other = small()
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same(other.get_weights(), model.get_weights())


def test_weights_alone_bring_the_optimizer_along(tmp_path):
    model = small()
    train(model, epochs=2)
    model.save_weights(tmp_path / "model.weights.h5")
    model.save(tmp_path / "model.keras")
    train(model, seed=1)
    for name in ("model.weights.h5", "model.keras"):
        other = small()
        other.load_weights(tmp_path / name)
        train(other, seed=1)
        assert_same(state(other), state(model))


def test_weights_go_into_a_model_that_is_not_compiled(saved):
    model, path = saved
    other = small(optimizer=None)
    other.load_weights(path)
    assert_same(other.get_weights(), model.get_weights())


def test_load_without_compiling(saved):
    loaded = load_model(saved[1], compile=False)
    assert not loaded.compiled
    assert_same(loaded.get_weights(), saved[0].get_weights())


def test_an_optimizer_saved_before_its_first_step(tmp_path):
    model = small(optimizers.Adam(0.25))
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert loaded.optimizer.learning_rate == 0.25
    train(model)
    train(loaded)
    assert_same(state(loaded), state(model))


def test_another_optimizers_state_is_left_out_with_a_warning(saved):
    other = small("sgd")
    with pytest.warns(UserWarning, match=r"optimizer has 10 variables, but sgd expects 2"):
        other.load_weights(saved[1])
    assert_same(other.get_weights(), saved[0].get_weights())
    assert other.optimizer.iterations == 0


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "mse", "metrics": ["mae", "accuracy"]},
        {"loss": losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)},
        {
            "loss": "categorical_crossentropy",
            "metrics": [metrics.TopKCategoricalAccuracy(k=2, name="top2")],
        },
    ],
)
def test_how_it_was_compiled_comes_back(tmp_path, options):
    model = small(optimizer=None)
    model.compile("sgd", **options)
    x, y = batch()
    y = utils.to_categorical(y, 4)
    before = model.evaluate(x, y, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert loaded.evaluate(x, y, verbose=0, return_dict=True) == before
    loaded.save(tmp_path / "again.keras")
    assert json.loads(members(tmp_path / "again.keras")["config.json"]) == json.loads(
        members(tmp_path / "model.keras")["config.json"]
    )


def test_a_loss_of_ones_own_is_left_out_with_a_warning(tmp_path):
    def mine(y_true, y_pred):
        return y_pred.max(axis=-1) - y_true

    model = small(metrics=[mine])
    train(model)
    with pytest.warns(UserWarning, match="saved without what compile.*mine"):
        model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    loaded.compile("adam", "sparse_categorical_crossentropy")
    loaded.load_weights(tmp_path / "model.keras")
    assert_same(state(loaded), state(model))


def test_sizes_given_as_numpy_numbers_are_saved(tmp_path):
    model = Sequential([layers.Input((5, 4, 2)), layers.Conv2D(np.int64(3), np.array([2, 1]))])
    model.save(tmp_path / "model.keras")
    assert load_model(tmp_path / "model.keras").get_config() == model.get_config()


def test_a_frozen_layer_stays_frozen_and_its_optimizer_fits(tmp_path):
    model = small(optimizer=None)
    model.layers[0].trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    train(model)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert not loaded.layers[0].trainable
    train(model)
    train(loaded)
    assert_same(state(loaded), state(model))


# Keras's layout


def test_the_archive_has_keras_members_stored(saved):
    with zipfile.ZipFile(saved[1]) as archive:
        assert [info.filename for info in archive.infolist()] == MEMBERS
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        metadata, config = (json.loads(archive.read(name)) for name in MEMBERS[:2])
    assert {"keras_version", "date_saved"} <= set(metadata)
    assert config["module"] == "keras"
    assert config["class_name"] == "Sequential"
    assert config["build_config"] == {"input_shape": [None, 5, 4, 2]}
    assert set(config["compile_config"]) >= {"optimizer", "loss", "metrics"}
    entries = config["config"]["layers"]
    assert [entry["class_name"] for entry in entries] == ["InputLayer", "Conv2D", "Flatten", "Dense"]
    assert {entry["module"] for entry in entries} == {"keras.layers"}
    assert entries[0]["config"]["batch_shape"] == [None, 5, 4, 2]
    assert entries[3]["build_config"] == {"input_shape": [None, 36]}


def test_the_weights_lie_where_keras_looks(tmp_path):
    model = convnet()
    model.compile("adam", "mse")
    x, _ = batch(shape=(11, 9, 3))
    model.fit(x, np.zeros((len(x), 5), "float32"), verbose=0)
    model.save_weights(tmp_path / "model.weights.h5")
    first, second, dense, last = (layer for layer in model.layers if layer.weights)
    with h5py.File(tmp_path / "model.weights.h5") as file:
        assert set(file) == {"vars", "layers", "optimizer"}
        assert len(file.attrs) == 0
        assert file["vars"].attrs["name"] == "net"
        assert set(file["layers"]) == {
            *("conv2d", "conv2d_1", "max_pooling2d", "average_pooling2d", "re_lu", "flatten"),
            *("dense", "dense_1", "dropout", "softmax"),
        }
        assert file["layers/conv2d/vars"].attrs["name"] == "first"
        assert len(file["layers/dropout/vars"]) == 0
        for group, layer in {"conv2d": first, "conv2d_1": second, "dense": dense, "dense_1": last}.items():
            assert_same([file[f"layers/{group}/vars/{i}"][()] for i in range(len(layer.weights))], layer.get_weights())
        assert file["optimizer/vars/0"][()] == model.optimizer.iterations
        assert file["optimizer/vars/1"][()] == np.float32(0.001) or file["optimizer/vars/1"][()] == 0.001
        assert file["optimizer/vars/2"].shape == file["optimizer/vars/3"].shape == (3, 2, 3, 4)
        assert len(file["optimizer/vars"]) == 2 + 2 * 7


def policy():
    return {
        "module": "keras",
        "class_name": "DTypePolicy",
        "config": {"name": "float32"},
        "registered_name": None,
    }


def keras_layer(class_name, config, **more):
    return {
        "module": "keras.layers",
        "class_name": class_name,
        "config": {"trainable": True, "dtype": {**policy(), "shared_object_id": 1402}, **config},
        "registered_name": None,
        **more,
    }


def initializer(class_name, **config):
    return {
        "module": "keras.initializers",
        "class_name": class_name,
        "config": config,
        "registered_name": None,
    }


def write_as_keras(path):
    """A file as Keras 3.15.1 on PyTorch writes it, put together by hand; returns its arrays."""
    glorot = initializer("GlorotUniform", seed=None, input_axes=None, output_axes=None)
    common = {
        "use_bias": True,
        "activation": "linear",
        "kernel_initializer": glorot,
        "bias_initializer": initializer("Zeros"),
        "kernel_regularizer": None,
        "bias_regularizer": None,
        "kernel_constraint": None,
        "bias_constraint": None,
    }
    conv = {
        **common,
        "name": "conv2d_7",
        "filters": 3,
        "kernel_size": [2, 2],
        "strides": [1, 1],
        "padding": "valid",
        "data_format": "channels_last",
        "dilation_rate": [1, 1],
        "groups": 1,
        "activation": "relu",
        "activity_regularizer": None,
        "kernel_regularizer": {
            "module": "keras.regularizers",
            "class_name": "L2",
            "config": {"l2": 0.01},
            "registered_name": None,
        },
    }
    adam = {
        "name": "adam",
        "learning_rate": 0.0010000000474974513,
        "weight_decay": None,
        "clipnorm": None,
        "global_clipnorm": None,
        "clipvalue": None,
        "use_ema": False,
        "ema_momentum": 0.99,
        "ema_overwrite_frequency": None,
        "loss_scale_factor": None,
        "gradient_accumulation_steps": None,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-07,
        "amsgrad": False,
    }
    shape = [None, 5, 4, 2]
    input_layer = {
        "batch_shape": shape,
        "dtype": "float32",
        "sparse": False,
        "ragged": False,
        "name": "input_layer",
        "optional": False,
    }
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {
            "name": "sequential_3",
            "trainable": True,
            "dtype": {**policy(), "shared_object_id": 1402},
            "layers": [
                {
                    "module": "keras.layers",
                    "class_name": "InputLayer",
                    "config": input_layer,
                    "registered_name": None,
                },
                keras_layer("Conv2D", conv, build_config={"input_shape": shape}),
                keras_layer(
                    "MaxPooling2D",
                    {
                        "name": "max_pooling2d_3",
                        "pool_size": [2, 1],
                        "padding": "valid",
                        "strides": [2, 1],
                        "data_format": "channels_last",
                    },
                ),
                keras_layer("ReLU", {"name": "re_lu", "max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0}),
                keras_layer("Activation", {"name": "activation", "activation": "tanh"}),
                keras_layer(
                    "Flatten",
                    {"name": "flatten_3", "data_format": "channels_last"},
                    build_config={"input_shape": [None, 2, 3, 3]},
                ),
                keras_layer("Dropout", {"name": "dropout", "rate": 0.3, "seed": 3, "noise_shape": None}),
                keras_layer(
                    "Dense",
                    {**common, "name": "dense_3", "units": 4, "quantization_config": None},
                    build_config={"input_shape": [None, 18]},
                ),
                keras_layer("Softmax", {"name": "softmax", "axis": -1}),
            ],
            "build_input_shape": shape,
        },
        "registered_name": None,
        "build_config": {"input_shape": shape},
        "compile_config": {
            "optimizer": {
                "module": "keras.src.backend.torch.optimizers.torch_adam",
                "class_name": "Adam",
                "config": adam,
                "registered_name": "Adam",
            },
            "loss": "sparse_categorical_crossentropy",
            "loss_weights": None,
            "metrics": ["accuracy"],
            "weighted_metrics": None,
            "run_eagerly": False,
            "steps_per_execution": 1,
            "jit_compile": False,
        },
    }
    random = np.random.default_rng(5)
    weights = [random.normal(size=s).astype("float32") for s in [(2, 2, 2, 3), (3,), (18, 4), (4,)]]
    slots = [random.uniform(size=w.shape).astype("float32") for w in weights for _ in "mv"]
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_group("vars").attrs["name"] = "sequential_3"
        for group in (
            "conv2d",
            "max_pooling2d",
            "re_lu",
            "activation",
            "flatten",
            "dropout",
            "dense",
            "softmax",
        ):
            file.create_group(f"layers/{group}/vars").attrs["name"] = group
        for index in range(2):
            file[f"layers/conv2d/vars/{index}"] = weights[index]
            file[f"layers/dense/vars/{index}"] = weights[2 + index]
        file["optimizer/vars/0"] = np.int32(17)
        file["optimizer/vars/1"] = np.float32(0.002)
        for index, slot in enumerate(slots):
            file[f"optimizer/vars/{2 + index}"] = slot
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1", "date_saved": "2026-11-23@10:22:05"}')
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", stream.getvalue())
    return weights, slots


def test_a_file_of_keras_opens(tmp_path):
    path = tmp_path / "keras.keras"
    weights, slots = write_as_keras(path)
    model = load_model(path)
    assert_same(model.get_weights(), weights)
    assert [layer.name for layer in model.layers][:2] == ["conv2d_7", "max_pooling2d_3"]
    assert model.name == "sequential_3"
    assert model.layers[0].kernel_regularizer is not None
    assert model.optimizer.iterations == 17
    assert model.optimizer.learning_rate == np.float32(0.002)
    assert_same([variable.numpy() for variable in model.optimizer.variables[2:]], slots)
    train(model)


# Files that do not fit, are damaged, or mean harm: nothing may happen but an error that names the file


def refuses(path, *words, error=ValueError):
    with pytest.raises(error) as caught:
        load_model(path)
    for word in (os.path.basename(path), *words):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../../../evil", "os.system", "__main__.Evil", "Lambda", "builtins.eval", "", 3, None]
)
def test_class_names_are_only_looked_up(saved, name):
    edit_config(saved[1], lambda config: config["config"]["layers"][1].update(class_name=name))
    refuses(saved[1])


@pytest.mark.parametrize(
    "place",
    [
        lambda config: config["config"]["layers"][1]["config"]["kernel_initializer"],
        lambda config: config["compile_config"]["optimizer"],
    ],
)
def test_class_names_inside_layers_and_compilation_are_only_looked_up(saved, place):
    edit_config(saved[1], lambda config: place(config).update(class_name="system", module="os"))
    refuses(saved[1], "'system'")


def test_modules_in_a_file_are_never_imported(saved, tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)

    def edit(config):
        for entry in config["config"]["layers"]:
            entry["module"] = entry["registered_name"] = "evil_module"
        config["module"] = config["compile_config"]["optimizer"]["module"] = "evil_module"

    edit_config(saved[1], edit)
    assert_same(load_model(saved[1]).get_weights(), saved[0].get_weights())


@pytest.mark.parametrize("class_name", ["Model", "Lambda", 7])
def test_only_models_that_there_are(saved, class_name):
    edit_config(saved[1], lambda config: config.update(class_name=class_name))
    refuses(saved[1], "Sequential", repr(class_name))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"class_name": "Sequential", "config": 3}',
        "[" * 100_000,
        b"\xff\xfe\x00",
    ],
)
def test_a_config_that_is_none(saved, text):
    rewrite(saved[1], config=text)
    refuses(saved[1])


@pytest.mark.parametrize(
    "edit",
    [
        lambda config: config["config"].pop("layers"),
        lambda config: config["config"].update(layers={"a": 1}),
        lambda config: config["config"]["layers"].append("Dense"),
        lambda config: config["config"]["layers"][3]["config"].update(units=-4),
        lambda config: config["config"]["layers"][3]["config"].update(units="many"),
        lambda config: config["config"]["layers"][3]["config"].update(surprise=1),
        lambda config: config["config"]["layers"][3].pop("config"),
        lambda config: config["config"]["layers"][0]["config"].update(batch_shape=[None, 5, 4]),
        lambda config: config["config"]["layers"][0]["config"].update(batch_shape="abc"),
        lambda config: config["compile_config"].update(loss="nonsense"),
        lambda config: config["compile_config"].update(optimizer=3),
        lambda config: config["compile_config"]["optimizer"]["config"].update(beta_1="x", surprise=2),
    ],
)
def test_a_config_with_nonsense(saved, edit):
    edit_config(saved[1], edit)
    refuses(saved[1])


def test_a_config_that_asks_for_more_memory_than_the_file_has_weights(saved):
    edit_config(saved[1], lambda config: config["config"]["layers"][3]["config"].update(units=2**40))
    refuses(saved[1], "more weights than the file can hold")


def soft_link(file):
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = h5py.SoftLink("/layers/conv2d/vars/0")


def external_link(file):
    del file["layers/dense/vars"]
    file["layers/dense/vars"] = h5py.ExternalLink("/etc/passwd", "/")


def external_group(file):
    del file["layers"]
    file["layers"] = h5py.ExternalLink("elsewhere.h5", "/layers")


def external_storage(file):
    del file["layers/dense/vars/1"]
    file.create_dataset("layers/dense/vars/1", (4,), "float32", external=[("/etc/passwd", 0, 16)])


def virtual_dataset(file):
    del file["layers/dense/vars/1"]
    layout = h5py.VirtualLayout((4,), "float32")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file.create_virtual_dataset("layers/dense/vars/1", layout)


def replace(data=None, **options):
    def edit(file):
        del file["layers/dense/vars/1"]
        file.create_dataset("layers/dense/vars/1", data=data, **options)

    return edit


def group_for_dataset(file):
    del file["layers/dense/vars/1"]
    file.create_group("layers/dense/vars/1")


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        (soft_link, "SoftLink"),
        (external_link, "ExternalLink"),
        (external_group, "ExternalLink"),
        (external_storage, "other files"),
        (virtual_dataset, "other files"),
        (replace(np.zeros(5, "float32")), "has shape (5,), but dense"),
        (replace(np.zeros((4, 1), "float32")), "has shape (4, 1)"),
        (replace(shape=(2**50,), dtype="float32"), f"has shape ({2**50},)"),
        (replace(shape=(4,), dtype="float32"), "not stored plainly"),
        (replace(np.zeros(4, "float32"), chunks=(4,), compression="gzip"), "not stored plainly"),
        (replace(np.zeros(4, "int32")), "has dtype int32"),
        (replace(np.zeros(4, "complex64")), "has dtype complex64"),
        (replace([b"abcd"] * 4), "has dtype"),
        (replace(["text"] * 4, dtype=h5py.string_dtype()), "has dtype object"),
        (replace(np.zeros(4, [("a", "f4")])), "has dtype"),
        (group_for_dataset, "is a Group"),
        (lambda file: file.pop("layers/dense/vars/1"), "layers/dense has 1 arrays"),
        (lambda file: file.move("layers/dense/vars/1", "layers/dense/vars/7"), "vars/1 is missing"),
        (lambda file: file.pop("layers"), "layers/conv2d has 0 arrays"),
        (lambda file: file.update({"layers/dense/vars/2": np.zeros(1)}), "layers/dense has 3 arrays"),
        (lambda file: file.update({"layers/conv2d_1/vars/0": np.zeros(1)}), "layers/conv2d_1 has weights"),
        (lambda file: file.pop("optimizer/vars/9"), "optimizer has 9 variables"),
        (lambda file: file.move("optimizer/vars/9", "optimizer/vars/x"), "optimizer/vars/9 is missing"),
    ],
)
def test_weights_that_do_not_fit_or_mean_harm(saved, edit, word):
    model, path = saved
    edit_weights(path, edit)
    refuses(path, word)
    before = state(model)
    if "optimizer" not in word:
        with pytest.raises(ValueError, match="model.keras"):
            model.load_weights(path)
        assert_same(state(model), before)


def test_unknown_groups_are_fine(saved):
    edit_weights(saved[1], lambda file: file.create_group("layers/something/vars"))
    edit_weights(saved[1], lambda file: file.update({"metrics/vars/0": np.zeros(3)}))
    assert_same(load_model(saved[1]).get_weights(), saved[0].get_weights())


def test_a_failure_half_way_leaves_the_model_alone(saved):
    model, path = small(), saved[1]
    edit_weights(path, replace(np.zeros(5, "float32")))
    train(model)
    before = state(model)
    with pytest.raises(ValueError, match=r"model\.keras.*dense.*/bias"):
        model.load_weights(path)
    assert_same(state(model), before)


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_archive(saved, keep):
    data = saved[1].read_bytes()
    saved[1].write_bytes(data[: int(len(data) * keep)])
    refuses(saved[1])


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_truncated_weights(tmp_path, keep):
    model, path = small(), tmp_path / "model.weights.h5"
    model.save_weights(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    before = state(model)
    with pytest.raises(ValueError, match=r"model\.weights\.h5 is not a readable HDF5 file"):
        model.load_weights(path)
    assert_same(state(model), before)


def test_a_flipped_bit_in_the_weights(saved):
    data = bytearray(saved[1].read_bytes())
    data[data.index(b"model.weights.h5") + 5000] ^= 1
    saved[1].write_bytes(data)
    refuses(saved[1], "CRC")


def test_a_missing_member(saved):
    contents = members(saved[1])
    with zipfile.ZipFile(saved[1], "w") as archive:
        archive.writestr("config.json", contents["config.json"])
    refuses(saved[1], "0 members called model.weights.h5")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_doubled_member(saved):
    with zipfile.ZipFile(saved[1], "a") as archive:
        archive.writestr("config.json", "{}")
    refuses(saved[1], "2 members called config.json")


def test_a_zip_bomb_is_not_unpacked(saved):
    contents = members(saved[1])
    with zipfile.ZipFile(saved[1], "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", contents["config.json"], zipfile.ZIP_STORED)
        archive.writestr("model.weights.h5", bytes(10**7))
    refuses(saved[1], "model.weights.h5 is compressed")


def test_a_huge_declared_size(saved):
    """The central directory says that the weights have 3 GiB."""
    data = bytearray(saved[1].read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    assert data[entry + 46 :].startswith(b"model.weights.h5")
    struct.pack_into("<II", data, entry + 20, 3 * 2**30, 3 * 2**30)
    saved[1].write_bytes(data)
    refuses(saved[1])


def test_a_config_that_is_too_long(saved, monkeypatch):
    monkeypatch.setattr(hdf5, "MOST_TEXT_BYTES", 1000)
    refuses(saved[1], "config.json has", "more than 1000")


def test_members_with_paths_are_not_written_anywhere(saved, tmp_path):
    with zipfile.ZipFile(saved[1], "a") as archive:
        archive.writestr("../escaped.txt", "x")
        archive.writestr("assets/x", "x")
    before = sorted(tmp_path.parent.rglob("*"))
    load_model(saved[1])
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_other_kinds_of_files(tmp_path):
    model = small()
    for action in (load_model, model.load_weights, model.save, model.save_weights):
        with pytest.raises(ValueError, match="must end in"):
            action(tmp_path / "a.txt")
    for name in ("a.keras", "a.weights.h5"):
        with pytest.raises(FileNotFoundError):
            model.load_weights(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "a.keras")
    (tmp_path / "text.keras").write_text("hello")
    refuses(tmp_path / "text.keras", "not a .keras file")


def test_a_model_that_is_not_built(tmp_path):
    model = Sequential([layers.Dense(3)])
    for action in (model.save, model.save_weights, model.load_weights):
        with pytest.raises(ValueError, match="buil"):
            action(tmp_path / ("a.keras" if action == model.save else "a.weights.h5"))
    assert list(tmp_path.iterdir()) == []


def test_overwrite(saved):
    model, path = saved
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"model\.keras exists"):
        model.save(path, overwrite=False)
    assert path.read_bytes() == before


# Interrupted writing


class Interrupted(BaseException):
    """Not an Exception, as KeyboardInterrupt and SystemExit are not."""


@pytest.mark.parametrize("where", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Interrupted()])
@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_an_older_file_survives(tmp_path, monkeypatch, where, error, ending):
    def fail(*arguments):
        raise error

    model, path = small(), tmp_path / f"model{ending}"
    save = model.save if ending == ".keras" else model.save_weights
    save(path)
    before = path.read_bytes()
    train(model)
    monkeypatch.setattr(os, where, fail)
    with pytest.raises(type(error)):
        save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("nth", range(3))
def test_an_older_file_survives_at_every_member(saved, monkeypatch, nth):
    model, path = saved
    before = path.read_bytes()
    write, calls = zipfile.ZipFile.writestr, []

    def fail(self, name, data, *arguments):
        calls.append(name)
        if len(calls) > nth:
            self.fp.write(b"half")
            raise Interrupted
        write(self, name, data, *arguments)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
    with pytest.raises(Interrupted):
        model.save(path)
    assert len(calls) == nth + 1
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_checkpoints_during_fit_can_be_resumed(tmp_path):
    model = small()
    checkpoint = callbacks.ModelCheckpoint(tmp_path / "{epoch:02d}.keras")
    x, y = batch()
    model.fit(x, y, batch_size=5, epochs=4, shuffle=False, verbose=0, callbacks=[checkpoint])
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"0{epoch}.keras" for epoch in range(1, 5)]
    resumed = load_model(tmp_path / "02.keras")
    resumed.fit(x, y, batch_size=5, epochs=4, initial_epoch=2, shuffle=False, verbose=0)
    assert_same(state(resumed), state(model))
