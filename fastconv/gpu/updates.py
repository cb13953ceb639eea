"""What an optimizer adds to a program: its update of all weights, and what it reads anew in each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastconv import config
from fastconv.constraints import MaxNorm, MinMaxNorm, NonNeg, UnitNorm
from fastconv.gpu.memory import Memory
from fastconv.gpu.parameters import Parameters
from fastconv.gpu.program import Recorder
from fastconv.gpu.recorded import Unsupported
from fastconv.kernels import cuda_clipping, cuda_constraints, cuda_lamb, cuda_update_variants, cuda_updates
from fastconv.kernels.cuda import Launch
from fastconv.optimizer_base import Optimizer
from fastconv.optimizers import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Ftrl, Lamb, Lion, Nadam, RMSprop
from fastconv.variable import Variable

_CONSTRAINTS = (MaxNorm, MinMaxNorm, NonNeg, UnitNorm)
_OPTIMIZERS = (SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Ftrl, Lamb, Lion, Nadam, RMSprop)
# What an optimizer reads anew in each step: the rate, what weights shrink by, three numbers of its own, the momentum of
# the running means, and whether these replace the weights.
NUMBERS = 7
_MOMENTUM, _OVERWRITES = 5, 6


def check(optimizer: Optimizer, trained: Sequence[Any]) -> None:
    """Raise `Unsupported` if the device cannot do the optimizer's steps."""
    if type(optimizer) not in _OPTIMIZERS:
        raise Unsupported(f"the optimizer {type(optimizer).__name__} has no kernels for a GPU: use the device 'cpu'.")
    for variable in trained:
        if variable.constraint is not None and type(variable.constraint) not in _CONSTRAINTS:
            name = getattr(variable.constraint, "__name__", type(variable.constraint).__name__)
            raise Unsupported(
                f"the constraint {name} of {variable.path} has no kernel for a GPU: use the device 'cpu'."
            )


def state_of(optimizer: Optimizer, trained: Sequence[Variable]) -> list[Sequence[Variable]]:
    """What is kept for each trained weight: the slots, and behind them running means and collected gradients."""
    averages = [average for _, average in optimizer.averages]
    others = [variables for variables in (averages, optimizer.accumulated) if variables]
    places = optimizer.places_of(trained)
    return [[every[place] for place in places] for every in (*optimizer.slots_by_name().values(), *others)]


def next_numbers(optimizer: Any) -> tuple[float, ...]:
    """The numbers of the next step, which counts as begun."""
    rate, own = optimizer.learning_rate, (0.0, 0.0, 0.0)
    decay = rate * (optimizer.weight_decay or 0.0)
    step = optimizer.iterations + 1
    if isinstance(optimizer, Adam):
        rate *= math.sqrt(1 - optimizer.beta_2**step) / (1 - optimizer.beta_1**step)
    elif isinstance(optimizer, Adamax):
        rate /= 1 - optimizer.beta_1**step
    elif isinstance(optimizer, Ftrl):
        own = optimizer.beta / (2 * rate) if rate else 0.0, 0.0, 0.0
    elif isinstance(optimizer, Lamb):
        own = 1 / (1 - optimizer.beta_1**step), 1 / (1 - optimizer.beta_2**step), 0.0
    elif isinstance(optimizer, Nadam) and not optimizer.only_collects:
        optimizer.begin_step()
        own = *optimizer.look_ahead(), 1 / (1 - optimizer.beta_2**step)
    every = optimizer.ema_overwrite_frequency
    overwrites = float(every is not None and step % every == 0)
    return rate, decay, *own, optimizer.ema_momentum if optimizer.iterations else 0.0, overwrites


