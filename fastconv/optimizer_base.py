"""What all optimizers share: slots, clipping, accumulation, weight decay, averages, constraints, saved state."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from fastconv import optimizer_clipping, schedules
from fastconv.optimizer_state import State, beside, by_dtype
from fastconv.schedules import LearningRateSchedule
from fastconv.serialization import Configurable, snake_case
from fastconv.variable import Variable


class Optimizer(Configurable):
    """Base class: a subclass defines `update_step` or `update_all`, and `slot_groups` if it keeps state.

    Args:
        learning_rate: a number, a `LearningRateSchedule`, or a function without arguments that returns a number.
        weight_decay: before each step weights shrink by this times the learning rate; None for not at all.
        clipnorm: gradients longer than this are shortened to it, each variable's by itself.
        clipvalue: elements of gradients are clipped to [-clipvalue, clipvalue].
        global_clipnorm: as `clipnorm`, all gradients together. At most one of the three may be given.
        use_ema: whether to keep running means of the variables, which replace them at the end of `fit`.
        ema_momentum: the weight, from 0 to 1, of the running mean so far.
        ema_overwrite_frequency: every so many steps the variables are replaced by their means; None for never.
        loss_scale_factor: what the loss was multiplied by where `apply` is called by hand: gradients are divided by
            it. `fit` computes in float32 or float64, which needs no scaling, and does neither.
        gradient_accumulation_steps: the mean of so many gradients, at least 2, makes one step; None for each.
        name: the class's name in snake case by default.

    Raises:
        ValueError: an argument is unknown or out of range.
    """

    config_keys: tuple[str, ...] = (
        "name",
        "weight_decay",
        "clipnorm",
        "global_clipnorm",
        "clipvalue",
        "use_ema",
        "ema_momentum",
        "ema_overwrite_frequency",
        "loss_scale_factor",
        "gradient_accumulation_steps",
    )
    scratch_arrays = 1  # that `update_step` needs

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule | Callable[[], float],
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **others: Any,
    ) -> None:
        _check_others(type(self).__name__, others)
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = {key: value for key, value in clips.items() if value is not None}
        if len(given) > 1 or any(not value > 0 for value in given.values()):
            raise ValueError(f"Of clipnorm, clipvalue and global_clipnorm one may be given, positive; not {given}.")
        if use_ema and not 0 <= ema_momentum <= 1:
            raise ValueError(f"ema_momentum must be from 0 to 1, not {ema_momentum!r}.")
        _check_count("ema_overwrite_frequency", ema_overwrite_frequency, 1)
        _check_count("gradient_accumulation_steps", gradient_accumulation_steps, 2)
        if loss_scale_factor is not None and not loss_scale_factor > 0:
            raise ValueError(f"loss_scale_factor must be positive or None, not {loss_scale_factor!r}.")
        self.name = name or snake_case(type(self).__name__)
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.use_ema = bool(use_ema)
        self.ema_momentum = ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor = loss_scale_factor
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.built = False
        self._excluded: set[int] = set()
        self._excluded_names: tuple[str, ...] = ()
        self._states: dict[int, State] = {}
        self._model_variables: list[Variable] = []
        self._averages: list[Variable] = []
        self._accumulated: list[Variable] = []
        self._slots: list[Variable] = []
        self._rows: Any = None
        self._iterations = Variable(np.zeros((), np.int64), "iteration", trainable=False)
        self._schedule: Callable[..., float] | None = None
        self._learning_rate = Variable(np.zeros(()), "learning_rate", trainable=False)
        self.learning_rate = learning_rate

    @property
    def iterations(self) -> int:
        """Steps done so far; gradients that are only accumulated are none."""
        return int(self._iterations.value) // (self.gradient_accumulation_steps or 1)

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next step, a float; settable unless it follows a schedule."""
        if self._schedule is None:
            return float(self._learning_rate.value)
        if isinstance(self._schedule, LearningRateSchedule):
            return float(self._schedule(int(self._iterations.value)))
        return float(self._schedule())

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if callable(value):
            self._schedule = value
            return
        if isinstance(self._schedule, LearningRateSchedule):
            raise TypeError("learning_rate follows a LearningRateSchedule and cannot be set.")
        if not _is_rate(value):
            raise ValueError(f"learning_rate must be a finite number >= 0 or a schedule, not {value!r}.")
        self._learning_rate.assign(value)
        self._schedule = None

    @property
    def variables(self) -> list[Variable]:
        """All state in Keras's saving order: iterations, learning rate unless scheduled, averages, accumulated
        gradients, slots."""
        rate = [self._learning_rate] if self._schedule is None else []
        return [self._iterations, *rate, *self._averages, *self._accumulated, *self._slots, *self.other_variables]

    def variables_for(self, trained: Sequence[Variable]) -> list[Variable]:
        """Those of `variables` that a file keeps for a model that trains these weights now: without what belongs to a
        weight, if the optimizer was built for others."""
        if not self.built or list(map(id, trained)) == list(map(id, self._model_variables)):
            return self.variables
        return [variable for variable in self.variables if variable.shape == ()]

    @property
    def only_collects(self) -> bool:
        """Whether the next gradients are only accumulated."""
        return (int(self._iterations.value) + 1) % (self.gradient_accumulation_steps or 1) != 0

    @property
    def accumulated(self) -> list[Variable]:
        """The sums of gradients, one for each of the model's variables; none without accumulation or before `build`."""
        return list(self._accumulated)

    @property
    def other_variables(self) -> list[Variable]:
        """State that belongs to no variable of the model."""
        return []

    @property
    def averages(self) -> list[tuple[Variable, Variable]]:
        """The model's variables and their running means; empty without `use_ema` or before `build`."""
        return list(zip(self._model_variables, self._averages, strict=False))

    def finalize_variable_values(self, var_list: Iterable[Variable] | None = None) -> None:
        """Write the running means into the variables, those of `var_list` or all; nothing without `use_ema`.

        Before the first step there are no means, and nothing is written.
        """
        if not int(self._iterations.value):
            return
        wanted = None if var_list is None else {id(variable) for variable in var_list}
        for variable, average in self.averages:
            if wanted is None or id(variable) in wanted:
                variable.assign(average.value)

    def exclude_from_weight_decay(self, var_list: Iterable[Variable] = (), var_names: Iterable[str] = ()) -> None:
        """Keep from weight decay variables, or those in whose name ("kernel", "bias") one of the regular expressions
        `var_names` is found.

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

    def suits(self, variables: Sequence[Variable]) -> bool:
        """Whether the optimizer is not built, or for these variables and perhaps others."""
        return not self.built or all(id(variable) in self._states for variable in variables)

    def places_of(self, variables: Sequence[Variable]) -> list[int]:
        """Which of the variables that the optimizer was built with these are."""
        places = {id(variable): place for place, variable in enumerate(self._model_variables)}
        return [places[id(variable)] for variable in variables]

    def slots_by_name(self) -> dict[str, list[Variable]]:
        """The variables of each slot, one for each of the variables that the optimizer was built with."""
        slots = iter(self._slots)
        named: dict[str, list[Variable]] = {}
        for group in self.slot_groups():
            for _ in self._model_variables:
                for name in group:
                    named.setdefault(name, []).append(next(slots))
        return named

    def initial_slot(self, variable: Variable, name: str) -> np.ndarray:
        """The first value of the slot `name` of `variable`."""
        return np.zeros_like(variable.value)

    def update_step(
        self,
        gradient: np.ndarray,
        value: np.ndarray,
        learning_rate: float,
        slots: dict[str, np.ndarray],
        scratch: Any,
    ) -> None:
        """Change `value` and its `slots` in place.

        scratch: memory of the same shape and dtype; where `scratch_arrays` is above 1, a tuple of so many.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update_step or update_all.")

    def update_all(
        self,
        gradients: Sequence[np.ndarray],
        values: Sequence[np.ndarray],
        learning_rate: float,
        states: Sequence[State],
    ) -> None:
        """Change all `values`, of one dtype, and their slots in place."""
        for gradient, value, state in zip(gradients, values, states, strict=True):
            scratch = state.scratch if self.scratch_arrays == 1 else state.scratches
            self.update_step(gradient, value, learning_rate, state.slots, scratch)

    def rows(self, gradients: Sequence[np.ndarray], values: Sequence[np.ndarray], states: Sequence[State]) -> Any:
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
        scratches = {
            dtype: [np.empty(size, dtype) for _ in range(self.scratch_arrays)] for dtype, size in memory.items()
        }
        for variable in variables:
            size = variable.value.size
            self._states[id(variable)] = state = State(
                slots={},
                scratches=tuple(block[:size].reshape(variable.shape) for block in scratches[variable.dtype]),
                excluded=self._excludes(variable),
            )
            if self.use_ema:
                state.average = beside(variable, "average")
                self._averages.append(state.average)
            if self.gradient_accumulation_steps:
                state.accumulated = beside(variable, "gradient_accumulator")
                self._accumulated.append(state.accumulated)
        for group in self.slot_groups():
            for variable in variables:
                for name in group:
                    slot = beside(variable, name, self.initial_slot(variable, name))
                    self._states[id(variable)].slots[name] = slot.value
                    self._slots.append(slot)
        self._model_variables = list(variables)
        self.built = True

    def apply(
        self, gradients: Sequence[np.ndarray], variables: Sequence[Variable] | None = None, *, scaled: bool = True
    ) -> None:
        """One step: clip, decay, update each variable in place, apply its constraint; then count the step.

        Args:
            gradients: one for each variable, which stay as they are.
            variables: those the optimizer was built with, by default.
            scaled: whether the gradients are those of a loss times `loss_scale_factor`.

        Raises:
            ValueError: `variables` are not those the optimizer was built with, or a gradient is None or has
                another shape than its variable. Nothing has been changed then.
        """
        variables = self._model_variables if variables is None else list(variables)
        self._check(gradients, variables)
        self.build(variables)
        states = [self._states[id(variable)] for variable in variables]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            if self.loss_scale_factor is not None and scaled:
                gradients = [
                    np.divide(gradient, self.loss_scale_factor, out=state.gradient)
                    for gradient, state in zip(gradients, states, strict=True)
                ]
            whole = self._accumulate(gradients, states)
            if whole is not None:
                self._update(whole, variables, states)
            if self.use_ema:
                self._follow(variables, states)
            for variable in variables:
                if variable.constraint is not None:
                    variable.value[...] = variable.constraint(variable.value)
        self.count_step()

    def _accumulate(self, gradients: Sequence[np.ndarray], states: Sequence[State]) -> Sequence[np.ndarray] | None:
        """The gradients of this step; None while they are only collected."""
        steps = self.gradient_accumulation_steps
        if steps is None:
            return gradients
        is_last = not self.only_collects
        for gradient, state in zip(gradients, states, strict=True):
            collected: np.ndarray = state.accumulated.value  # type: ignore[union-attr]
            collected += gradient
            if is_last:
                np.divide(collected, steps, out=state.gradient)
                collected.fill(0)
        return [state.gradient for state in states] if is_last else None

    def _update(self, gradients: Sequence[np.ndarray], variables: Sequence[Variable], states: Sequence[State]) -> None:
        """Clip, decay, update."""
        rate = self.learning_rate
        gradients = self._clipped(gradients, states)
        for group in by_dtype(variables):
            values = [variables[i].value for i in group]
            chosen = [states[i] for i in group]
            for state, value in zip(chosen, values, strict=True):
                if self.weight_decay is not None and not state.excluded:
                    # Not value *= 1 - decay * rate: in float32 that factor has few digits of the decay left.
                    np.multiply(value, self.weight_decay * rate, out=state.scratch)
                    value -= state.scratch
            self.update_all([gradients[i] for i in group], values, rate, chosen)

    def _clipped(self, gradients: Sequence[np.ndarray], states: Sequence[State]) -> Sequence[np.ndarray]:
        longest = self.clipnorm or self.global_clipnorm
        if longest is None and self.clipvalue is None:
            return gradients
        outs = [state.gradient for state in states]
        if longest is None:
            optimizer_clipping.clip_by_value(gradients, outs, self.clipvalue)  # type: ignore[arg-type]
        else:
            scratches = [state.scratch for state in states]
            together = self.global_clipnorm is not None
            optimizer_clipping.clip_by_norm(gradients, outs, longest, scratches, together)
        return outs

    def _follow(self, variables: Sequence[Variable], states: Sequence[State]) -> None:
        """Move the running means, and write them into the variables where that is due."""
        step, every = self.iterations, self.ema_overwrite_frequency
        momentum = self.ema_momentum if step else 0.0
        for variable, state in zip(variables, states, strict=True):
            mean: np.ndarray = state.average.value  # type: ignore[union-attr]
            mean *= momentum
            mean += np.multiply(variable.value, 1 - momentum, out=state.scratch)
            if every is not None and (step + 1) % every == 0:
                variable.value[...] = mean

    def count_step(self) -> None:
        """One more step is done."""
        self._iterations.value += 1

    def apply_gradients(self, grads_and_vars: Iterable[tuple[np.ndarray, Variable]]) -> int:
        """`apply` for pairs; returns the number of steps done."""
        gradients, variables = zip(*grads_and_vars, strict=True)
        self.apply(gradients, variables)
        return self.iterations

    def get_config(self) -> dict[str, Any]:
        scheduled = isinstance(self._schedule, LearningRateSchedule)
        rate = schedules.serialize(self._schedule) if scheduled else self.learning_rate  # type: ignore[arg-type]
        return {"learning_rate": rate, **super().get_config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        rate = config.get("learning_rate")
        if isinstance(rate, Mapping):
            config = {**config, "learning_rate": schedules.deserialize(rate)}
        return cls(**config)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy has variables of its own, by whose identity it finds their states."""
        self.__dict__.update(state)
        ids = [id(variable) for variable in self._model_variables]
        self._states = dict(zip(ids, self._states.values(), strict=True))

    def decays(self, variable: Variable) -> bool:
        return self.weight_decay is not None and not self._excludes(variable)

    def _excludes(self, variable: Variable) -> bool:
        return id(variable) in self._excluded or any(
            re.search(pattern, variable.name) for pattern in self._excluded_names
        )

    def check_variables(self, variables: Sequence[Variable]) -> None:
        """ValueError if the optimizer was built for others."""
        if not self.suits(variables):
            unknown = next(variable for variable in variables if id(variable) not in self._states)
            raise ValueError(
                f"{self.name} was built for other variables than {unknown.path}: a model that has got other layers is "
                "to be compiled again."
            )

    def _check(self, gradients: Sequence[np.ndarray], variables: Sequence[Variable]) -> None:
        if len(gradients) != len(variables):
            raise ValueError(f"{len(gradients)} gradients do not fit {len(variables)} variables.")
        self.check_variables(variables)
        for gradient, variable in zip(gradients, variables, strict=True):
            if np.shape(gradient) != variable.shape:
                got = "None" if gradient is None else f"shape {np.shape(gradient)}"
                raise ValueError(f"The gradient of {variable.path} must have shape {variable.shape}, not {got}.")


def _check_others(optimizer: str, others: dict[str, Any]) -> None:
    if "lr" in others:
        raise ValueError(f"{optimizer} takes learning_rate={others['lr']!r}, not lr=.")
    if others.pop("decay", None):
        warnings.warn(
            f"{optimizer}: decay= is ignored, as in Keras 3; pass a schedule as learning_rate=.", stacklevel=4
        )
    for key, value in others.items():
        raise ValueError(f"{optimizer} does not know the argument {key}={value!r}.")


def _check_count(name: str, value: int | None, least: int) -> None:
    if value is not None and (isinstance(value, bool) or not hasattr(value, "__index__") or value < least):
        raise ValueError(f"{name} must be a whole number of at least {least} or None, not {value!r}.")


def _is_rate(value: Any) -> bool:
    try:
        return np.ndim(value) == 0 and math.isfinite(value) and value >= 0
    except TypeError:
        return False
