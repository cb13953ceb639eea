"""What a program is made from beside the model's structure: options, which a user may change between steps.

This is the one place that says what a program depends on. `options_of` gives all of it; a program whose options are
others now is made anew before it runs, so that a change counts from the next step on, as on the CPU. Making one takes
as long as the first step. Of a layer these are all its public attributes: nothing has to be listed where a layer gets
kernels. Read anew in every step, without another program: the learning rate, weight decay, what running means of
weights follow, the number of the step, and whatever layers draw.
"""

from __future__ import annotations

from typing import Any

from fastconv import config
from fastconv.layers import Layer
from fastconv.serialization import Configurable

_READ_ANEW = {"name", "weight_decay", "ema_momentum", "ema_overwrite_frequency"}  # of an optimizer


def options_of(model: Any, kind: str) -> tuple[Any, ...]:
    """The options that a model's program of a kind, "train", "collect", "test" or "predict", depends on.

    Tuples that are equal as long as none has been changed; they refer to no array.
    """
    settings = config.epsilon(), config.winograd(), config.kernel_precision()
    layers = tuple(_of_layer(layer) for layer in model.forward_plan.layers)
    if kind == "predict":
        return settings, layers
    objective = model._objective
    judges = (objective.loss, [metric for metric, _ in objective.all_metrics])
    if kind == "test":
        return settings, layers, _plain(judges)
    return settings, layers, _plain(judges), _of_optimizer(model.optimizer)


def _of_layer(layer: Layer) -> tuple[Any, ...]:
    public = tuple(_plain(value) for name, value in vars(layer).items() if not name.startswith("_"))
    weights = tuple((_plain(w.regularizer), _plain(w.constraint), w.trainable) for w in layer.weights)
    return layer.trainable, public, weights


def _of_optimizer(optimizer: Any) -> tuple[Any, ...]:
    values = (_plain(getattr(optimizer, key)) for key in optimizer.config_keys if key not in _READ_ANEW)
    return optimizer.weight_decay is None, *values


def _plain(value: Any) -> Any:
    """A number, a text or several of them as they are; an object by its options, another by its identity."""
    if value is None or isinstance(value, (int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return tuple(map(_plain, value))
    if isinstance(value, Configurable):
        return id(value), *(_plain(getattr(value, key, None)) for key in value.config_keys)
    return id(value)
