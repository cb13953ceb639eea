"""Where a `fit` is, and going on from there in another process as if nothing had happened."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastconv import random
from fastconv.callbacks import CallbackList
from fastconv.models.data import Epochs


class Position:
    """What belongs to a point in a `fit` besides the weights, the optimizer and the layers' random numbers.

    That is the epoch and the batch, the random numbers that are next and those that the order of the samples was
    drawn from, the metrics' running values, and what callbacks keep (`Callback.state_keys`).

    Attributes:
        epoch: the one that runs or comes next, from 0.
        batch: how many of its batches are done.
        finished: whether the training that is gone on with had been stopped already.
        interrupted: whether Ctrl-C has ended the `fit`.
    """

    def __init__(self, model: Any, source: Epochs, run: CallbackList, epoch: int) -> None:
        self._model = model
        self._source = source
        self._callbacks = [callback for callback in run.callbacks if callback.state_keys]
        self._resumed: Mapping[str, Any] | None = None
        self._assignments: list[tuple[Any, Any]] = []
        self.epoch = epoch
        self.batch = 0
        self.finished = False
        self.interrupted = False

    def describe(self) -> dict[str, Any]:
        """The position: a JSON object but for the lists of arrays among the values of its "callbacks"."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "stop_training": bool(self._model.stop_training),
            "pass": self._source.taken,
            "pass_random": random.state_to_json(self._source.began),
            "random": random.state_to_json(random.get_state()),
            "metrics": [_running_values(metric) for metric in self._model.metrics],
            "callbacks": [
                {"class": type(callback).__name__, **{key: getattr(callback, key) for key in callback.state_keys}}
                for callback in self._callbacks
            ],
        }

    def resume(self, described: Mapping[str, Any], assignments: list[tuple[Any, Any]]) -> None:
        """Let the `fit`, which has just begun, go on from what `describe` gave.

        Args:
            assignments: variables of the model and of its optimizer, and their values at that point.

        Raises:
            ValueError: it is no such description, or of another training; nothing has been changed then.
        """
        try:
            epoch, batch, taken = (int(described[key]) for key in ("epoch", "batch", "pass"))
            for key in ("pass_random", "random"):
                random.state_from_json(described[key])
            for metric, values in zip(self._model.metrics, described["metrics"], strict=True):
                _check_values(metric, values)
            names = [values["class"] for values in described["callbacks"]]
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise ValueError(f"this is no position in a training of {self._model.name}: {error!r}.") from error
        if min(epoch, batch, taken) < 0 or batch > taken:
            raise ValueError(f"this is no position in a training: {epoch=}, {batch=}, {taken=}.")
        if names == [type(callback).__name__ for callback in self._callbacks]:
            for callback, values in zip(self._callbacks, described["callbacks"], strict=True):
                for key in callback.state_keys:
                    setattr(callback, key, values.get(key))
        self.epoch, self.batch = epoch, batch
        self.finished = bool(described["stop_training"])
        self._resumed, self._assignments = described, assignments
        self._assign()
        random.set_state(random.state_from_json(described["random"]))

    def begin_epoch(self, epoch: int) -> int:
        """How many of the epoch's batches have been done before; called when the hooks for its beginning have run."""
        resumed, self._resumed = self._resumed, None
        if resumed is None:
            self.epoch, self.batch = epoch, 0
            return 0
        if resumed["pass"]:
            random.set_state(random.state_from_json(resumed["pass_random"]))
            self._source.skip(int(resumed["pass"]), self.batch)
            random.set_state(random.state_from_json(resumed["random"]))
        if self.batch:
            self._assign()  # again: what the hooks change is in it
            for metric, values in zip(self._model.metrics, resumed["metrics"], strict=True):
                _set_values(metric, values)
        return self.batch

    def end_epoch(self) -> None:
        """All batches of the epoch are done, and so is its validation."""
        self.epoch += 1
        self.batch = 0

    def _assign(self) -> None:
        for target, value in self._assignments:
            target.assign(value)


def _running_values(metric: Any) -> dict[str, Any]:
    """What a metric has gathered since its last reset, by the names of the attributes that hold it."""
    fresh = copy.deepcopy(metric)
    fresh.reset_state()
    return {
        key: value.tolist() if isinstance(value, np.ndarray) else value
        for key, value in vars(metric).items()
        if isinstance(value, (int, float, np.ndarray)) and not np.array_equal(value, getattr(fresh, key))
    }


def _check_values(metric: Any, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if key not in vars(metric) or key in metric.config_keys or np.asarray(value).dtype.kind not in "bif":
            raise ValueError(f"{metric.name}: {value!r} is no value of {key}")


def _set_values(metric: Any, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        now = getattr(metric, key)
        dtype = now.dtype if isinstance(now, np.ndarray) else None
        setattr(metric, key, np.array(value, dtype) if isinstance(value, list) else value)
