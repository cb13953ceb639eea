"""Learning rates that change with the step: `schedule(step) -> float`, as `fastconv.optimizers.schedules`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastconv.serialization import Configurable, Table


class LearningRateSchedule(Configurable):
    """Base class: a subclass defines `__call__(step) -> float`, where step counts from 0."""

    def __call__(self, step: int) -> float:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(step).")


class ExponentialDecay(LearningRateSchedule):
    """initial_learning_rate * decay_rate ** (step / decay_steps); with `staircase` in whole powers.

    Raises:
        ValueError: `decay_steps` is not positive.
    """

    config_keys = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase", "name")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive(decay_steps)
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def __call__(self, step: int) -> float:
        power = step // self.decay_steps if self.staircase else step / self.decay_steps
        return self.initial_learning_rate * self.decay_rate**power


class PiecewiseConstantDecay(LearningRateSchedule):
    """values[0] up to and with step boundaries[0], then values[1] up to boundaries[1], and so on.

    Raises:
        ValueError: there is not one value more than boundaries, or they do not grow.
    """

    config_keys = ("boundaries", "values", "name")

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant") -> None:
        if len(values) != len(boundaries) + 1:
            raise ValueError(f"values must be one more than boundaries, not {len(values)} for {len(boundaries)}.")
        if list(boundaries) != sorted(boundaries):
            raise ValueError(f"boundaries must grow, not be {boundaries!r}.")
        self.boundaries = boundaries
        self.values = values
        self.name = name

    def __call__(self, step: int) -> float:
        return self.values[sum(step > boundary for boundary in self.boundaries)]


class CosineDecay(LearningRateSchedule):
    """Half a cosine wave from the start down to `alpha` times it in `decay_steps`, then constant.

    The start is `initial_learning_rate`; with a `warmup_target` it is that, reached from the initial rate in
    a straight line of `warmup_steps`.

    Raises:
        ValueError: `decay_steps` is not positive.
    """

    config_keys = ("initial_learning_rate", "decay_steps", "alpha", "name", "warmup_target", "warmup_steps")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive(decay_steps)
        self.alpha = alpha
        self.name = name
        self.warmup_target = warmup_target
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        start = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return start + (self.warmup_target - start) * step / self.warmup_steps
            start = self.warmup_target
            step -= self.warmup_steps
        wave = 0.5 * (1 + math.cos(math.pi * min(step / self.decay_steps, 1)))
        return start * ((1 - self.alpha) * wave + self.alpha)


def _positive(decay_steps: int) -> int:
    if not decay_steps > 0:
        raise ValueError(f"decay_steps must be positive, not {decay_steps!r}.")
    return decay_steps


_TABLE = Table(
    "keras.optimizers.schedules",
    "learning rate schedule",
    (CosineDecay, ExponentialDecay, PiecewiseConstantDecay),
)


def serialize(learning_rate_schedule: LearningRateSchedule) -> dict[str, Any]:
    """The schedule in Keras 3's layout."""
    return _TABLE.serialize(learning_rate_schedule)


def deserialize(config: Mapping[str, Any]) -> Any:
    """The schedule of `{"class_name": ..., "config": {...}}`."""
    return _TABLE.deserialize(config)
