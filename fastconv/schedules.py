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


class _Decay(LearningRateSchedule):
    """Base of those that decay by `decay_rate` in `decay_steps`, or with `staircase` at their ends."""

    config_keys = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase", "name")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = None,
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive(decay_steps)
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = type(self).__name__ if name is None else name

    def periods(self, step: int) -> float:
        """How often `decay_steps` have passed."""
        return step // self.decay_steps if self.staircase else step / self.decay_steps


class ExponentialDecay(_Decay):
    """initial_learning_rate * decay_rate ** (step / decay_steps); with `staircase` in whole powers.

    Raises:
        ValueError: `decay_steps` is not positive.
    """

    def __call__(self, step: int) -> float:
        return self.initial_learning_rate * self.decay_rate ** self.periods(step)


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


class CosineDecayRestarts(LearningRateSchedule):
    """Half cosine waves one after another, each from the start down to `alpha` times it.

    Args:
        initial_learning_rate: the first wave's start.
        first_decay_steps: the first wave's length; each next one is `t_mul` times as long.
        m_mul: each next wave starts at this times the start of the last.

    Raises:
        ValueError: `first_decay_steps` is not positive.
    """

    config_keys = ("initial_learning_rate", "first_decay_steps", "t_mul", "m_mul", "alpha", "name")

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.first_decay_steps = _positive(first_decay_steps, "first_decay_steps")
        self.t_mul = t_mul
        self.m_mul = m_mul
        self.alpha = alpha
        self.name = name

    def __call__(self, step: int) -> float:
        wave, share = self._position(step / self.first_decay_steps)
        height = 0.5 * self.m_mul**wave * (1 + math.cos(math.pi * share))
        return self.initial_learning_rate * ((1 - self.alpha) * height + self.alpha)

    def _position(self, time: float) -> tuple[int, float]:
        """(waves that are over, share of the next one that is), where `time` counts in lengths of the first."""
        if self.t_mul == 1:
            return math.floor(time), time % 1
        growth = 1 + time * (self.t_mul - 1)
        if growth <= 0:  # t_mul below 1: all waves together have an end, and here it is
            return 0, 1.0
        # Not floor alone: a logarithm just below a whole number would fall into the wave before.
        wave = math.floor(math.log(growth) / math.log(self.t_mul) + 1e-9)
        begin = (1 - self.t_mul**wave) / (1 - self.t_mul)
        return wave, (time - begin) / self.t_mul**wave


class InverseTimeDecay(_Decay):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps); with `staircase` in whole parts.

    Raises:
        ValueError: `decay_steps` is not positive.
    """

    def __call__(self, step: int) -> float:
        return self.initial_learning_rate / (1 + self.decay_rate * self.periods(step))


class PolynomialDecay(LearningRateSchedule):
    """From the initial rate to `end_learning_rate` in `decay_steps`, along (1 - step / decay_steps) ** power.

    After that it stays there; with `cycle` it starts again higher up, as if it had been twice as many steps to the
    end, then three times, and so on.

    Raises:
        ValueError: `decay_steps` is not positive.
    """

    config_keys = ("initial_learning_rate", "decay_steps", "end_learning_rate", "power", "cycle", "name")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive(decay_steps)
        self.end_learning_rate = end_learning_rate
        self.power = power
        self.cycle = cycle
        self.name = name

    def __call__(self, step: int) -> float:
        cycles = max(1, math.ceil(step / self.decay_steps)) if self.cycle else 1
        left = 1 - min(step / (self.decay_steps * cycles), 1)
        return (self.initial_learning_rate - self.end_learning_rate) * left**self.power + self.end_learning_rate


def _positive(steps: int, name: str = "decay_steps") -> int:
    if not steps > 0:
        raise ValueError(f"{name} must be positive, not {steps!r}.")
    return steps


_TABLE = Table(
    "keras.optimizers.schedules",
    "learning rate schedule",
    (
        CosineDecay,
        CosineDecayRestarts,
        ExponentialDecay,
        InverseTimeDecay,
        PiecewiseConstantDecay,
        PolynomialDecay,
    ),
)


def serialize(learning_rate_schedule: LearningRateSchedule) -> dict[str, Any]:
    """The schedule in Keras 3's layout."""
    return _TABLE.serialize(learning_rate_schedule)


def deserialize(config: Mapping[str, Any]) -> Any:
    """The schedule of `{"class_name": ..., "config": {...}}`."""
    return _TABLE.deserialize(config)
