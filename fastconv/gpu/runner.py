"""`Runner`: a model's steps on the GPU, each kind and shape of batch a program that is made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.gpu import updates
from fastconv.gpu.memory import Inlet, Memory
from fastconv.gpu.network import Network, check, in_training, recorded_class
from fastconv.gpu.objective import AllScores, Kept, Row
from fastconv.gpu.options import Options
from fastconv.gpu.parameters import Parameters
from fastconv.gpu.program import Recorder
from fastconv.gpu.rows import Rows
from fastconv.layers.layout import from_last, last
from fastconv.models.objectives import Objectives
from fastconv.models.parts import batch_shape, each
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
        Unsupported: a layer or the optimizer of the model runs on the CPU only; the message names it.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
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
        self._pending: list[tuple[AllScores, list[float], list[float], int]] = []
        self.kept = Kept(self.memory)

    @staticmethod
    def key(model: Any) -> tuple[Any, ...]:
        """What a runner is made for: equal for a model that one runner suits."""
        optimizer = model.optimizer
        built = optimizer is not None and optimizer.built
        return optimizer, built, model._objective, model.forward_plan, model.trainable

    def suits(self, model: Any) -> bool:
        """Whether the model is still what it was made for."""
        return self.made_for == self.key(model)

    def prepare(self, kind: str, x: Any, y: Any = None, sample_weight: Any = None) -> _Step:
        """The program of a step for batches like this one: "train", "test" or "predict".

        Raises:
            MemoryError: the device has no room for its arrays.
        """
        if kind == "train" and self.model.optimizer.only_collects:
            kind = "collect"
        inputs = [(part.shape, type(part)) for part in each(x)]
        key = kind, *map(tuple, (inputs, _looks(y), _looks(sample_weight)))
        step = self._steps.get(key)
        if step is None or not step.options.still_hold():
            self._forget(key)
            step = self._steps[key] = _Step(self, kind, x, y, sample_weight)
        return step

    def _forget(self, key: Any) -> None:
        """Let go of a program, whose memory others may have once it has run."""
        if self._steps.pop(key, None) is not None:
            self.settle()
            self.memory.wait()

    def train(self, x: Any, y: Any, sample_weight: Any) -> None:
        """Queue one training step."""
        self._run("train", x, y, sample_weight)
        self.parameters.changed()
        self.model.optimizer.count_step()

    def test(self, x: Any, y: Any, sample_weight: Any) -> None:
        """Queue one step of evaluation."""
        self._run("test", x, y, sample_weight)

    def predict(self, x: Any) -> list[np.ndarray]:
        """The model's outputs, new arrays of the host."""
        step = self._run("predict", x, None, None)
        return [self.memory.download(y_pred) for y_pred in step.y_preds]

    def settle(self) -> None:
        """Wait for all steps that were queued, and take their sums into the model's loss and metrics."""
        if self._pending:
            sums = self.memory.download(self._totals).astype(np.float64)
            for row, (scores, counts, by_hand, width) in zip(sums, self._pending, strict=False):
                scores.take(row[:width], counts, by_hand)
            self._pending.clear()
        self.kept.settle()

    def release(self) -> None:
        """Bring everything back to the host; the runner is not used any more."""
        self.settle()
        self.parameters.release()

    def __deepcopy__(self, memo: Any) -> None:
        """A copy of a model makes a runner of its own."""
        return None

    def __reduce__(self) -> Any:
        return type(None), ()

    def _run(self, kind: str, x: Any, y: Any, sample_weight: Any) -> _Step:
        step = self.prepare(kind, x, y, sample_weight)
        self.parameters.push()
        if y is not None and len(self._pending) == _ROWS:
            self.settle()
        counts = step.run(x, y, sample_weight, len(self._pending))
        if step.scores is not None:
            self._pending.append((step.scores, counts, step.scores.by_hand, step.width))
            step.scores.queued(y, sample_weight)
        return step

    def totals(self, width: int) -> Any:
        """The sums of steps on the device, (rows, width)."""
        if self._totals is None or self._totals.shape[1] != width:
            self.settle()
            self._totals = self.memory.zeros((_ROWS, width))
        return self._totals


