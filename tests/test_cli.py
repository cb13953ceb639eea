"""The command line: what it refuses, what it writes, and what Ctrl-C leaves."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import kernels, models
from fastconv.cli import main, report, train
from fastconv.datasets import mnist_5k

SMALL = """
import fastconv as keras

def build():
    return keras.Sequential([
        keras.layers.Input((28, 28, 1)),
        keras.layers.MaxPooling2D(4),
        keras.layers.Conv2D(6, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(10, activation="softmax"),
    ])

def compiled():
    model = build()
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    return model

def unmeasured():
    model = build()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy())
    return model

def not_a_model():
    return 3

number = 4
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.py"
    path.write_text(SMALL)
    return str(path)


@pytest.fixture
def no_training(monkeypatch):
    """Whatever is refused must be refused before there is a model or data."""
    monkeypatch.setattr(mnist_5k, "load_data", lambda: pytest.fail("the data was loaded"))
    monkeypatch.setattr(models.Sequential, "fit", lambda *args, **kwargs: pytest.fail("training began"))


def error_of(capsys, *argv):
    """The message of a command that must fail with exit code 2."""
    try:
        code = main(list(argv))
    except SystemExit as stopped:  # argparse's own errors
        code = stopped.code
    assert code == 2
    return capsys.readouterr().err


