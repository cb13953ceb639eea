"""The less used optimizers, in NumPy: Adadelta, Adamax, Ftrl, Lamb, Lion and Nadam."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.optimizer_base import Optimizer
from fastconv.schedules import LearningRateSchedule
from fastconv.variable import Variable


class Adadelta(Optimizer):
    """Steps scaled by the ratio of two running roots (weight `rho`): of past steps' squares and of gradients'."""

    config_keys = (*Optimizer.config_keys, "rho", "epsilon")
    scratch_arrays = 2

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.rho = rho
        self.epsilon = epsilon

    def slot_groups(self):
        return [("accumulated_grad", "accumulated_delta_var")]

    def update_step(self, gradient, value, learning_rate, slots, scratch):
        squares, steps = slots.values()
        step, other = scratch
        _move(squares, np.multiply(gradient, gradient, out=step), 1 - self.rho, other)
        np.add(steps, self.epsilon, out=step)
        np.add(squares, self.epsilon, out=other)
        np.divide(step, other, out=step)
        np.sqrt(step, out=step)
        step *= gradient
        _move(steps, np.multiply(step, step, out=other), 1 - self.rho, other)
        step *= learning_rate
        value -= step


class Adamax(Optimizer):
    """Steps along a running mean of gradients, divided by the largest of them, which shrinks by `beta_2` a step."""

    config_keys = (*Optimizer.config_keys, "beta_1", "beta_2", "epsilon")

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def slot_groups(self):
        return [("momentum", "norm")]

    def update_step(self, gradient, value, learning_rate, slots, scratch):
        mean, largest = slots.values()
        _move(mean, gradient, 1 - self.beta_1, scratch)
        largest *= self.beta_2
        np.maximum(largest, np.abs(gradient, out=scratch), out=largest)
        np.add(largest, self.epsilon, out=scratch)
        np.divide(mean, scratch, out=scratch)
        scratch *= learning_rate / (1 - self.beta_1 ** (self.iterations + 1))
        value -= scratch


class Ftrl(Optimizer):
    """Follow the regularized leader: the weights that all gradients so far and the penalties lead to.

    Args:
        learning_rate_power: at most 0; how steps shrink with the sum of squared gradients.
        initial_accumulator_value: that sum's start, at least 0.
        l1_regularization_strength, l2_regularization_strength: penalties on weights, at least 0.
        l2_shrinkage_regularization_strength: a penalty that counts as a part of the gradient, at least 0.
        beta: added to the l2 penalty, divided by twice the learning rate.
    """

    config_keys = (
        *Optimizer.config_keys,
        "learning_rate_power",
        "initial_accumulator_value",
        "l1_regularization_strength",
        "l2_regularization_strength",
        "l2_shrinkage_regularization_strength",
        "beta",
    )
    scratch_arrays = 2

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        if learning_rate_power > 0:
            raise ValueError(f"learning_rate_power must be 0 or negative, not {learning_rate_power!r}.")
        self.learning_rate_power = learning_rate_power
        self.initial_accumulator_value = _not_negative("initial_accumulator_value", initial_accumulator_value)
        self.l1_regularization_strength = _not_negative("l1_regularization_strength", l1_regularization_strength)
        self.l2_regularization_strength = _not_negative("l2_regularization_strength", l2_regularization_strength)
        self.l2_shrinkage_regularization_strength = _not_negative(
            "l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength
        )
        self.beta = beta

    def slot_groups(self):
        return [("accumulator", "linear")]

    def initial_slot(self, variable, name):
        return np.full_like(variable.value, self.initial_accumulator_value if name == "accumulator" else 0)

    def update_step(self, gradient, value, learning_rate, slots, scratch):
        squares, linear = slots.values()
        root, other = scratch
        power = -self.learning_rate_power
        np.power(squares, power, out=other)
        squares += np.multiply(gradient, gradient, out=root)
        np.power(squares, power, out=root)
        np.subtract(root, other, out=other)
        other *= value
        other /= learning_rate
        linear -= other
        linear += gradient
        linear += np.multiply(value, 2 * self.l2_shrinkage_regularization_strength, out=other)
        root /= learning_rate
        root += 2 * (self.l2_regularization_strength + self.beta / (2 * learning_rate))
        np.clip(linear, -self.l1_regularization_strength, self.l1_regularization_strength, out=other)
        other -= linear
        np.divide(other, root, out=value)


class Lamb(Optimizer):
    """`Adam`'s step, scaled for each variable to the length of the variable itself."""

    config_keys = (*Optimizer.config_keys, "beta_1", "beta_2", "epsilon")
    scratch_arrays = 2

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def slot_groups(self):
        return [("momentum", "velocity")]

    def update_step(self, gradient, value, learning_rate, slots, scratch):
        mean, mean_square = slots.values()
        step, other = scratch
        count = self.iterations + 1
        _move(mean, gradient, 1 - self.beta_1, step)
        _move(mean_square, np.multiply(gradient, gradient, out=step), 1 - self.beta_2, other)
        np.divide(mean_square, 1 - self.beta_2**count, out=other)
        np.sqrt(other, out=other)
        other += self.epsilon
        np.divide(mean, other, out=step)
        step /= 1 - self.beta_1**count
        length = math.sqrt(np.multiply(value, value, out=other).sum())
        step_length = math.sqrt(np.multiply(step, step, out=other).sum())
        step *= learning_rate * (length / step_length if length > 0 and step_length > 0 else 1.0)
        value -= step


