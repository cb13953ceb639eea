"""`fastconv bench model`: what contestants are told, that a wrong one is found out, and one run from end to end."""

import json
import re

import numpy as np
import pytest

import fastconv as keras
from fastconv.bench import peers
from fastconv.bench.model import compare as compare_module
from fastconv.bench.model.compare import compare
from fastconv.bench.model.description import data, describe
from fastconv.cli import main
from fastconv.layers import Activation, AveragePooling2D, Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D, ReLU
from fastconv.models import zoo


def build(*layers, optimizer="sgd", loss="sparse_categorical_crossentropy"):
    model = keras.Sequential([Input((9, 8, 4)), *layers])
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
    return model


def every_option(**options):
    """A model of all the layers and options that peers are given, whose sides and sizes all differ."""
    return build(
        Conv2D(6, (3, 2), padding="same", activation="relu", groups=2),
        Conv2D(5, 2, strides=(2, 1), padding="same", activation="tanh", use_bias=False),
        AveragePooling2D((2, 3), strides=1, padding="valid"),
        Conv2D(7, 2, dilation_rate=(2, 1), activation="sigmoid"),
        MaxPooling2D((1, 3), strides=1),
        Flatten(),
        Dense(6, use_bias=False),
        Activation("relu"),
        Dense(3, activation="softmax"),
        **options,
    )


# What contestants are told.


def test_description():
    described = describe(every_option(optimizer="adam"))
    assert [layer["kind"] for layer in described["layers"]] == [
        *("conv2d", "conv2d", "average_pool2d", "conv2d", "max_pool2d", "flatten", "dense", "activation", "dense")
    ]
    first, second = described["layers"][:2]
    assert first["padding"] == (1, 1, 0, 1) and first["groups"] == 2 and first["activation"] == "relu"
    assert second["strides"] == (2, 1) and second["padding"] == (0, 1, 0, 1) and not second["bias"]
    assert described["layers"][6]["images"] == (2, 3, 7) and "images" not in described["layers"][8]
    assert described["optimizer"]["name"] == "Adam" and described["loss"] == "sparse_categorical_crossentropy"
    assert described["compile"]["metrics"] is None
    assert json.loads(json.dumps(described))["input_shape"] == [9, 8, 4]


@pytest.mark.parametrize(
    "model, reason",
    [
        (lambda: build(Flatten(), ReLU(max_value=6), Dense(3)), "no counterpart of the activation"),
        (lambda: build(Flatten(), Dense(3, activation="gelu")), "activation 'gelu'"),
        (lambda: build(Flatten(), Dense(3, activation="softmax"), Dense(3)), "a softmax before the end"),
        (lambda: build(MaxPooling2D(2, data_format="channels_first"), Flatten(), Dense(3)), "channels_last"),
        (lambda: build(Flatten(), Dense(3), optimizer="adagrad"), "the optimizer Adagrad"),
        (lambda: build(Flatten(), Dense(3), optimizer=keras.optimizers.Adam(amsgrad=True)), "option amsgrad"),
    ],
)
def test_what_has_no_counterpart_is_said(model, reason):
    described = describe(model())
    assert described["layers"] is None and reason in described["reason"]


def test_data_suit_the_loss():
    x, y = data(describe(every_option()), 5)
    assert x.shape == (5, 9, 8, 4) and x.dtype == np.float32
    assert y.shape == (5,) and y.dtype.kind == "i" and set(y) <= {0, 1, 2}
    _, y = data(describe(every_option(loss="categorical_crossentropy")), 5)
    assert y.shape == (5, 3) and (y.sum(1) == 1).all() and set(y.flat) == {0, 1}


def test_a_model_without_sizes_is_refused():
    with pytest.raises(ValueError, match="no fixed input shape"):
        describe(keras.Sequential([Dense(3)]))


def test_vgg_small():
    model = zoo.vgg_small()
    assert model.input_shape == (None, 32, 32, 3) and model.output_shape == (None, 10)
    assert model.count_params() == int(re.search(r"([\d,]+) weights", zoo.vgg_small.__doc__)[1].replace(",", ""))
    assert describe(model)["layers"] is not None


# Stand-ins for frameworks: they all compute softmax(x @ w) of a model that is one dense layer.

STAND_IN = """
import os, sys
import numpy as np

class load:
    def __init__(self, description, weights, configuration, threads):
        {in_load}
        self.w = weights[0]
        print("frameworks print things")

    def predictor(self, x):
        def predict():
            z = np.exp(x.reshape(len(x), -1) @ self.w)
            return z / z.sum(1, keepdims=True) {error}
        return predict

    def trainer(self, x, y):
        {in_trainer}
        def step():
            return {loss}
        return step

    @staticmethod
    def to_numpy(result):
        return np.asarray(result)
"""
STAND_INS = {
    "fastconv": {},
    "right": {},
    "wrong": {"error": "+ 1e-3"},
    "nan": {"error": "* np.nan"},
    "misled": {"loss": "1.01"},
    "raising": {"in_load": "raise ValueError('no such thing\\nand more')"},
    "dying": {"in_load": "sys.stderr.write('last words\\n'); os._exit(7)"},
    "unable": {"in_load": "raise NotImplementedError('it cannot')"},
    "inferring": {"in_trainer": "raise NotImplementedError('it is for inference only')"},
}


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    for name, differences in STAND_INS.items():
        parts = {"error": "", "loss": "1.0", "in_load": "pass", "in_trainer": "pass", **differences}
        (tmp_path / f"with_{name}.py").write_text(STAND_IN.format(**parts))
    monkeypatch.setattr(compare_module, "_FOLDER", tmp_path)
    monkeypatch.setattr(compare_module, "CONFIGURATIONS", {"cpu": dict.fromkeys(STAND_INS, ("plain",))})


