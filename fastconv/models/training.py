"""`Trainer`: fit, evaluate, predict and their one-batch forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from fastconv.callbacks import CallbackList, History
from fastconv.callbacks.progbar_logger import resolve_verbose
from fastconv.models.data import (
    ArrayBatches,
    Batches,
    Epochs,
    StreamBatches,
    as_array,
    class_weights,
    is_stream,
)
from fastconv.models.parts import Parts, batch_shape
from fastconv.models.position import Position
from fastconv.models.stepping import Stepping
from fastconv.ops.dispatch import fixed_filters

# A diverged network has infinite and NaN values, without a warning for each batch.
_quiet = partial(np.errstate, over="ignore", invalid="ignore", divide="ignore")


class Trainer(Stepping):
    """The part of a model that learns. All arguments mean what they mean in Keras."""

    history: History | None = None
    position: Position | None = None  # while `fit` runs

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
    ) -> History:
        """Train for `epochs` passes over the data.

        Ctrl-C (KeyboardInterrupt) ends it after a clean-up: `on_train_end` of the callbacks runs,
        `stop_training` is True, a line is printed and the history of the whole epochs so far is returned.

        Args:
            x, y: arrays or nested lists; or x alone: a `utils.PyDataset`, a generator or an iterable of (x, y) or
                (x, y, sample_weight).
            batch_size: 32 by default; not with a generator.
            epochs, initial_epoch: the last epoch's number and the first's, from 0.
            verbose: 0 silent, 1 bar, 2 a line an epoch, "auto" a bar on terminals and lines elsewhere.
            callbacks: `callbacks.Callback` objects.
            validation_split: the share of the samples, the last ones before shuffling, that only validates.
            validation_data: (x, y), (x, y, sample_weight) or an iterable as for x; overrides
                `validation_split`.
            shuffle: whether every epoch takes the samples of arrays, or the batches of a PyDataset, in a new order.
            class_weight: weight in the loss by class number.
            sample_weight: weight in the loss for each sample.
            steps_per_epoch: batches in an epoch; None for all of them. The next epoch goes on where the last one ended,
                and arrays begin anew at their end (where Keras 3 cuts the epoch short).
            validation_steps, validation_batch_size: as for `evaluate`. A generator goes on where the last validation
                left it (Keras 3 repeats its first two batches).
            validation_freq: validate every so many epochs, or in the epochs listed, counted from 1.

        Returns:
            The `History`: `history.history` has a list with a value per epoch for every name.

        Raises:
            ValueError, TypeError: the model is not compiled, or data or options that do not suit; the model
                is as before then.
        """
        self._require_loss("fit", training=True)
        verbose, due = resolve_verbose(verbose), _validation_epochs(validation_freq)
        if not isinstance(shuffle, (bool, np.bool_)):
            raise ValueError(f"shuffle must be True or False; received {shuffle!r}.")
        batches = self._batches(x, y, sample_weight, batch_size, class_weight, shuffle=bool(shuffle))
        validation: Batches | None = None
        if validation_data is not None:
            parts = _unpack(validation_data)
            size = validation_batch_size or (None if is_stream(parts[0]) else batch_size)
            validation = self._batches(*parts, size)
        elif validation_split:
            if not isinstance(batches, ArrayBatches):
                raise ValueError("validation_split needs arrays; with a generator pass validation_data.")
            batches, validation = batches.split(validation_split)
            validation.batch_size = validation_batch_size or validation.batch_size
        source = Epochs(batches, steps_per_epoch)
        if validation is not None:
            _steps(validation, validation_steps, "validation_steps")
            self._check(validation, "validation_data")
        self._prepare(batches)
        if validation is not None:
            self.prepare_input(validation.peek()[0])

        run = CallbackList(
            callbacks,
            add_history=True,
            add_progbar=verbose != 0,
            model=self,
            verbose=verbose,
            epochs=epochs,
            steps=source.steps,
        )
        self.stop_training = False
        self.position = position = Position(self, source, run, initial_epoch)
        with run, _quiet(), closing(source):
            run.on_train_begin()
            logs: dict[str, float] = {}
            try:
                for epoch in range(position.epoch, 0 if position.finished else epochs):
                    logs = self._train_epoch(epoch, source, run, position)
                    if validation is not None and due(epoch + 1):
                        values = self._evaluate(validation, validation_steps, run)
                        logs.update({f"val_{name}": value for name, value in values.items()})
                        logs = {name: logs[name] for name in sorted(logs)}
                    position.end_epoch()
                    run.on_epoch_end(epoch, logs)
                    if self.stop_training or source.ran_out:
                        break
            except KeyboardInterrupt:
                self.stop_training = position.interrupted = True
            finally:
                if epochs > 0:
                    self.optimizer.finalize_variable_values(self.trainable_weights)
            run.on_train_end(logs)
        if position.interrupted:
            print(f"Interrupted in epoch {position.epoch + 1}/{epochs}: the weights so far are kept.", flush=True)
        return run.history  # type: ignore[return-value]

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """The loss, or a list of it and the metrics, over the data; with `return_dict` a dict by name.

        Args and Raises: as for `fit`; `steps` is how many batches to take, None for all.
        """
        self._require_loss("evaluate")
        batches = self._batches(x, y, sample_weight, batch_size)
        run = self._run_once(batches, steps, callbacks, verbose)
        self._prepare(batches)
        with run, _quiet():
            logs = self._evaluate(batches, steps, run)
        return logs if return_dict else self._objective.in_order(logs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """The outputs for all samples of an array, or of a generator of batches, as one array, or several.

        Args and Raises: as for `evaluate`; of tuples that a generator yields only x counts.
        """
        batches = self._batches(x, None, None, batch_size)
        run = self._run_once(batches, steps, callbacks, verbose)
        first = batches.peek()[0]
        self.prepare_input(first)
        outputs: list[list[np.ndarray]] = []
        results: list[np.ndarray] = []
        if isinstance(batches, ArrayBatches):
            count = min(batches.samples, (run.params or {})["steps"] * batches.batch_size)
            shapes: Any = self.compute_output_shape(first.shape)
            shapes = shapes if isinstance(shapes, list) else [shapes]
            results = [np.empty((count, *shape[1:]), self.dtype) for shape in shapes]
        done = 0
        with run, _quiet(), fixed_filters((run.params or {})["steps"]):
            run.on_predict_begin()
            for step, (batch, _, _) in enumerate(islice(batches, steps)):
                run.on_predict_batch_begin(step)
                parts = self._predict(batch)
                if not results:
                    outputs.append([part.copy() for part in parts])
                for result, part in zip(results, parts, strict=False):
                    result[done : done + len(part)] = part
                done += len(parts[0])
                if run.has_predict_batch_hooks:
                    run.on_predict_batch_end(step, {"outputs": self.as_outputs([part.copy() for part in parts])})
            run.on_predict_end()
        return self.as_outputs(results or [np.concatenate(column) for column in zip(*outputs, strict=True)])

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One step with one batch; returns what `evaluate` would for it, before the step."""
        self._require_loss("train_on_batch", training=True)
        batches = self._batches(x, y, sample_weight, None, class_weight)
        self._prepare(batches)
        self.reset_metrics()
        with _quiet():
            self._train_step(batches.whole(), self.backward_plan)
        logs = self._logs()
        return logs if return_dict else self._objective.in_order(logs)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss and metrics of one batch."""
        self._require_loss("test_on_batch")
        batches = self._batches(x, y, sample_weight, None)
        self._prepare(batches)
        self.reset_metrics()
        with _quiet():
            self._test_step(batches.whole())
        logs = self._logs()
        return logs if return_dict else self._objective.in_order(logs)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch."""
        if type(x) is np.ndarray and x.dtype == self.dtype and x.shape in self._accepted:
            batch = self.adapt(x)  # the usual case, where a few microseconds show in a batch of one
        else:
            batches = self._batches(x, None, None, None)
            self.prepare_input(batches.peek()[0])
            batch = batches.whole()[0]
        with _quiet():
            return self.as_outputs([part.copy() for part in self._predict(batch)])

    # One epoch.

    def _train_epoch(self, epoch: int, source: Epochs, run: CallbackList, position: Position) -> dict[str, float]:
        plan = self.backward_plan
        self.reset_metrics()
        run.on_epoch_begin(epoch)
        for step, batch in enumerate(source, position.begin_epoch(epoch)):
            run.on_train_batch_begin(step)
            self._train_step(batch, plan)
            position.batch = step + 1
            if run.has_train_batch_hooks:
                run.on_train_batch_end(step, self._batch_logs())
            if self.stop_training:
                break
        return self._logs()

    def _evaluate(self, batches: Batches, steps: int | None, run: CallbackList) -> dict[str, float]:
        self.reset_metrics()
        run.on_test_begin()
        done = 0
        with fixed_filters(_steps(batches, steps, "steps")):
            for done, batch in enumerate(islice(batches, steps), 1):
                run.on_test_batch_begin(done - 1)
                self._test_step(batch)
                if run.has_test_batch_hooks:
                    run.on_test_batch_end(done - 1, self._batch_logs())
        if not done:
            raise ValueError("there are no batches to evaluate: a generator can be used up only once.")
        logs = self._logs()
        run.on_test_end(logs)
        return logs

    # What comes before.

    @property
    def has_several_outputs(self) -> bool:
        """Whether y is a list or a dict."""
        return self.built and len(self.outputs) > 1

    def structured(self, value: Any, name: str) -> Any:
        """What a user gives as x, y or sample_weight as one array, or as `Parts` where the model has several.

        Raises:
            ValueError: not as many as the model takes or gives, or other names.
        """
        if name == "x":
            inputs = self.as_inputs(value)
            several = self.built and len(self.inputs) > 1
            return Parts([as_array(part, name, stays=True) for part in inputs]) if several else inputs
        if not self.has_several_outputs or (name == "sample_weight" and hasattr(value, "shape")):
            return value
        names = self.output_names
        if isinstance(value, Mapping):
            unknown = set(value) - set(names)
            if unknown:
                raise ValueError(f"{self._who} has the outputs {names}; {name} names {sorted(unknown)}.")
            value = [value.get(output) for output in names]
        if not isinstance(value, (list, tuple)) or len(value) != len(names):
            raise ValueError(
                f"{self._who} has the outputs {names}: {name} must be a list of so many arrays, or a dict."
            )
        return Parts(
            [
                None if part is None else as_array(part, f"{name} of {output}")
                for part, output in zip(value, names, strict=True)
            ]
        )

    def _require_loss(self, method: str, training: bool = False) -> None:
        if not self.compiled:
            raise ValueError(f"{self._who}: call compile() before {method}().")
        for name, given in (("loss", self.loss), ("optimizer", self.optimizer if training else True)):
            if given is None:
                raise ValueError(f"{self._who}: {method}() needs {name}; give one to compile().")

    def _batches(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        batch_size: int | None,
        class_weight: Mapping[int, float] | None = None,
        shuffle: bool = False,
    ) -> Batches:
        if isinstance(x, Mapping) and not self.built:
            raise ValueError(f"{self._who} has one input: x must be an array, not a dict.")
        if is_stream(x) and not isinstance(x, Mapping):
            for name, value in (("y", y), ("sample_weight", sample_weight), ("batch_size", batch_size)):
                if value is not None:
                    raise ValueError(f"{name} must not be given where x yields batches; received {value!r}.")
            return StreamBatches(
                x,
                dtype=self.dtype,
                adapt=self.adapt,
                class_weight=class_weight,
                shuffle=shuffle,
                structured=self.structured,
            )
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError("class_weight and sample_weight cannot be given together.")
            if self.has_several_outputs:
                raise ValueError(f"{self._who} has several outputs: give sample_weight in place of class_weight.")
            sample_weight = class_weights(None if y is None else as_array(y, "y"), class_weight)
        size = 32 if batch_size is None else batch_size
        x, y, sample_weight = (
            None if part is None else self.structured(part, name)
            for part, name in ((x, "x"), (y, "y"), (sample_weight, "sample_weight"))
        )
        return ArrayBatches(x, y, sample_weight, batch_size=size, dtype=self.dtype, shuffle=shuffle, adapt=self.adapt)

    def _check(self, batches: Batches, argument: str) -> None:
        """ValueError if these are no data to train on or to evaluate; changes nothing."""
        x, y, _ = batches.peek()
        if not len(x):
            raise ValueError(f"{argument} has no samples; received shape {x.shape}.")
        if y is None:
            raise ValueError(f"{self._who}: y is missing from {argument}; the loss needs it.")
        output_shape = self.compute_output_shape(batch_shape(x))
        self._objective.prepare(y, output_shape, self.dtype)

    def _prepare(self, batches: Batches) -> None:
        """Check, then build the model and its optimizer."""
        self._check(batches, "x")
        self.prepare_input(batches.peek()[0])
        if self.optimizer is not None and self.backward_plan.variables:
            self.optimizer.build(self.backward_plan.variables)

    def _run_once(self, batches: Batches, steps: int | None, callbacks: Any, verbose: int | str) -> CallbackList:
        verbose = resolve_verbose(verbose)
        total = _steps(batches, steps, "steps")
        return CallbackList(callbacks, add_progbar=verbose != 0, model=self, verbose=verbose, epochs=1, steps=total)