class Lion(Optimizer):
    """Steps of one length: the sign of a running mean of gradients."""

    config_keys = (*Optimizer.config_keys, "beta_1", "beta_2")
    scratch_arrays = 2

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        if not 0 < beta_1 <= 1:
            raise ValueError(f"beta_1 must be above 0 and at most 1, not {beta_1!r}.")
        self.beta_1 = beta_1
        self.beta_2 = beta_2

    def slot_groups(self):
        return [("momentum",)]

    def update_step(self, gradient, value, learning_rate, slots, scratch):
        (mean,) = slots.values()
        step, other = scratch
        np.multiply(mean, self.beta_1, out=step)
        step += np.multiply(gradient, 1 - self.beta_1, out=other)
        np.sign(step, out=step)
        step *= learning_rate
        value -= step
        mean *= self.beta_2
        mean += np.multiply(gradient, 1 - self.beta_2, out=other)


class Nadam(Optimizer):
    """`Adam` with Nesterov's look ahead, whose weight grows with the steps."""

    config_keys = (*Optimizer.config_keys, "beta_1", "beta_2", "epsilon")
    scratch_arrays = 2

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self._product = Variable(np.ones(()), "variable", trainable=False)  # of the weights so far

    @property
    def other_variables(self):
        return [self._product] if self.built else []

    def slot_groups(self):
        return [("momentum", "velocity")]

    def _update(self, gradients, variables, states):
        self.begin_step()
        super()._update(gradients, variables, states)

    def begin_step(self) -> None:
        """Take the next step's weight into the product of all."""
        self._product.value *= self._weight(self.iterations + 1)

    def look_ahead(self) -> tuple[float, float]:
        """What the mean and the gradient count in the step that has begun."""
        count, product = self.iterations + 1, float(self._product.value)
        weight, following = self._weight(count), self._weight(count + 1)
        return following / (1 - product * following), (1 - weight) / (1 - product)

    def _weight(self, count: int) -> float:
        return self.beta_1 * (1 - 0.5 * 0.96**count)

    def update_step(self, gradient, value, learning_rate, slots, scratch):
        mean, mean_square = slots.values()
        step, other = scratch
        count = self.iterations + 1
        of_mean, of_gradient = self.look_ahead()
        _move(mean, gradient, 1 - self.beta_1, step)
        _move(mean_square, np.multiply(gradient, gradient, out=step), 1 - self.beta_2, other)
        np.multiply(mean, of_mean, out=step)
        step += np.multiply(gradient, of_gradient, out=other)
        np.divide(mean_square, 1 - self.beta_2**count, out=other)
        np.sqrt(other, out=other)
        other += self.epsilon
        np.divide(step, other, out=step)
        step *= learning_rate
        value -= step


def _move(mean: np.ndarray, towards: np.ndarray, fraction: float, scratch: np.ndarray) -> None:
    """Move a running mean by a fraction of the way."""
    np.subtract(towards, mean, out=scratch)
    scratch *= fraction
    mean += scratch


def _not_negative(name: str, value: float) -> float:
    if not value >= 0:
        raise ValueError(f"{name} must be 0 or positive, not {value!r}.")
    return value
