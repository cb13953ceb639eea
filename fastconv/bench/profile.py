"""Where a model's time goes: every kernel of every layer in a training step or a prediction."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastconv import random
from fastconv.bench.compare import cost
from fastconv.bench.limits import Limits, measured
from fastconv.bench.table import number
from fastconv.buffers import ReusedBuffers
from fastconv.models.backward_plan import BackwardPlan
from fastconv.models.plan import ForwardPlan
from fastconv.ops import dispatch

_LEAST_STEPS = 5
_SHOWN = 0.005  # of the whole: what a layer does beside its kernels is a line of its own from there on
_COLUMNS = ("ms", "% time", "MFLOP", "MB", "GFLOP/s", "GB/s", "% limit")


@dataclass
class ProfileRow:
    """One kernel of one layer, or what the layer does beside its kernels.

    op, kernel: None for the latter, whose FLOPs and bytes are not counted.
    limit_s: the least time that the machine's measured limits allow; `bound` says which of them.
    """

    layer: str
    type: str
    backward: bool
    op: str | None = None
    kernel: str | None = None
    seconds: float = 0.0
    flops: int = 0
    bytes: int = 0
    limit_s: float = 0.0
    bound: str = ""
    _times: list[float] = field(default_factory=list, repr=False)


@dataclass(frozen=True)
class Profile:
    """What `profile` found; `seconds` is the median of the whole, the rows' are medians of theirs."""

    name: str
    batch: int
    training: bool
    steps: int
    seconds: float
    rows: list[ProfileRow]
    limits: Limits

    def __repr__(self) -> str:
        return f"<Profile of {self.name}: batch {self.batch}, {1e3 * self.seconds:.3g} ms, {len(self.rows)} rows>"

    def text(self) -> str:
        """The table that is printed: first forward, below a line backward."""
        what = "training step, without loss and optimizer" if self.training else "inference"
        threads = f"{self.limits.threads} thread{'s' * (self.limits.threads > 1)}"
        table: list[tuple[str, ...]] = [("Layer (type)", "Operation", "Kernel", *_COLUMNS)]
        shown = [row for row in self.rows if row.op or row.seconds >= _SHOWN * self.seconds]
        table += [self._cells(row) for row in shown]
        kernels = [row for row in shown if row.op]
        flops, bytes_ = sum(row.flops for row in kernels), sum(row.bytes for row in kernels)
        least = sum(row.limit_s for row in kernels)
        table.append(("Total", "", "", *_numbers(self.seconds, 1.0, flops, bytes_, least)))
        widths = [max(map(len, column)) + 2 for column in zip(*table, strict=True)]
        heading, *lines, total = (_line(cells, widths) for cells in table)
        for index in range(len(shown) - 1, 0, -1):
            before, row = shown[index - 1], shown[index]
            if (before.layer, before.backward) == (row.layer, row.backward):
                lines[index] = " " * widths[0] + lines[index][widths[0] :]
            elif before.backward != row.backward:
                lines.insert(index, "_" * sum(widths))
        return "\n".join(
            [
                f'Model: "{self.name}", {what}, batch {self.batch}, {threads}: median of {self.steps}',
                "_" * sum(widths),
                heading,
                "=" * sum(widths),
                *lines,
                "=" * sum(widths),
                total,
                "_" * sum(widths),
            ]
        )

    def _cells(self, row: ProfileRow) -> tuple[str, ...]:
        what = row.op or f"rest of {'backward' if row.backward else 'forward'}"
        numbers = _numbers(row.seconds, row.seconds / self.seconds, row.flops, row.bytes, row.limit_s)
        return f"{row.layer} ({row.type})", what, row.kernel or "", *numbers


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    """Texts to the left, numbers to the right."""
    aligned = (str.ljust, str.ljust, str.ljust, *[str.rjust] * len(_COLUMNS))
    return "".join(align(cell, width) for align, cell, width in zip(aligned, cells, widths, strict=True)).rstrip()


def _numbers(seconds: float, share: float, flops: int, bytes_: int, least: float) -> tuple[str, ...]:
    if not bytes_:
        return number(1e3 * seconds), number(100 * share), *[""] * 5
    return (
        number(1e3 * seconds),
        number(100 * share),
        number(flops / 1e6),
        number(bytes_ / 1e6),
        number(flops / seconds / 1e9),
        number(bytes_ / seconds / 1e9),
        number(100 * least / seconds),
    )


