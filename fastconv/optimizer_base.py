"""What all optimizers share: slots, clipping, weight decay, constraints, learning rate, saved state."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from fastconv import schedules
from fastconv.schedules import LearningRateSchedule
from fastconv.serialization import Configurable, snake_case
from fastconv.variable import Variable

# Arguments of Keras's optimizers that must keep their defaults here.
_UNSUPPORTED = {
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}


@dataclass
class _State:
    """What the optimizer keeps for one variable: slots by name, and memory of its shape to compute in."""

    slots: dict[str, np.ndarray]
    scratch: np.ndarray
    clipped: np.ndarray | None
    decays: bool


class Optimizer(Configurable):
    """Base class: a subclass defines `update_step` or `update_all`, and `slot_groups` if it keeps state.

    Args:
        learning_rate: a number or a `LearningRateSchedule`.
        weight_decay: before each step weights shrink by this times the learning rate; None for not at all.
        clipnorm: gradients longer than this are shortened to it, each variable's by itself.
        clipvalue: elements of gradients are clipped to [-clipvalue, clipvalue].
        global_clipnorm: as `clipnorm`, all gradients together. At most one of the three may be given.
        name: the class's name in snake case by default.

    Raises:
        ValueError: an argument is unknown, out of range, or one that Keras has and this library does not.
    """

    config_keys: tuple[str, ...] = (
        "name",
        "weight_decay",
        "clipnorm",
        "global_clipnorm",
        "clipvalue",
    )

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        **others: Any,
    ) -> None:
        _check_others(type(self).__name__, others)
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = {key: value for key, value in clips.items() if value is not None}
        if len(given) > 1 or any(not value > 0 for value in given.values()):
            raise ValueError(f"Of clipnorm, clipvalue and global_clipnorm one may be given, positive; not {given}.")
        self.name = name or snake_case(type(self).__name__)
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.built = False
        self._excluded: set[int] = set()
        self._excluded_names: tuple[str, ...] = ()
        self._states: dict[int, _State] = {}
        self._model_variables: list[Variable] = []
        self._slots: list[Variable] = []
        self._rows: Any = None
        self._iterations = Variable(np.zeros((), np.int64), "iteration", trainable=False)
        self._schedule: LearningRateSchedule | None = None
        self._learning_rate = Variable(np.zeros(()), "learning_rate", trainable=False)
        if isinstance(learning_rate, LearningRateSchedule):
            self._schedule = learning_rate
        else:
            self.learning_rate = learning_rate

    @property
    def iterations(self) -> int:
        """Steps done so far."""
        return int(self._iterations.value)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step; settable unless it follows a schedule."""
        return float(self._learning_rate.value if self._schedule is None else self._schedule(self.iterations))

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        if self._schedule is not None:
            raise TypeError("learning_rate follows a LearningRateSchedule and cannot be set.")
        if not _is_rate(value):
            raise ValueError(f"learning_rate must be a finite number >= 0 or a schedule, not {value!r}.")
        self._learning_rate.assign(value)

    @property
    def variables(self) -> list[Variable]:
        """All state in Keras's saving order: iterations, learning rate unless scheduled, slots."""
        rate = [self._learning_rate] if self._schedule is None else []
        return [self._iterations, *rate, *self._slots]

    def exclude_from_weight_decay(self, var_list: Iterable[Variable] = (), var_names: Iterable[str] = ()) -> None:
        """Keep variables, or those whose path contains one of the names, from weight decay.

        Raises:
            ValueError: the optimizer is built already.
        """
        if self.built:
            raise ValueError("exclude_from_weight_decay must be called before the optimizer is built.")
        self._excluded = {id(variable) for variable in var_list or ()}
        self._excluded_names = tuple(var_names or ())

    def slot_groups(self) -> list[tuple[str, ...]]:
        """Names of slots; those of one group are saved side by side for each variable, group after group."""
        return []

    def slots_by_name(self) -> dict[str, list[Variable]]:
        """The variables of each slot, one for each of the variables that the optimizer was built with."""
        slots = iter(self._slots)
        named: dict[str, list[Variable]] = {}
        for group in self.slot_groups():
            for _ in self._model_variables:
                for name in group:
                    named.setdefault(name, []).append(next(slots))
        return named

    def initial_slot(self, variable: Variable) -> np.ndarray:
        """The first value of a slot of `variable`."""
        return np.zeros_like(variable.value)

    def update_step(
        self,
        gradient: np.ndarray,
        value: np.ndarray,
        learning_rate: float,
        slots: dict[str, np.ndarray],
        scratch: np.ndarray,
    ) -> None:
        """Change `value` and its `slots` in place; `scratch` is memory of the same shape and dtype."""
        raise NotImplementedError(f"{type(self).__name__} must define update_step or update_all.")

    def update_all(
        self,
        gradients: Sequence[np.ndarray],
        values: Sequence[np.ndarray],
        learning_rate: float,
        states: Sequence[_State],
    ) -> None:
        """Change all `values`, of one dtype, and their slots in place."""
        for gradient, value, state in zip(gradients, values, states, strict=True):
            self.update_step(gradient, value, learning_rate, state.slots, state.scratch)

    def rows(self, gradients: Sequence[np.ndarray], values: Sequence[np.ndarray], states: Sequence[_State]) -> Any:
        """Values, gradients and slots as `kernels.cpu_updates` takes them; made once for the same arrays."""
        from fastconv.kernels.cpu_updates import Rows

        columns = [
            (value, np.ascontiguousarray(gradient, value.dtype), *state.slots.values())
            for value, gradient, state in zip(values, gradients, states, strict=True)
        ]
        if self._rows is None or not self._rows.consists_of(columns):
            self._rows = Rows(columns)
        return self._rows

    def build(self, variables: Sequence[Variable]) -> None:
        """Make the slots of `variables` (the trainable ones); does nothing the second time."""
        if self.built:
            return
        memory = {variable.dtype: 0 for variable in variables}
        for variable in variables:
            memory[variable.dtype] = max(memory[variable.dtype], variable.value.size)
        scratch = {dtype: np.empty(size, dtype) for dtype, size in memory.items()}
        clips = self.clipnorm or self.clipvalue or self.global_clipnorm
        clipped = {dtype: np.empty(size, dtype) for dtype, size in memory.items()} if clips else {}
        for variable in variables:
            size, dtype = variable.value.size, variable.dtype
            self._states[id(variable)] = _State(
                slots={},
                scratch=scratch[dtype][:size].reshape(variable.shape),
                clipped=clipped[dtype][:size].reshape(variable.shape) if clips else None,
                decays=self.decays(variable),
            )
        for group in self.slot_groups():
            for variable in variables:
                for name in group:
                    path = f"{variable.path.replace('/', '_')}_{name}"
                    slot = Variable(self.initial_slot(variable), path, trainable=False)
                    self._states[id(variable)].slots[name] = slot.value
                    self._slots.append(slot)
        self._model_variables = list(variables)
        self.built = True

    def apply(self, gradients: Sequence[np.ndarray], variables: Sequence[Variable] | None = None) -> None:
        """One step: clip, decay, update each variable in place, apply its constraint; then count the step.

        Raises:
            ValueError: `variables` are not those the optimizer was built with, or a gradient is None or has
                another shape than its variable. Nothing has been changed then.
        """
        variables = self._model_variables if variables is None else list(variables)
        self._check(gradients, variables)
        self.build(variables)
        rate = self.learning_rate
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            scale = self._global_scale(gradients, variables)
            for group in self._groups(variables):
                states = [self._states[id(variables[i])] for i in group]
                values = [variables[i].value for i in group]
                clipped = [self._clip(gradients[i], state, scale) for i, state in zip(group, states, strict=True)]
                for state, value in zip(states, values, strict=True):
                    if state.decays:
                        # Not value *= 1 - decay * rate: in float32 that factor has few digits of the decay left.
                        np.multiply(value, self.weight_decay * rate, out=state.scratch)  # type: ignore[operator]
                        value -= state.scratch
                self.update_all(clipped, values, rate, states)
            for variable in variables:
                if variable.constraint is not None:
                    variable.value[...] = variable.constraint(variable.value)
        self.count_step()

    def count_step(self) -> None:
        """One more step is done."""
        self._iterations.value += 1

    def apply_gradients(self, grads_and_vars: Iterable[tuple[np.ndarray, Variable]]) -> int:
        """`apply` for pairs; returns the number of steps done."""
        gradients, variables = zip(*grads_and_vars, strict=True)
        self.apply(gradients, variables)
        return self.iterations

    def get_config(self) -> dict[str, Any]:
        rate = self.learning_rate if self._schedule is None else schedules.serialize(self._schedule)
        return {"learning_rate": rate, **_UNSUPPORTED, **super().get_config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        rate = config.get("learning_rate")
        if isinstance(rate, Mapping):
            config = {**config, "learning_rate": schedules.deserialize(rate)}
        return cls(**config)

    def decays(self, variable: Variable) -> bool:
        excluded = id(variable) in self._excluded or any(name in variable.path for name in self._excluded_names)
        return self.weight_decay is not None and not excluded

    def _check(self, gradients: Sequence[np.ndarray], variables: Sequence[Variable]) -> None:
        if len(gradients) != len(variables):
            raise ValueError(f"{len(gradients)} gradients do not fit {len(variables)} variables.")
        for gradient, variable in zip(gradients, variables, strict=True):
            if self.built and id(variable) not in self._states:
                raise ValueError(f"{self.name} was built for other variables than {variable.path}.")
            if np.shape(gradient) != variable.shape:
                got = "None" if gradient is None else f"shape {np.shape(gradient)}"
                raise ValueError(f"The gradient of {variable.path} must have shape {variable.shape}, not {got}.")

    def _groups(self, variables: Sequence[Variable]) -> Iterable[Sequence[int]]:
        """Places of the variables that are updated together: all of a dtype, but one at a time where gradients are
        clipped, since they share the memory for that."""
        if self.clipnorm or self.clipvalue or self.global_clipnorm:
            return [(i,) for i in range(len(variables))]
        if len({variable.dtype for variable in variables}) == 1:
            return [range(len(variables))]
        dtypes = dict.fromkeys(variable.dtype for variable in variables)
        return [[i for i, variable in enumerate(variables) if variable.dtype == dtype] for dtype in dtypes]

    def _global_scale(self, gradients: Sequence[np.ndarray], variables: Sequence[Variable]) -> float:
        if self.global_clipnorm is None:
            return 1.0
        pairs = zip(gradients, variables, strict=True)
        squares = [_square_sum(gradient, self._states[id(variable)].scratch) for gradient, variable in pairs]
        return _shortening(math.fsum(squares), self.global_clipnorm)

    def _clip(self, gradient: np.ndarray, state: _State, global_scale: float) -> np.ndarray:
        if state.clipped is None:
            return gradient
        if self.clipvalue is not None:
            return np.clip(gradient, -self.clipvalue, self.clipvalue, out=state.clipped)
        scale = global_scale
        if self.clipnorm is not None:
            scale = _shortening(_square_sum(gradient, state.scratch), self.clipnorm)
        return np.multiply(gradient, scale, out=state.clipped)


def _check_others(optimizer: str, others: dict[str, Any]) -> None:
    if "lr" in others:
        raise ValueError(f"{optimizer} takes learning_rate={others['lr']!r}, not lr=.")
    if others.pop("decay", None):
        warnings.warn(
            f"{optimizer}: decay= is ignored, as in Keras 3; pass a schedule as learning_rate=.", stacklevel=4
        )
    for key, value in others.items():
        if key not in _UNSUPPORTED:
            raise ValueError(f"{optimizer} does not know the argument {key}={value!r}.")
        if value != _UNSUPPORTED[key] and key != "ema_momentum":
            raise ValueError(f"{optimizer}: {key}={value!r} is not supported; it must be {_UNSUPPORTED[key]}.")


def _is_rate(value: Any) -> bool:
    try:
        return np.ndim(value) == 0 and math.isfinite(value) and value >= 0
    except TypeError:
        return False


def _square_sum(gradient: np.ndarray, scratch: np.ndarray) -> float:
    return float(np.multiply(gradient, gradient, out=scratch).sum())


def _shortening(square_sum: float, longest: float) -> float:
    """The factor that brings a vector to at most `longest`; NaN for one that is not finite."""
    return longest / max(math.sqrt(square_sum), longest) if math.isfinite(square_sum) else math.nan
