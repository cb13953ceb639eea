"""What an optimizer adds to a program: its update of all weights, and what it reads anew in each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastconv.gpu.network import Unsupported
from fastconv.gpu.parameters import Parameters
from fastconv.gpu.program import Recorder
from fastconv.kernels import cuda_updates
from fastconv.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

NUMBERS = 2  # that an optimizer reads anew in each step


def check(optimizer: Optimizer, trained: Sequence[Any]) -> None:
    """Raise `Unsupported` if the device cannot do the optimizer's steps."""
    if type(optimizer) not in (SGD, Adagrad, Adam, AdamW, RMSprop):
        raise Unsupported(f"the optimizer {type(optimizer).__name__} has no kernels for a GPU: use the device 'cpu'.")
    for option in ("clipnorm", "global_clipnorm"):
        if getattr(optimizer, option) is not None:
            raise Unsupported(f"the optimizer's {option} is for the CPU; a GPU knows clipvalue.")
    for option in ("use_ema", "gradient_accumulation_steps"):
        if getattr(optimizer, option):
            raise Unsupported(f"the optimizer's {option} is for the CPU: use the device 'cpu'.")
    for variable in trained:
        if variable.constraint is not None:
            raise Unsupported(f"the constraint of {variable.path} is for the CPU: use the device 'cpu'.")


def next_numbers(optimizer: Optimizer) -> tuple[float, float]:
    """The rate of the next step, and what weights shrink by."""
    rate = optimizer.learning_rate
    decay = rate * (optimizer.weight_decay or 0.0)
    if isinstance(optimizer, Adam):
        step = optimizer.iterations + 1
        rate *= math.sqrt(1 - optimizer.beta_2**step) / (1 - optimizer.beta_1**step)
    return rate, decay


def record(recorder: Recorder, optimizer: Optimizer, parameters: Parameters, rates: Any) -> None:
    """Write a step down; `rates` are its numbers on the device."""
    value, gradient, slots = parameters.values, parameters.gradients, parameters.slots
    if optimizer.clipvalue is not None:
        recorder.add(cuda_updates.clip(gradient, optimizer.clipvalue))
    for variable in parameters.trained:
        if optimizer.decays(variable):
            recorder.add(cuda_updates.decay(parameters.of(variable), rates))
    if isinstance(optimizer, SGD):
        launches = cuda_updates.sgd(value, gradient, slots, rates, optimizer.momentum, optimizer.nesterov)
    elif isinstance(optimizer, RMSprop):
        rho, epsilon, momentum = optimizer.rho, optimizer.epsilon, max(0.0, optimizer.momentum)
        launches = cuda_updates.rmsprop(value, gradient, slots, rates, rho, epsilon, momentum, optimizer.centered)
    elif isinstance(optimizer, Adam):
        fractions = 1 - optimizer.beta_1, 1 - optimizer.beta_2
        launches = cuda_updates.adam(value, gradient, slots, rates, *fractions, optimizer.epsilon)
    elif isinstance(optimizer, Adagrad):
        launches = cuda_updates.adagrad(value, gradient, slots, rates, optimizer.epsilon)
    else:
        raise AssertionError(type(optimizer))
    recorder.add(launches)