def profile(
    plan: ForwardPlan, x: np.ndarray, name: str, training: bool, through_activation: bool, seconds: float
) -> Profile:
    """Time copies of a plan's layers on a batch; the layers, and the state of what is random, are left as they were.

    Args:
        plan: a model's, with one input and one output.
        x: a batch of its layers' dtype.
        name: of the model.
        training: whether to go backward, too, and to drop what Dropout drops.
        through_activation: False where the loss takes the last activation's gradient with its own.
        seconds: how long to repeat, at least; not fewer than 5 times.
    """
    limits = measured()
    state = random.generator().bit_generator.state
    try:
        run = _Run(copy.deepcopy(plan), training, through_activation)
        run.step(x)  # compiles
        run.times.clear()
        run.forget()
        begun = time.perf_counter()
        while len(run.times) < _LEAST_STEPS or time.perf_counter() - begun < seconds:
            run.step(x)
    finally:
        random.generator().bit_generator.state = state
    rows = list(run.rows.values())
    for row in rows:
        row.seconds = statistics.median(row._times)
        if row.op:
            row.limit_s, row.bound = limits.least_seconds(row.flops, row.bytes, x.dtype.name)
    return Profile(name, len(x), training, len(run.times), statistics.median(run.times), rows, limits)


class _Run:
    """Steps through layers; `rows` in the order in which they run, each with a time for every step."""

    def __init__(self, plan: ForwardPlan, training: bool, through_activation: bool) -> None:
        self._forward, self._training, self._through_activation = plan, training, through_activation
        self._plan = BackwardPlan.of(plan).fused if training else None
        self._calls = plan.fused_calls if self._plan is None else self._plan.calls
        self._buffers = ReusedBuffers()
        self._upstream: np.ndarray | None = None
        self.rows: dict[tuple[str, bool, str | None], ProfileRow] = {}
        self.times: list[float] = []

    def forget(self) -> None:
        """Drop the times so far."""
        for row in self.rows.values():
            row._times.clear()

    def step(self, x: np.ndarray) -> None:
        """Go forward, and in training backward from a random gradient."""
        whole = 0.0
        values = self._forward.values([x])
        for step, layer, source, target in self._calls:
            with self._watched(layer, False) as spent:
                if step is None:
                    values[target] = layer.forward(values[source], self._training, self._buffers)
                else:
                    step.forward(values, self._training, self._buffers)
            whole += spent[0]
        if self._plan is not None:
            output = self._forward.outputs[0]
            y = values[output]
            if self._upstream is None:
                self._upstream = np.random.default_rng(0).standard_normal(y.shape).astype(y.dtype)
            # A copy: a layer may write its gradient into the one it gets.
            gradients = self._plan.start([self._upstream.copy()], self._buffers)
            for back in self._plan.steps:
                with self._watched(back.layer, True) as spent:
                    back.run(gradients, self._buffers, self._through_activation or back.step.target != output)
                whole += spent[0]
        self.times.append(whole)

    @contextmanager
    def _watched(self, layer: Any, backward: bool) -> Any:
        """A list that has the layer's seconds afterwards; adds times to the rows of its kernels and of the rest."""
        in_kernels = 0.0

        def observe(kernel: Any, problem: Any, call: Callable[[], None]) -> None:
            nonlocal in_kernels
            started = time.perf_counter()
            call()
            spent = time.perf_counter() - started
            in_kernels += spent
            row = self._row(layer, backward, kernel.op)
            row.kernel = kernel.name
            row.flops, row.bytes = cost(kernel.op, problem)
            row._times.append(spent)

        found = [0.0]
        with dispatch.observed(observe):
            started = time.perf_counter()
            yield found
            found[0] = time.perf_counter() - started
        self._row(layer, backward, None)._times.append(found[0] - in_kernels)

    def _row(self, layer: Any, backward: bool, op: str | None) -> ProfileRow:
        key = layer.name, backward, op
        if key not in self.rows:
            self.rows[key] = ProfileRow(layer.name, type(layer).__name__, backward, op)
        return self.rows[key]