def dense():
    model = keras.Sequential([Input((4,)), Dense(3, activation="softmax", use_bias=False)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


@pytest.mark.usefixtures("stand_ins")
def test_each_contestant_gets_what_it_deserves():
    names = [name for name in STAND_INS if name != "fastconv"]
    result = compare(dense(), "dense", names, sizes=[2, 8], threads=1, seconds=0.02)
    rows = {row.contestant: row for row in result.rows}
    assert {name: row.status for name, row in rows.items()} == {
        "fastconv": "timed",
        "right": "timed",
        "wrong": "wrong",
        "nan": "wrong",
        "misled": "wrong",
        "raising": "failed",
        "dying": "failed",
        "unable": "unsupported",
        "inferring": "unsupported",
    }
    assert "differs from fastconv's by 0.001" in rows["wrong"].message
    assert "loss is 1.01, fastconv's 1" in rows["misled"].message
    assert rows["raising"].message == "ValueError: no such thing"
    assert "exit code 7" in rows["dying"].message and "last words" in rows["dying"].message
    assert rows["unable"].message == "it cannot"
    for name in ("fastconv", "right"):
        row = rows[name]
        assert set(row.train) == {2, 8} and set(row.predict) == {1, 2, 8}
        assert all(timing["p20_ms"] <= timing["median_ms"] <= timing["p80_ms"] for timing in row.predict.values())
        assert 0 < row.import_s < row.first_step_filled_s < 60
        assert 5e6 < row.peak_bytes < 500e6, "NumPy and Python, without the tests' own memory"
    assert rows["wrong"].train == rows["wrong"].predict == {}


@pytest.mark.usefixtures("stand_ins")
def test_without_fastconv_there_is_nothing_to_compare_with(tmp_path):
    (tmp_path / "with_fastconv.py").write_text("raise ValueError('no such layer')")
    result = compare(dense(), "dense", ["right"], sizes=[2], threads=1, seconds=0.02)
    assert [row.status for row in result.rows] == ["failed", "failed"]
    assert [row.message for row in result.rows][0] == "ValueError: no such layer"
    assert "nothing to compare with" in result.rows[1].message and not result.rows[1].predict


@pytest.mark.usefixtures("stand_ins")
def test_ctrl_c_keeps_what_is_done():
    def progress(text, share):
        if "timing train" in text:
            raise KeyboardInterrupt

    result = compare(dense(), "dense", ["right"], sizes=[2], threads=1, seconds=0.02, progress=progress)
    assert result.interrupted
    assert all(row.first_step_filled_s and row.predict and not row.train for row in result.rows)


# The real ones.


def rows_of(capsys, tmp_path, text, *options):
    file, kept = tmp_path / "mine.py", tmp_path / "r.json"
    file.write_text(text)
    code = main(["bench", "model", f"{file}:build", "--seconds", "0.05", "--json", str(kept), *options])
    shown = capsys.readouterr()
    assert code == 0, shown.out + shown.err
    return json.loads(kept.read_text()), shown.out


MINE = """
import fastconv as keras
from fastconv.layers import Conv2D, Dense, Flatten, Input

def build():
    model = keras.Sequential([Input((9, 8, 4)), Conv2D(5, 3, activation="relu"), Flatten()])
    model.add(Dense(3, activation="softmax"))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
"""


def test_a_users_model_from_end_to_end(capsys, tmp_path):
    result, shown = rows_of(capsys, tmp_path, MINE, "--batch-sizes", "4")
    (row,) = result["rows"]
    assert (row["contestant"], row["status"]) == ("fastconv", "timed")
    assert set(row["train"]) == {"4"} and set(row["predict"]) == {"1", "4"}
    assert row["first_step_empty_s"] > 2 * row["first_step_filled_s"] > 0, "an empty cache means compiling"
    assert (
        result["versions"]["numba"]
        and result["machine"]["cpu"]
        and result["command"].startswith("fastconv bench model ")
    )
    assert re.search(r"fastconv +[\d.]+ +[\d.]+ +[\d.]+", shown)


@pytest.mark.parametrize("peer", list(peers.PEERS))
def test_peers_compute_the_same(peer, monkeypatch):
    """Predictions of every layer and option, and the first loss."""
    if peer not in peers.installed():
        pytest.skip(f"{peer} is not installed: pip install {' '.join(peers.PEERS[peer])}")
    monkeypatch.setitem(
        compare_module.CONFIGURATIONS["cpu"], "torch", ("NCHW", "channels_last")
    )  # compiling takes long
    result = compare(every_option(), "all", [peer], sizes=[3], seconds=0.02)
    assert [(row.label, row.message) for row in result.rows if row.status != "timed"] == []
    assert all(row.train or row.contestant == "onnxruntime" for row in result.rows)


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam", keras.optimizers.SGD(0.1, momentum=0.9)])
def test_dropout_and_optimizers_run_in_jax(optimizer):
    if "jax" not in peers.installed():
        pytest.skip("jax is not installed: pip install jax")
    model = build(Flatten(), Dropout(0.5), Dense(3, activation="softmax"), optimizer=optimizer)
    result = compare(model, "dropout", ["jax"], sizes=[3], seconds=0.02)
    assert [row.status for row in result.rows] == ["timed", "timed"] and result.rows[1].train
