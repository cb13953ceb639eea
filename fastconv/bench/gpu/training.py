"""Training on the GPU: how long a network takes to learn its data, and a step beside PyTorch's.

As a program: python -m fastconv.bench.gpu.training FILE.json, which is up to date after each of the two.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv import datasets, layers, utils
from fastconv.bench import peers
from fastconv.bench.gpu import stand_in
from fastconv.bench.gpu.session import Session, module
from fastconv.bench.model.compare import ModelResult, compare
from fastconv.models import Sequential, zoo
from fastconv.utils.files import atomic_write

_SIZES, _SECONDS = (64, 256), 2.0
_EPOCHS, _BATCH = 5, 64
_WANTED = 0.988  # of the test images, after five epochs of all of MNIST


def run(session: Session, limit_s: float) -> None:
    """Both, in a program of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "training.json"
        command = module("fastconv.bench.gpu.training", str(file))
        ended = session.run(command, limit_s, "training", lambda line: session.say(f"  {line}"))
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    session.record["training"] = found
    texts = [_learned(found["learned"])] if "learned" in found else ["nothing was learned"]
    text = "; ".join(texts + ([_steps(found["steps"])] if "steps" in found else ["no step was timed"]))
    mine = [row for row in found.get("steps", {}).get("rows", ()) if row["contestant"] == "fastconv"]
    bad = [row for row in mine if row["status"] != "timed"]
    if bad:
        text += f"; fastconv {bad[0]['status']}: {bad[0]['message']}"
    if ended.code != 0:
        text += f"; the program {ended.why()}"
    good = ended.code == 0 and mine and not bad and found["learned"]["as_wanted"]
    session.done("training", "passed" if good else "failed", text)


def main(file: str) -> int:
    """Measure; the exit code is 0 if that went to its end."""
    stand_in.take_the_gpus_place()
    dry, found = stand_in.wanted(), {}
    model, sizes, seconds = (_tiny(), (2,), 0.01) if dry else (zoo.mnist(), _SIZES, _SECONDS)
    names = [name for name in ("torch",) if name in peers.installed()]
    found["learned"] = _learn(_tiny, _tiny_data(), 2) if dry else _learn(zoo.mnist, _data(), _EPOCHS)
    _write(found, file)
    print(_learned(found["learned"]), flush=True)
    result = ModelResult("tiny" if dry else "mnist", [], 0)
    compare(model, result.model, names, sizes, None, seconds, result=result, device="gpu")
    found["steps"] = asdict(result)
    _write(found, file)
    print(_steps(found["steps"]), flush=True)
    return 0


def _learn(build: Callable[[], Sequential], data: tuple[str, Any, Any], epochs: int) -> dict[str, Any]:
    """Train from the model's making to the test's accuracy, on the GPU."""
    name, (x, y), (x_test, y_test) = data
    started = time.perf_counter()
    utils.set_random_seed(1)
    with fastconv.device("gpu"):
        model = build()
        ends: list[float] = []
        done = fastconv.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
        model.fit(x, y, batch_size=_BATCH, epochs=epochs, verbose=0, callbacks=[done])
        accuracy = model.evaluate(x_test, y_test, batch_size=1000, verbose=0, return_dict=True)["accuracy"]
    seconds = time.perf_counter() - started
    return {
        "data": name,
        "samples": len(x),
        "epochs": epochs,
        "seconds": seconds,
        "last_epoch_s": ends[-1] - ends[-2],
        "accuracy": accuracy,
        "as_wanted": name != "mnist" or accuracy >= _WANTED,
    }


def _data() -> tuple[str, Any, Any]:
    """MNIST where it has been downloaded, else the part of it that fastconv brings along."""
    try:
        name, (train, test) = "mnist", datasets.mnist.load_data()
    except Exception as error:  # whatever a download says without a network
        print(f"all of MNIST is not here: {error}".splitlines()[0], flush=True)
        name, (train, test) = "mnist_5k", datasets.mnist_5k.load_data()
    parts = [(np.asarray(x, np.float32)[..., None] / 255, utils.to_categorical(y, 10)) for x, y in (train, test)]
    return name, *parts  # type: ignore[return-value]


def _tiny() -> Sequential:
    """For the dry run."""
    inner = [layers.Conv2D(2, 2, activation="relu"), layers.Flatten(), layers.Dense(2, activation="softmax")]
    model = Sequential([layers.Input((3, 3, 1)), *inner])
    model.compile("rmsprop", "categorical_crossentropy", metrics=["accuracy"])
    return model


def _tiny_data() -> tuple[str, Any, Any]:
    x = np.random.default_rng(0).normal(size=(4, 3, 3, 1)).astype(np.float32)
    part = x, utils.to_categorical([0, 1, 0, 1])
    return "tiny", part, part


def _steps(steps: dict[str, Any]) -> str:
    """How a step compares, in a line."""
    found = []
    for size in steps["sizes"]:
        times = {
            f"{row['contestant']} {row['configuration']}": timing["median_ms"]
            for row in steps["rows"]
            if (timing := row["train"].get(size, row["train"].get(str(size)))) is not None
        }
        listed = ", ".join(f"{name} {ms:.3g}" for name, ms in sorted(times.items(), key=lambda item: item[1]))
        found.append(f"a step of {size}, ms: {listed or 'none'}")
    return "; ".join(found)


def _learned(learned: dict[str, Any]) -> str:
    return (
        f"{learned['epochs']} epochs of {learned['data']} in {learned['seconds']:.1f} s (the last "
        f"{learned['last_epoch_s']:.2f} s): accuracy {learned['accuracy']:.4f}"
    )


def _write(found: dict[str, Any], file: str) -> None:
    with atomic_write(file) as stream:
        stream.write(json.dumps(found).encode())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
