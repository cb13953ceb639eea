"""`fastconv train`: train a network, measure it on data it has not seen, keep what came of it."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import machine
from fastconv.callbacks import Callback
from fastconv.cli import checks, report
from fastconv.cli.checks import CommandError
from fastconv.datasets import fashion_mnist, mnist, mnist_5k
from fastconv.datasets.files import Arrays
from fastconv.models import Model
from fastconv.optimizers import Adam, schedules
from fastconv.utils import set_random_seed, to_categorical
from fastconv.utils.optional import require

HELP = "Train a network on 28 x 28 images in ten classes and measure it on the held-out test set."
EXAMPLES = """examples:
  fastconv train
  fastconv train --dataset mnist --data DIR --epochs 5 --json result.json
  fastconv train --dataset fashion_mnist --save fashion.keras --plot curves.png
  fastconv train --model mine.py:build
    where build() in mine.py returns a Sequential or Model for (28, 28, 1) images in [0, 1] and ten classes;
    if build() has not compiled it, it gets adam and sparse_categorical_crossentropy.

Ctrl-C ends the training; what has been learned so far is measured and saved.
"""


@dataclass(frozen=True)
class Preset:
    """What is used with a dataset unless the command line says otherwise.

    peak_learning_rate: where given, and where no other model is, Adam with a rate that falls from here to 0 along a
        cosine replaces the model's optimizer: on few images a constant rate ends wherever the last steps throw it.
    """

    model: str
    epochs: int
    batch_size: int
    peak_learning_rate: float | None = None


PRESETS = {
    "mnist-5k": Preset("mnist", epochs=10, batch_size=64, peak_learning_rate=0.003),
    "mnist": Preset("mnist", epochs=5, batch_size=64),
    "fashion_mnist": Preset("fashion", epochs=10, batch_size=32),
}
_SOURCES = {"mnist": mnist.SOURCE, "fashion_mnist": fashion_mnist.SOURCE}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fastconv train`."""
    defaults = "; ".join(f"{name}: {preset.epochs}" for name, preset in PRESETS.items())
    add = parser.add_argument
    add("--dataset", choices=PRESETS, default="mnist-5k", help="default: mnist-5k, which comes with fastconv")
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder or .npz of the dataset; default: looked for, else downloaded",
    )
    add("--model", metavar="NAME", help="mnist, fashion or FILE.py:function; default: the dataset's")
    add("--epochs", type=checks.whole_number(1), metavar="N", help=f"default: {defaults}")
    add("--batch-size", type=checks.whole_number(1), metavar="N", help="default: 64; fashion_mnist: 32")
    add("--seed", type=checks.whole_number(0, 2**32 - 1), default=0, metavar="N", help="default: 0")
    add("--save", type=checks.output_file(".keras"), metavar="FILE.keras", help="keep the trained model")
    add(
        "--plot",
        type=checks.output_file(".png", ".pdf", ".svg"),
        metavar="FILE.png",
        help="draw loss and accuracy",
    )
    add("--json", type=checks.output_file(".json"), metavar="FILE.json", help="keep the numbers")


