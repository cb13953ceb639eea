"""`compare`: a model in fastconv and in other frameworks: training step, predictions, start-up and memory.

Every contestant runs in a process of its own: started twice for its start-up, with an empty and with a filled cache of
compiled code, and a third time for the timings, in which all the processes take turns.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from fastconv import machine
from fastconv.bench.allocator import ENVIRONMENT
from fastconv.bench.contestant import Unsupported
from fastconv.bench.limits import measured
from fastconv.bench.model.contestants import CONFIGURATIONS
from fastconv.bench.model.description import data, describe
from fastconv.bench.model.process import WorkerError, WorkerProcess
from fastconv.bench.quiet import time_quietly
from fastconv.bench.result import provenance
from fastconv.models import Sequential

_TOLERANCE = 1e-4  # of predictions, absolute: the models' outputs are of the order of 1
_LOSS_TOLERANCE = 1e-3  # relative, of the first step's loss
_STEPS = 5  # before memory is read
_FOLDER = Path(__file__).parent / "contestants"
_CACHES = ("NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR")


@dataclass
class ModelRow:
    """One contestant in one configuration.

    status: "timed", "wrong" (its predictions or its first loss differ from fastconv's), "unsupported" or "failed";
        `message` says why.
    import_s: of importing the framework.
    first_step_empty_s, first_step_filled_s: from the process's start to the end of its first training step (of the
        first prediction where it does not train), with no compiled code kept from before, and with what that run kept.
    peak_bytes: the most memory of a process that imports, builds and trains a few steps.
    train, predict: by batch size, {"median_ms", "p20_ms", "p80_ms", "repeats"}.
    """

    contestant: str
    configuration: str
    status: str = "timed"
    message: str = ""
    import_s: float | None = None
    first_step_empty_s: float | None = None
    first_step_filled_s: float | None = None
    peak_bytes: int | None = None
    train: dict[int, dict[str, float]] = field(default_factory=dict)
    predict: dict[int, dict[str, float]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name with the configuration, where it has several."""
        return self.contestant if self.contestant == "fastconv" else f"{self.contestant} {self.configuration}"


@dataclass
class ModelResult:
    """All contestants, with what they were measured on.

    device: "cpu" or "gpu".
    percent_of_limits_meanwhile: by task, "train 64", what multiply-adds and copies reached; below 94 something else
        ran, too.
    """

    model: str
    sizes: list[int]
    threads: int
    device: str = "cpu"
    rows: list[ModelRow] = field(default_factory=list)
    percent_of_limits_meanwhile: dict[str, float] = field(default_factory=dict)
    interrupted: bool = False

    def to_dict(self, command: str) -> dict[str, Any]:
        """Everything as plain data, with machine, versions and commit."""
        return {**provenance(command), **asdict(self)}


def compare(
    model: Sequential,
    name: str,
    peer_names: Sequence[str] = (),
    sizes: Sequence[int] = (64,),
    threads: int | None = None,
    seconds: float = 1.0,
    progress: Callable[[str, float], object] = lambda text, share: None,
    result: ModelResult | None = None,
    device: str = "cpu",
) -> ModelResult:
    """Measure fastconv and the peers.

    Args:
        model: with a fixed input shape; compiled if training steps are wanted.
        name: what the result calls it.
        peer_names: of `peers.PEERS`, installed.
        sizes: batch sizes of training steps and predictions; a prediction of one sample is measured in addition.
        threads: processors that each process may use; by default what Numba uses.
        seconds: for each contestant and timing, at most; see `time_in_turn`.
        progress: called often.
        device: "cpu" or "gpu": where all contestants run.
        result: receives what is ready; after Ctrl-C what was done, with `interrupted` True.

    Raises:
        ValueError: the model has no fixed input shape.
    """
    description = describe(model)
    count = threads or machine.threads()
    result = ModelResult(name, list(sizes), count) if result is None else result
    result.model, result.sizes, result.threads, result.device = name, list(sizes), count, device
    with tempfile.TemporaryDirectory(prefix="fastconv-bench-") as folder, ExitStack() as workers:
        contestants = _Contestants(Path(folder), description, model.get_weights(), result)
        try:
            contestants.find(peer_names)
            contestants.start_up(progress)
            contestants.keep_running(workers)
            contestants.check(progress)
            contestants.time(seconds, progress)
        except KeyboardInterrupt:
            result.interrupted = True
    return result