class _Step:
    """One kind of step for one shape of batch; `options` are those that it was made from."""

    def __init__(self, runner: Runner, kind: str, x: Any, y: Any, sample_weight: Any) -> None:
        model, memory = runner.model, runner.memory
        self._model, self._memory = model, memory
        self.options = Options(model, kind)
        self._trains = kind in ("train", "collect")
        if self._trains:
            model.optimizer.check_variables(model.backward_plan.variables)
        plan = model.forward_plan
        self._numbers, self._drawing = updates.NUMBERS + 1, []
        taken_shapes = _shapes_taken(plan, [part.shape for part in each(x)])
        for step, shape in zip(plan.steps, taken_shapes, strict=True):
            count = recorded_class(step.layer).numbers(step.layer, shape) if in_training(step, self._trains) else 0
            if count:
                self._drawing.append(_Drawing(step, shape, slice(self._numbers, self._numbers + count)))
                self._numbers += count
        self.scores: AllScores | None = None
        given: list[np.ndarray] = []
        if y is not None:
            self.scores = AllScores(model._objective, self._output_shapes(x), y, runner.kept)
            given, _ = self.scores.of_batch(y, sample_weight)
        formats = (layer.data_format for layer in plan.layers if hasattr(layer, "data_format"))
        self._format = next(formats, "channels_last")
        # Rows that lie on the device already do not come by the inlet.
        self._rows = [memory.zeros((part.size,)) if isinstance(part, Rows) else None for part in each(x)]
        sizes = self._sizes(x, given)
        self._inlet = Inlet(memory, sum(map(_padded, sizes)))
        numbers, *parts = _cut(self._inlet.block, sizes)
        inputs, parts = parts[: len(self._rows)], parts[len(self._rows) :]
        taken = zip(inputs, self._rows, each(x), strict=True)
        recorder = Recorder(memory)
        network = Network(
            plan, recorder, runner.parameters, {id(drawing.step): numbers[drawing.place] for drawing in self._drawing}
        )
        images = [self._as_x(block if rows is None else rows, part.shape) for block, rows, part in taken]
        self.y_preds = network.forward(images, self._trains)
        if self.scores is not None:
            self._record_scores(runner, recorder, network, parts, numbers, kind == "collect")
            self.scores.watch(self.y_preds, y, sample_weight)
        self._program = recorder.program()

    def _record_scores(
        self, runner: Runner, recorder: Recorder, network: Network, given: list[Any], numbers: Any, collects: bool
    ) -> None:
        """Write down losses, metrics and, in training, all that follows from the losses."""
        model, scores = self._model, self.scores
        back = model.backward_plan
        penalties = network.penalties(back)
        self.width = scores.width + len(penalties)  # type: ignore[union-attr]
        to = Row(runner.totals(self.width), numbers[_ROW : _ROW + 1])
        outputs = range(len(self.y_preds))
        fused = [output for output in outputs if self._trains and self._combines(output)]
        gradients = [recorder.memory.zeros(y_pred.shape) if self._trains else None for y_pred in self.y_preds]
        scores.record(recorder, self.y_preds, given, to, gradients, fused)  # type: ignore[union-attr]
        for column, penalty in enumerate(penalties, scores.width):  # type: ignore[union-attr]
            penalty.record(to.totals, to.row, column)
        if self._trains:
            network.backward(back, gradients, fused)
            if back.variables:
                rates = numbers[: updates.NUMBERS]
                updates.record(recorder, model.optimizer, runner.parameters, rates, collects)

    def run(self, x: Any, y: Any, sample_weight: Any, row: int) -> list[float]:
        """Send a batch and queue the step; returns the sums of weights that its scores are divided by."""
        given: list[np.ndarray] = []
        counts: list[float] = []
        if self.scores is not None:
            given, counts = self.scores.of_batch(y, sample_weight)
        numbers, *parts = _cut(self._inlet.begin(), self._sizes(x, given))
        rates = updates.next_numbers(self._model.optimizer) if self._trains else (0.0,) * updates.NUMBERS
        numbers[: updates.NUMBERS + 1] = *rates, row
        for drawing in self._drawing:
            numbers[drawing.place] = drawing.next_numbers()
        for part, rows, array in zip(parts, self._rows, each(x), strict=False):
            if rows is None:
                np.copyto(self._as_x(part, array.shape), array, casting="unsafe")
        for part, array in zip(parts[len(self._rows) :], given, strict=True):
            np.copyto(part.reshape(array.shape), array, casting="unsafe")
        self._inlet.send()
        for rows, array in zip(self._rows, each(x), strict=True):
            if rows is not None:
                self._memory.fill(self._as_x(rows, array.shape), array)
        self._program.run()
        return counts

    def _output_shapes(self, x: Any) -> list[tuple[int, ...]]:
        """The shapes of the outputs for a batch."""
        shapes = self._model.compute_output_shape(batch_shape(x))
        return [(len(x), *shape[1:]) for shape in (shapes if isinstance(shapes, list) else [shapes])]

    def _combines(self, output: int) -> bool:
        """Whether the gradient of an output's loss goes past its activation, as softmax and cross-entropy allow."""
        objective = self._model._objective
        several = isinstance(objective, Objectives)
        activation = objective.fused(output) if several else objective.fused_activation
        ends: bool = self._model.forward_plan.ends_in(activation, output)
        return ends

    def _sizes(self, x: Any, given: Sequence[np.ndarray]) -> list[int]:
        """Elements of the parts of a block: the step's numbers, each input, and what the scores are given."""
        inputs = [part.size if rows is None else 0 for part, rows in zip(each(x), self._rows, strict=True)]
        return [self._numbers, *inputs, *(array.size for array in given)]

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


def _looks(value: Any) -> list[Any]:
    """What two batches of one program have in common: shapes and dtypes of the targets, or of the weights."""
    return [None if part is None else (part.shape, part.dtype) for part in each(value)]


def _padded(size: int) -> int:
    """Elements that a part of a block takes: the next one begins on a multiple of 256 bytes."""
    return -(-size // 64) * 64