def run(args: argparse.Namespace) -> int:
    """Train as `args` say; the exit code is 0, or 130 after Ctrl-C.

    Raises:
        CommandError: an argument cannot be followed; nothing has been trained or written.
    """
    seconds = {"import": machine.process_age_s()}
    preset = PRESETS[args.dataset]
    spec, epochs = args.model or preset.model, args.epochs or preset.epochs
    batch_size = args.batch_size or preset.batch_size
    if args.plot:
        _require_plot()
    make_model = checks.model_function(spec, checks.MODELS, "--model")
    (train_set, test_set), source = _load(args.dataset, args.data)
    seconds["data"] = machine.process_age_s() - seconds["import"]

    set_random_seed(args.seed)
    model = _build(make_model, spec)
    x_train, y_train = _as_input(train_set, model)
    x_test, y_test = _as_input(test_set, model)
    if preset.peak_learning_rate and args.model is None:
        steps = epochs * -(-len(x_train) // batch_size)
        optimizer = Adam(schedules.CosineDecay(preset.peak_learning_rate, steps))
        model.compile(optimizer=optimizer, loss=model.loss, metrics=["accuracy"])
    print(f"Data: {args.dataset} from {source}: {len(x_train)} images to train on, {len(x_test)} to test with")
    model.summary()

    _announce_compilation()
    clock = Clock()
    history = model.fit(x_train, y_train, epochs=epochs, batch_size=batch_size, callbacks=[clock])
    interrupted = len(history.epoch) < epochs
    if interrupted:
        print(f"{len(history.epoch)} of {epochs} epochs are whole; keeping what there is.")
    if args.save:
        model.save(args.save)
    test = None
    try:
        started = time.perf_counter()
        test = model.evaluate(x_test, y_test, batch_size=256, verbose=0, return_dict=True)
        seconds["evaluate"] = time.perf_counter() - started
        print("Test " + ", ".join(f"{name}: {test[name]:.4f}" for name in sorted(test)))
    except KeyboardInterrupt:
        interrupted = True

    if args.json:
        result = {
            "dataset": args.dataset,
            "data_source": str(source),
            "model": spec,
            "parameters": model.count_params(),
            "seed": args.seed,
            "epochs": epochs,
            "epochs_done": len(history.epoch),
            "batch_size": batch_size,
            "history": history.history,
            "test": test,
            "seconds": {
                "total": machine.process_age_s(),
                **seconds,
                "first_step": clock.first_step_s,
                "per_epoch": clock.epochs_s,
            },
        }
        report.write_json(args.json, result)
    if args.plot:
        report.write_plot(args.plot, history.history, test, title=f"{args.dataset}, {spec}")
    for kept in (args.save, args.json, args.plot):
        if kept:
            print(f"Wrote {kept}")
    return 130 if interrupted else 0


class Clock(Callback):
    """Takes the time of the first step, which compiles or loads the kernels, and of each whole epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.first_step_s: float | None = None
        self.epochs_s: list[float] = []
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.first_step_s is None:
            self.first_step_s = time.perf_counter() - self._started

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epochs_s.append(time.perf_counter() - self._started)


def _announce_compilation() -> None:
    """Say why the first step takes long, where no kernel has been compiled yet."""
    from fastconv.kernels.cpu_jit import cache_folder

    if not any(cache_folder().glob("*/*.nbi")):
        print(f"Compiling the kernels, on the first run only; they are kept in {cache_folder()}", flush=True)


def _require_plot() -> None:
    try:
        require("matplotlib.figure", extra="plot")
    except ImportError as error:
        raise CommandError(f"--plot: {error}") from None


def _load(dataset: str, data: Path | None) -> tuple[Arrays, str]:
    """The arrays, and where they are from."""
    if dataset == "mnist-5k":
        if data is not None:
            raise CommandError(
                f"--data: mnist-5k comes with fastconv; give --dataset {' or '.join(_SOURCES)} with --data."
            )
        return mnist_5k.load_data(), "fastconv itself"
    try:
        arrays, path = _SOURCES[dataset].load(data)
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error
    return arrays, str(path)


def _build(make_model: Any, spec: str) -> Model:
    model = make_model()
    if not isinstance(model, Model):
        raise CommandError(f"--model {spec} must return a fastconv.Sequential or Model, got {type(model).__name__}.")
    if not model.compiled:
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _as_input(samples: tuple[np.ndarray, np.ndarray], model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Images as float32 (N, 28, 28, 1) in [0, 1]; labels as the model's loss wants them."""
    images, labels = samples
    loss = model.loss if isinstance(model.loss, str) else type(model.loss).__name__
    x = images[..., np.newaxis].astype(np.float32) / 255
    return x, labels if "sparse" in loss.lower() else to_categorical(labels, 10)