class _Contestants:
    """The rows of a result, and the processes of those that are right so far."""

    def __init__(self, folder: Path, description: Any, weights: list[np.ndarray], result: ModelResult) -> None:
        self._folder, self._result = folder, result
        self._description, self._trains = description, bool(description["loss"])
        self._sizes = sorted({1, *result.sizes})
        (folder / "description.json").write_text(json.dumps(description), encoding="utf-8")
        np.savez(folder / "weights.npz", **{str(index): array for index, array in enumerate(weights)})  # type: ignore[arg-type]
        for size in self._sizes:
            x, y = data(description, size)
            np.savez(folder / f"data_{size}.npz", x=x, y=y)
        self._workers: dict[int, WorkerProcess] = {}  # by the row's place
        self._first_loss: dict[int, Any] = {}

    def find(self, peer_names: Sequence[str]) -> None:
        """A row for each configuration; fastconv first."""
        for name in ("fastconv", *peer_names):
            for configuration in CONFIGURATIONS[self._result.device].get(name, ()):
                row = ModelRow(name, configuration)
                if self._description["layers"] is None and name not in ("fastconv", "keras"):
                    row.status, row.message = "unsupported", self._description["reason"]
                self._result.rows.append(row)

    def start_up(self, progress: Any) -> None:
        """Each twice, the second time with the compiled code of the first."""
        rows, size = self._result.rows, self._result.sizes[0]
        for run, kind in enumerate(("empty", "filled")):
            for place, row in enumerate(rows):
                progress(f"starting {row.label}, {kind} cache", 0.5 * (run * len(rows) + place) / (2 * len(rows)))
                if row.status != "timed":
                    continue
                with _failing(row), self._worker(place) as worker:
                    loaded = worker.ask("load")
                    what = "train" if loaded["trains"] else "predict"
                    self._first_loss[place] = worker.ask("run", what=what, size=size, count=1)["loss"]
                    setattr(row, f"first_step_{kind}_s", time.perf_counter() - worker.begun)
                    row.import_s = loaded["import_s"]  # of the second run: the files are in memory then
                    worker.ask("run", what=what, size=size, count=_STEPS)
                    row.peak_bytes = worker.ask("memory")["bytes"]

    def keep_running(self, workers: ExitStack) -> None:
        """A process for each, until `workers` is closed."""
        for place, row in enumerate(self._result.rows):
            if row.status == "timed":
                self._workers[place] = workers.enter_context(self._worker(place, ENVIRONMENT))

    def check(self, progress: Any) -> None:
        """Compare the predictions, and where nothing is drawn at random the first loss, with fastconv's."""
        expected: dict[int, np.ndarray] = {}
        for place, worker in list(self._workers.items()):
            row = self._result.rows[place]
            progress(f"checking {row.label}", 0.5)
            with _failing(row):
                if self._result.rows[0].status != "timed":
                    raise WorkerError("fastconv itself failed: there is nothing to compare with")
                worker.ask("load")
                for size in self._sizes:
                    worker.ask("outputs", size=size)
                    outputs = np.load(self._folder / f"outputs_{size}.npy")
                    _check_predictions(outputs, expected.setdefault(size, outputs))
                self._check_loss(place)
            if row.status != "timed":
                del self._workers[place]

    def _check_loss(self, place: int) -> None:
        loss, expected = self._first_loss[place], self._first_loss[0]
        drawn = any(layer["class_name"] == "Dropout" for layer in self._description["config"]["layers"])
        if None in (loss, expected) or drawn:
            return
        if not abs(loss - expected) <= _LOSS_TOLERANCE * abs(expected):
            raise _Wrong(f"the first step's loss is {loss:.6g}, fastconv's {expected:.6g}")

    def time(self, seconds: float, progress: Any) -> None:
        """All in turn: predictions, then training steps, which change the weights."""
        sizes, limits = self._result.sizes, measured("cpu", self._result.threads)
        tasks = [("predict", size) for size in self._sizes]
        tasks += [("train", size) for size in sizes] if self._trains else []
        for done, (what, size) in enumerate(tasks):
            start, text = 0.55 + 0.45 * done / len(tasks), f"timing {what}, batch {size}"
            remote: dict[str, _Remote] = {}
            for place, worker in list(self._workers.items()):
                row, call = self._result.rows[place], _Remote(worker, what, size)
                with _failing(row):
                    try:
                        call(_STEPS)  # the first ones compile
                        remote[str(place)] = call
                    except Unsupported as reason:
                        row.message = f"no {what}: {reason}"
                if row.status != "timed":
                    del self._workers[place]
            timings, of_limits = time_quietly(
                remote,
                limits,
                seconds,
                lambda share: progress(text, start + share * 0.45 / len(tasks)),  # noqa: B023
                lambda call, count: call(count),
            )
            if of_limits is not None:
                self._result.percent_of_limits_meanwhile[f"{what} {size}"] = 100 * of_limits
            for key, timing in timings.items():
                getattr(self._result.rows[int(key)], what)[size] = {
                    "median_ms": 1e3 * timing.median_s,
                    "p20_ms": 1e3 * timing.p20_s,
                    "p80_ms": 1e3 * timing.p80_s,
                    "repeats": timing.samples,
                }

    def _worker(self, place: int, environment: Mapping[str, str] = MappingProxyType({})) -> WorkerProcess:
        row, cache = self._result.rows[place], self._folder / f"cache_{place}"
        variables = {name: str(cache / name) for name in _CACHES} | dict(environment)
        variables["FASTCONV_DEVICE"] = self._result.device
        variables["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        file = _FOLDER / f"with_{row.contestant}.py"
        return WorkerProcess(file, row.configuration, self._folder, self._result.threads, variables)


class _Wrong(Exception):
    """A contestant computes something else."""


@contextmanager
def _failing(row: ModelRow) -> Iterator[None]:
    """What goes wrong within ends this row, not the others."""
    try:
        yield
    except _Wrong as error:
        row.status, row.message = "wrong", str(error)
    except Unsupported as error:
        row.status, row.message = "unsupported", str(error)
    except WorkerError as error:
        row.status, row.message = "failed", str(error)


def _check_predictions(outputs: np.ndarray, expected: np.ndarray) -> None:
    if outputs.shape != expected.shape:
        raise _Wrong(f"predictions of shape {outputs.shape}, fastconv's {expected.shape}")
    worst = float(np.max(np.abs(outputs - expected)))
    if not worst <= _TOLERANCE:
        raise _Wrong(f"a prediction differs from fastconv's by {worst:.3g}, allowed: {_TOLERANCE}")


class _Remote:
    """Calls in another process; returns the seconds that they took there."""

    def __init__(self, worker: WorkerProcess, what: str, size: int) -> None:
        self._worker, self._what, self._size = worker, what, size

    def __call__(self, count: int = 1) -> float:
        return float(self._worker.ask("run", what=self._what, size=self._size, count=count)["seconds"])
