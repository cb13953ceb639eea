"""`Runner`: a model's steps on the GPU, each kind and shape of batch a program that is made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.gpu import objective as objective_module
from fastconv.gpu import updates
from fastconv.gpu.memory import Inlet, Memory
from fastconv.gpu.network import Network, check, in_training, recorded_class
from fastconv.gpu.objective import Scores
from fastconv.gpu.options import Options
from fastconv.gpu.parameters import Parameters
from fastconv.gpu.program import Recorder
from fastconv.gpu.rows import Rows
from fastconv.layers.layout import from_last, last
from fastconv.models.plan import ForwardPlan, Step

_ROWS = 256  # steps whose sums wait on the device before the host takes them
_ROW = updates.NUMBERS  # where among the numbers it says in which row of sums a step writes


class Runner:
    """Trains, evaluates and predicts with a model on the GPU.

    Args:
        model: built; for training compiled, with its optimizer built.

    Attributes:
        model, memory, parameters: what it was made for, where its arrays are, and the weights there.

    Raises:
        Unsupported: a layer, loss, metric or optimizer of the model runs on the CPU only; the message names it.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._objective = model._objective
        check(model)
        plan = model.backward_plan if model.compiled else None
        optimizer = model.optimizer if plan is not None and plan.variables else None
        if optimizer is not None and not optimizer.suits(plan.variables):  # type: ignore[union-attr]
            optimizer = None  # for predictions only
        trained = list(plan.variables) if optimizer is not None else []  # type: ignore[union-attr]
        slots: list[Any] = []
        if optimizer is not None:
            updates.check(optimizer, trained)
            slots = updates.state_of(optimizer, trained) if optimizer.built else []
        ids = {id(variable) for variable in trained}
        self.made_for = self.key(model)
        self.memory = Memory()
        others = [variable for variable in model.weights if id(variable) not in ids and variable.dtype.kind == "f"]
        self.parameters = Parameters(self.memory, trained, others, slots)
        self._steps: dict[Any, _Step] = {}
        self._totals: Any = None
        self._pending: list[tuple[list[float], int]] = []

    @staticmethod
    def key(model: Any) -> tuple[Any, ...]:
        """What a runner is made for: equal for a model that one runner suits."""
        optimizer = model.optimizer
        built = optimizer is not None and optimizer.built
        return optimizer, built, model._objective, model.forward_plan, model.trainable

    def suits(self, model: Any) -> bool:
        """Whether the model is still what it was made for."""
        return self.made_for == self.key(model)

    def prepare(self, kind: str, x: Any, y: np.ndarray | None = None, sample_weight: np.ndarray | None = None) -> _Step:
        """The program of a step for batches like this one: "train", "test" or "predict".

        Raises:
            Unsupported: as for the class; for a loss or metric that has not met data before it is known here.
            MemoryError: the device has no room for its arrays.
        """
        if kind == "train" and self.model.optimizer.only_collects:
            kind = "collect"
        key = kind, x.shape, type(x), None if y is None else (y.shape, y.dtype.kind)
        step = self._steps.get(key)
        if step is None or not step.options.still_hold():
            self._forget(key)
            step = self._steps[key] = _Step(self, kind, x, y, sample_weight)
        return step

    def _forget(self, key: Any) -> None:
        """Let go of a program, whose memory others may have once it has run."""
        if self._steps.pop(key, None) is not None:
            self.memory.wait()

    def train(self, x: Any, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        """Queue one training step."""
        self._run("train", x, y, sample_weight)
        self.parameters.changed()
        self.model.optimizer.count_step()

    def test(self, x: Any, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        """Queue one step of evaluation."""
        self._run("test", x, y, sample_weight)

    def predict(self, x: Any) -> np.ndarray:
        """The model's outputs, a new array of the host."""
        step = self._run("predict", x, None, None)
        return self.memory.download(step.y_pred)

    def settle(self) -> None:
        """Wait for all steps that were queued, and take their sums into the model's loss and metrics."""
        if self._pending:
            sums = self.memory.download(self._totals).astype(np.float64)
            for row, (counts, width) in zip(sums, self._pending, strict=False):
                objective_module.take(self._objective, row[:width], counts, float(row[width:].sum()))
            self._pending.clear()

    def release(self) -> None:
        """Bring everything back to the host; the runner is not used any more."""
        self.settle()
        self.parameters.release()

    def __deepcopy__(self, memo: Any) -> None:
        """A copy of a model makes a runner of its own."""
        return None

    def __reduce__(self) -> Any:
        return type(None), ()

    def _run(self, kind: str, x: Any, y: np.ndarray | None, sample_weight: np.ndarray | None) -> _Step:
        step = self.prepare(kind, x, y, sample_weight)
        self.parameters.push()
        if y is not None and len(self._pending) == _ROWS:
            self.settle()
        counts = step.run(x, y, sample_weight, len(self._pending))
        if y is not None:
            self._pending.append((counts, len(counts)))
        return step

    def totals(self, width: int) -> Any:
        """The sums of steps on the device, (rows, width)."""
        if self._totals is None or self._totals.shape[1] != width:
            self.settle()
            self._totals = self.memory.zeros((_ROWS, width))
        return self._totals


class _Step:
    """One kind of step for one shape of batch; `options` are those that it was made from."""

    def __init__(
        self, runner: Runner, kind: str, x: Any, y: np.ndarray | None, sample_weight: np.ndarray | None
    ) -> None:
        model, memory = runner.model, runner.memory
        self._model, self._memory = model, memory
        self.options = Options(model, kind)
        self._trains = kind in ("train", "collect")
        if self._trains:
            model.optimizer.check_variables(model.backward_plan.variables)
        plan = model.forward_plan
        self._numbers, self._drawing = updates.NUMBERS + 1, []
        for step, shape in zip(plan.steps, _shapes_taken(plan, [x.shape]), strict=True):
            count = recorded_class(step.layer).numbers(step.layer, shape) if in_training(step, self._trains) else 0
            if count:
                self._drawing.append(_Drawing(step, shape, slice(self._numbers, self._numbers + count)))
                self._numbers += count
        self._scores: Scores | None = None
        given: list[np.ndarray] = []
        if y is not None:
            self._scores = Scores(model._objective, model.compute_output_shape(x.shape))
            given, _ = self._scores.of_batch(y, sample_weight)
        formats = (layer.data_format for layer in plan.layers if hasattr(layer, "data_format"))
        self._format = next(formats, "channels_last")
        self._format = self._format if x.ndim == 4 else "channels_last"
        # Rows that lie on the device already do not come by the inlet.
        self._rows = memory.zeros((x.size,)) if isinstance(x, Rows) else None
        sizes = self._sizes(x, given)
        self._inlet = Inlet(memory, sum(map(_padded, sizes)))
        numbers, block, *parts = _cut(self._inlet.block, sizes)
        if self._rows is not None:
            block = self._rows
        recorder = Recorder(memory)
        network = Network(
            plan, recorder, runner.parameters, {id(drawing.step): numbers[drawing.place] for drawing in self._drawing}
        )
        self.y_pred = network.forward(self._as_x(block, x.shape), self._trains)
        if self._scores is not None:
            back = model.backward_plan
            penalties = network.penalties(back)
            totals = runner.totals(self._scores.width + len(penalties))
            fused = self._trains and model._combines_loss_and_activation
            gradient = memory.zeros(self.y_pred.shape) if self._trains else None
            row = numbers[_ROW : _ROW + 1]
            self._scores.record(recorder, self.y_pred, parts, totals, row, gradient, fused)
            for column, penalty in enumerate(penalties, self._scores.width):
                penalty.record(totals, row, column)
            if self._trains:
                network.backward(back, gradient, not fused)
                if back.variables:
                    rates = numbers[: updates.NUMBERS]
                    updates.record(recorder, model.optimizer, runner.parameters, rates, kind == "collect")
        self._program = recorder.program()

    def run(self, x: Any, y: np.ndarray | None, sample_weight: np.ndarray | None, row: int) -> list[float]:
        """Send a batch and queue the step; returns each score's sum of weights."""
        given: list[np.ndarray] = []
        counts: list[float] = []
        if self._scores is not None:
            given, counts = self._scores.of_batch(y, sample_weight)  # type: ignore[arg-type]
        numbers, block, *parts = _cut(self._inlet.begin(), self._sizes(x, given))
        rates = updates.next_numbers(self._model.optimizer) if self._trains else (0.0,) * updates.NUMBERS
        numbers[: updates.NUMBERS + 1] = *rates, row
        for drawing in self._drawing:
            numbers[drawing.place] = drawing.next_numbers()
        if self._rows is None:
            np.copyto(self._as_x(block, x.shape), x, casting="unsafe")
        for part, array in zip(parts, given, strict=True):
            np.copyto(part.reshape(array.shape), array, casting="unsafe")
        self._inlet.send()
        if self._rows is not None:
            self._memory.fill(self._as_x(self._rows, x.shape), x)
        self._program.run()
        return counts

    def _sizes(self, x: Any, given: Sequence[np.ndarray]) -> list[int]:
        """Elements of the parts of a block: the step's numbers, x, and what the scores are given."""
        return [self._numbers, 0 if self._rows is not None else x.size, *(array.size for array in given)]

    def _as_x(self, flat: Any, shape: tuple[int, ...]) -> Any:
        """Memory as an input of that shape: images lie channels last."""
        return (
            from_last(flat.reshape(last(shape, self._format)), self._format) if len(shape) == 4 else flat.reshape(shape)
        )


@dataclass
class _Drawing:
    """A step of the model that reads numbers anew in each step of training.

    Attributes:
        step, shape: the step, and of what it takes the shape.
        place: of its numbers among all.
    """

    step: Step
    shape: Any
    place: slice

    def next_numbers(self) -> Sequence[float]:
        """Those of the next step, which counts as begun."""
        return recorded_class(self.step.layer).next_numbers(self.step.layer, self.shape)


def _shapes_taken(plan: ForwardPlan, inputs: Sequence[Any]) -> list[Any]:
    """The shape of what each step of the plan takes, the first of several, for inputs of these shapes."""
    shapes = plan.shapes(inputs)
    return [shapes[step.sources[0]] for step in plan.steps]


def _cut(block: Any, sizes: Sequence[int]) -> list[Any]:
    """The parts of a block."""
    parts, start = [], 0
    for size in sizes:
        parts.append(block[start : start + size])
        start += _padded(size)
    return parts


def _padded(size: int) -> int:
    """Elements that a part of a block takes: the next one begins on a multiple of 256 bytes."""
    return -(-size // 64) * 64