def test_version_and_help(capsys):
    for argv, expected in (
        (["--version"], f"fastconv {fastconv.__version__}"),
        (["train", "--help"], "mine.py:build"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(argv)
        assert stopped.value.code == 0
        assert expected in capsys.readouterr().out


def test_the_installed_command():
    command = Path(sys.executable).with_name("fastconv")
    if not command.exists():
        pytest.skip("the command is not installed beside this Python")
    shown = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == f"fastconv {fastconv.__version__}"


@pytest.mark.parametrize(
    "argv, message",
    [
        ([], "required"),
        (["train", "--dataset", "cifar10"], "invalid choice"),
        (["train", "--epochs", "0"], "a whole number from 1, got '0'"),
        (["train", "--epochs", "2.5"], "a whole number"),
        (["train", "--epochs", "many"], "a whole number from 1, got 'many'"),
        (["train", "--batch-size", "-1"], "a whole number"),
        (["train", "--seed", str(2**32)], "from 0 to 4294967295"),
        (["train", "--model", "resnet"], "mnist, fashion or FILE.py:function, got 'resnet'"),
        (["train", "--model", "no/such.py:build"], "no file 'no/such.py'"),
        (["train", "--json", "result.csv"], "a name ending in .json"),
        (["train", "--json", "no_such_folder/result.json"], "cannot write into the folder"),
        (["train", "--save", "model.txt"], "a name ending in .keras"),
        (["train", "--plot", "curves.xyz"], "a name ending in .png or .pdf or .svg"),
        (["train", "--data", "."], "mnist-5k comes with fastconv"),
        (["train", "--dataset", "mnist", "--data", "no_such_folder"], "no_such_folder does not exist"),
        (
            ["train", "--dataset", "fashion_mnist", "--data", "."],
            "neither fashion_mnist.npz nor train-images",
        ),
    ],
)
def test_refused(argv, message, no_training, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert message in error_of(capsys, *argv)
    assert list(tmp_path.iterdir()) == []


def test_output_paths_that_are_no_files(no_training, tmp_path, capsys):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").touch()
    assert "is a folder" in error_of(capsys, "train", "--json", str(tmp_path / "folder.json"))
    assert "cannot write" in error_of(capsys, "train", "--json", str(tmp_path / "file" / "a.json"))


def test_bad_model_functions(small, no_training, monkeypatch, capsys):
    assert "has no function 'absent'" in error_of(capsys, "train", "--model", f"{small}:absent")
    assert "has no function 'number'" in error_of(capsys, "train", "--model", f"{small}:number")
    monkeypatch.undo()
    assert "must return a fastconv.Sequential or Model, got int" in error_of(
        capsys, "train", "--model", f"{small}:not_a_model"
    )


def test_plot_without_matplotlib_names_the_extra(no_training, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "pip install 'fastconv[plot]'" in error_of(capsys, "train", "--plot", str(tmp_path / "curves.png"))


def run_train(tmp_path, model, *argv, name="result"):
    path = tmp_path / f"{name}.json"
    code = main(["train", "--model", model, "--epochs", "2", "--json", str(path), *argv])
    return code, json.loads(path.read_text())


def test_train_writes_what_it_measured(small, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    saved, plot = tmp_path / "model.keras", tmp_path / "curves.png"
    code, result = run_train(
        tmp_path,
        f"{small}:build",
        "--seed",
        "5",
        "--batch-size",
        "100",
        "--save",
        str(saved),
        "--plot",
        str(plot),
    )
    assert code == 0
    out = capsys.readouterr().out
    assert "mnist-5k from fastconv itself: 4000 images to train on, 1000 to test with" in out
    assert "conv2d" in out, "the summary is printed"
    assert f"Test accuracy: {result['test']['accuracy']:.4f}" in out

    expected = {"dataset": "mnist-5k", "seed": 5, "batch_size": 100, "epochs": 2, "epochs_done": 2}
    assert {key: result[key] for key in expected} == expected
    assert {key: len(values) for key, values in result["history"].items()} == {"accuracy": 2, "loss": 2}
    assert result["parameters"] == (3 * 3 * 6 + 6) + (5 * 5 * 6 * 10 + 10)
    seconds = result["seconds"]
    assert 0 < seconds["first_step"] <= seconds["per_epoch"][0] and len(seconds["per_epoch"]) == 2
    assert seconds["total"] > sum(seconds["per_epoch"]) + seconds["evaluate"]
    assert result["machine"]["cpu"] and result["machine"]["threads"] >= 1
    assert result["versions"]["fastconv"] == fastconv.__version__ and "numpy" in result["versions"]

    assert plot.read_bytes().startswith(b"\x89PNG")
    _, (x_test, y_test) = mnist_5k.load_data()
    probabilities = models.load_model(saved).predict(x_test[..., np.newaxis] / np.float32(255), verbose=0)
    assert np.mean(probabilities.argmax(axis=1) == y_test) == pytest.approx(result["test"]["accuracy"], abs=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == [
        "curves.png",
        "model.keras",
        "result.json",
        "small.py",
    ]


def test_the_seed_decides_the_result(small, tmp_path):
    model = f"{small}:compiled"
    first, again, other = (
        run_train(tmp_path, model, "--seed", seed, name=name)[1] for seed, name in (("1", "a"), ("1", "b"), ("2", "c"))
    )
    assert first["history"] == again["history"] and first["test"] == again["test"]
    assert first["history"] != other["history"]


def test_a_model_without_metrics(small, tmp_path, capsys):
    code, result = run_train(tmp_path, f"{small}:unmeasured")
    assert code == 0
    assert list(result["test"]) == ["loss"]
    assert f"Test loss: {result['test']['loss']:.4f}" in capsys.readouterr().out


def test_an_interruption_keeps_what_there_is(small, tmp_path, monkeypatch, capsys):
    steps = []

    def interrupt(self, batch, logs=None):
        steps.append(batch)
        if len(steps) == 50:  # of 40 an epoch
            raise KeyboardInterrupt

    monkeypatch.setattr(train.Clock, "on_train_batch_end", interrupt)
    saved = tmp_path / "model.keras"
    code, result = run_train(tmp_path, f"{small}:build", "--batch-size", "100", "--save", str(saved))
    assert code == 130
    assert "1 of 2 epochs are whole" in capsys.readouterr().out
    assert result["epochs_done"] == 1 and len(result["history"]["loss"]) == 1 and result["test"]["accuracy"] > 0
    assert saved.exists()


def test_a_second_interruption_skips_the_measurement(small, tmp_path, monkeypatch):
    def interrupt(self, *args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(models.Sequential, "evaluate", interrupt)
    code, result = run_train(tmp_path, f"{small}:build")
    assert code == 130
    assert result["test"] is None and len(result["history"]["loss"]) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to a single process")
def test_ctrl_c_from_outside(small, tmp_path):
    path = tmp_path / "result.json"
    # A program that is started in the background ignores SIGINT, and so would what it starts.
    listen = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{listen}; from fastconv.cli import main; sys.exit(main())", "train"]
    options = ["--model", f"{small}:build", "--epochs", "100000", "--json", str(path)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "/100000" in line and " 3/" in line:
                    process.send_signal(signal.SIGINT)
                    break
            rest, _ = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 130, "".join(lines) + rest
    assert "Traceback" not in rest
    assert json.loads(path.read_text())["epochs_done"] >= 2


def test_json_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    path.write_text("old")
    monkeypatch.setattr(report.machine, "describe", lambda: {"odd": object()})
    with pytest.raises(TypeError):
        report.write_json(path, {"a": 1})
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["r.json"]


def test_json_has_null_for_what_is_not_finite(tmp_path):
    path = tmp_path / "r.json"
    report.write_json(path, {"history": {"loss": [np.float32(0.5), np.float32("nan"), float("inf")]}, "n": np.int64(3)})
    result = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert result["history"] == {"loss": [0.5, None, None]} and result["n"] == 3


def test_info_shows_every_kernel(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for word in ("cpu", "threads", "gpu", "numpy", "datasets", "compiled"):
        assert word in out
    for op in kernels.ops():
        assert op in out
        for kernel in kernels.variants(op):
            assert kernel.name in out


def test_info_says_why_there_is_no_gpu(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    main(["info"])
    assert "none: no NVIDIA driver" in capsys.readouterr().out