def _steps(batches: Batches, steps: int | None, argument: str) -> int | None:
    """How many batches there will be, None if that is not known."""
    if steps is None:
        return batches.steps
    if not hasattr(steps, "__index__") or steps < 1:
        raise ValueError(f"{argument} must be a positive integer or None; received {steps!r}.")
    return steps if batches.steps is None else min(steps, batches.steps)


def _unpack(validation_data: Any) -> tuple[Any, Any, Any]:
    if is_stream(validation_data):
        return validation_data, None, None
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
        raise ValueError(
            "validation_data must be (x, y), (x, y, sample_weight) or an iterable of batches; received "
            f"{type(validation_data).__name__}."
        )
    x, y, *weight = validation_data
    return x, y, weight[0] if weight else None


def _validation_epochs(frequency: int | Sequence[int]) -> Callable[[int], bool]:
    """Whether an epoch, counted from 1, ends with a validation."""
    if hasattr(frequency, "__index__") and frequency > 0:  # type: ignore[operator]
        return lambda epoch: epoch % frequency == 0  # type: ignore[operator]
    if isinstance(frequency, (list, tuple, set, frozenset, range)):
        return lambda epoch: epoch in frequency
    raise ValueError(f"validation_freq must be a positive integer or a list of epochs; received {frequency!r}.")