def record(recorder: Recorder, optimizer: Optimizer, parameters: Parameters, rates: Any, collects: bool) -> None:
    """Write a step down.

    Args:
        rates: its numbers on the device.
        collects: whether gradients are only collected.
    """
    value, gradient, others = parameters.values, parameters.gradients, list(parameters.slots)
    slots = [others.pop(0) for _ in optimizer.slots_by_name()]
    averages = others.pop(0) if optimizer.use_ema else None
    steps = optimizer.gradient_accumulation_steps
    if steps is not None:
        recorder.add(cuda_update_variants.collect(gradient, others.pop(0), steps, not collects))
    if not collects:
        if optimizer.clipvalue is not None:
            recorder.add(cuda_updates.clip(gradient, optimizer.clipvalue))
        elif optimizer.clipnorm is not None or optimizer.global_clipnorm is not None:
            recorder.add(_clip_by_norm(recorder.memory, optimizer, parameters))
        for variable in parameters.trained:
            if optimizer.decays(variable):
                recorder.add(cuda_updates.decay(parameters.of(variable), rates))
        if isinstance(optimizer, Lamb):
            recorder.add(_lamb(recorder.memory, optimizer, parameters, slots, rates))
        else:
            recorder.add(_update(optimizer, value, gradient, slots, rates))
    if averages is not None:
        recorder.add(cuda_update_variants.follow(value, averages, rates, _MOMENTUM, _OVERWRITES))
    for variable in parameters.trained:
        if variable.constraint is not None:
            recorder.add(_constrain(variable.constraint, parameters.of(variable)))


def _update(optimizer: Any, value: Any, gradient: Any, slots: Sequence[Any], rates: Any) -> list[Launch]:
    arrays = value, gradient, slots, rates
    o = optimizer
    if isinstance(o, SGD):
        return cuda_updates.sgd(*arrays, o.momentum, o.nesterov)
    if isinstance(o, RMSprop):
        return cuda_updates.rmsprop(*arrays, o.rho, o.epsilon, max(0.0, o.momentum), o.centered)
    if isinstance(o, Adam):
        return cuda_updates.adam(*arrays, 1 - o.beta_1, 1 - o.beta_2, o.epsilon)
    if isinstance(o, Adagrad):
        return cuda_updates.adagrad(*arrays, o.epsilon)
    if isinstance(o, Adadelta):
        return cuda_update_variants.adadelta(*arrays, o.rho, o.epsilon)
    if isinstance(o, Adamax):
        return cuda_update_variants.adamax(*arrays, 1 - o.beta_1, o.beta_2, o.epsilon)
    if isinstance(o, Ftrl):
        shrinkage = o.l2_shrinkage_regularization_strength
        penalties = o.l1_regularization_strength, o.l2_regularization_strength, shrinkage
        return cuda_update_variants.ftrl(*arrays, -o.learning_rate_power, penalties)
    if isinstance(o, Lion):
        return cuda_update_variants.lion(*arrays, o.beta_1, o.beta_2)
    return cuda_update_variants.nadam(*arrays, 1 - o.beta_1, 1 - o.beta_2, o.epsilon)


def _lamb(memory: Memory, optimizer: Lamb, parameters: Parameters, slots: Sequence[Any], rates: Any) -> list[Launch]:
    value, gradient = parameters.values, parameters.gradients
    chunks, norms = tables = _tables(memory, parameters, together=False)
    scratch = tuple(memory.zeros((size,)) for size in (value.size, len(chunks), len(chunks), len(norms)))
    fractions = 1 - optimizer.beta_1, 1 - optimizer.beta_2
    return cuda_lamb.lamb(value, gradient, slots, rates, tables, scratch, fractions, optimizer.epsilon)


def _tables(memory: Memory, parameters: Parameters, together: bool) -> tuple[Any, Any]:
    """On the device: the chunks of all variables, and which of them make a norm."""
    chunks, norms = cuda_clipping.chunks(parameters.places, together)
    return memory.copied(chunks), memory.copied(norms)


def _clip_by_norm(memory: Memory, optimizer: Optimizer, parameters: Parameters) -> list[Launch]:
    together = optimizer.clipnorm is None
    chunks, norms = _tables(memory, parameters, together)
    shares, scales = memory.zeros((len(chunks),)), memory.zeros((len(norms),))
    longest: Any = optimizer.global_clipnorm if together else optimizer.clipnorm
    return cuda_clipping.clip_by_norm(parameters.gradients, (chunks, norms), shares, scales, longest)


def _constrain(constraint: Any, value: Any) -> list[Launch]:
    if type(constraint) is NonNeg:
        return cuda_constraints.not_negative(value)
    axes = (constraint.axis,) if isinstance(constraint.axis, int) else constraint.axis
    numbers = constraint.min_value, constraint.max_value, constraint.rate, config.epsilon()
    return cuda_constraints.limit_norms(value, axes, *numbers)
