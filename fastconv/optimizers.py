"""Optimizers with Keras 3's update rules, defaults and order of saved variables.

optimizer.build(variables)              makes the slots (moments and the like); `apply` does it if needed
optimizer.apply(gradients, variables)   one step, in place; then each variable's constraint
optimizer.variables                     iterations, learning_rate, slots: what a saved model keeps

The most used ones are here and update all weights in one pass; the others are in `optimizer_variants`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastconv import schedules as schedules
from fastconv.optimizer_base import Optimizer
from fastconv.optimizer_variants import Adadelta, Adamax, Ftrl, Lamb, Lion, Nadam
from fastconv.schedules import LearningRateSchedule
from fastconv.serialization import Table


class SGD(Optimizer):
    """value -= learning_rate * gradient, with momentum as velocity; `momentum` from 0 to 1."""

    config_keys = (*Optimizer.config_keys, "momentum", "nesterov")

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be from 0 to 1, not {momentum!r}.")
        self.momentum = momentum
        self.nesterov = nesterov

    def slot_groups(self):
        return [("momentum",)] if self.momentum else []

    def update_step(self, gradient, value, learning_rate, slots, scratch):
        value -= np.multiply(gradient, learning_rate, out=scratch)

    def update_all(self, gradients, values, learning_rate, states):
        if not self.momentum:
            super().update_all(gradients, values, learning_rate, states)
            return
        from fastconv.kernels import cpu_updates

        cpu_updates.sgd(self.rows(gradients, values, states), learning_rate, self.momentum, self.nesterov)


class RMSprop(Optimizer):
    """Steps divided by the root of a running mean (weight `rho`) of squared gradients.

    `centered` subtracts the square of their running mean first; `momentum` above 0 makes steps a velocity.
    """

    config_keys = (*Optimizer.config_keys, "rho", "momentum", "epsilon", "centered")

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon
        self.centered = centered

    def slot_groups(self):
        momentum = [("momentum",)] if self.momentum > 0 else []
        return [("velocity",), *momentum, *([("average_gradient",)] if self.centered else [])]

    def update_all(self, gradients, values, learning_rate, states):
        from fastconv.kernels import cpu_updates

        rows = self.rows(gradients, values, states)
        cpu_updates.rmsprop(rows, learning_rate, self.rho, self.epsilon, max(0.0, self.momentum), self.centered)


class Adam(Optimizer):
    """Steps along a running mean of gradients, divided by the root of one of their squares.

    `amsgrad` divides by the largest such root so far.
    """

    config_keys = (*Optimizer.config_keys, "beta_1", "beta_2", "epsilon", "amsgrad")

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.amsgrad = amsgrad

    def slot_groups(self):
        return [("momentum", "velocity"), *([("velocity_hat",)] if self.amsgrad else [])]

    def update_all(self, gradients, values, learning_rate, states):
        from fastconv.kernels import cpu_updates

        step = self.iterations + 1
        cpu_updates.adam(
            self.rows(gradients, values, states),
            learning_rate * math.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step),
            1 - self.beta_1,
            1 - self.beta_2,
            self.epsilon,
        )


class AdamW(Adam):
    """`Adam` with weight decay; ValueError if that is None."""

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        if weight_decay is None:
            raise ValueError("weight_decay of AdamW must be a number, not None.")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **options)


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients so far."""

    config_keys = (*Optimizer.config_keys, "initial_accumulator_value", "epsilon")

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.initial_accumulator_value = initial_accumulator_value
        self.epsilon = epsilon

    def slot_groups(self):
        return [("accumulator",)]

    def initial_slot(self, variable, name):
        return np.full_like(variable.value, self.initial_accumulator_value)

    def update_step(self, gradient, value, learning_rate, slots, scratch):
        accumulator = slots["accumulator"]
        accumulator += np.multiply(gradient, gradient, out=scratch)
        np.add(accumulator, self.epsilon, out=scratch)
        np.sqrt(scratch, out=scratch)
        np.divide(gradient, scratch, out=scratch)
        scratch *= learning_rate
        value -= scratch


_CLASSES = (SGD, RMSprop, Adam, AdamW, Adagrad, Adadelta, Adamax, Ftrl, Lamb, Lion, Nadam)
_TABLE = Table("keras.optimizers", "optimizer", _CLASSES, fold=str.lower)


def get(identifier: Any) -> Optimizer | None:
    """The optimizer of a name (in any case), config, class or `Optimizer`; None for None.

    Raises:
        ValueError: unknown name or bad config.
        TypeError: anything else.
    """
    optimizer = _TABLE.make(identifier)
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise _TABLE.refuse(identifier, "an Optimizer")
    return optimizer


def serialize(optimizer: Optimizer | None) -> dict[str, Any] | None:
    """The optimizer in Keras 3's layout, without its variables."""
    return None if optimizer is None else _TABLE.serialize(optimizer)


def deserialize(config: Mapping[str, Any]) -> Any:
    """The optimizer of `{"class_name": ..., "config": {...}}`."""
    return _TABLE.deserialize(config)
