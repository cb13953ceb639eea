"""What a program is made from beside the model's structure: options, which a user may change between steps.

This is the one place that says what a program depends on: `_watched` names it all. A program whose options are others
now is made anew before it runs, so that a change counts from the next step on, as on the CPU. Making one takes as long
as the first step. Of a layer these are all its public attributes: nothing has to be listed where a layer gets kernels.
Read anew in every step, without another program: the learning rate, weight decay, what running means of weights
follow, the number of the step, and whatever layers draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from operator import is_, itemgetter
from typing import Any

from fastconv import config
from fastconv.layers import Layer
from fastconv.optimizer_base import Optimizer
from fastconv.serialization import Configurable
from fastconv.variable import Variable

_READ_ANEW = {"weight_decay", "ema_momentum", "ema_overwrite_frequency"}  # of an optimizer, as long as it is a number


class Options:
    """The options of a model that a program of a kind was made from.

    Args:
        kind: "train", "collect", "test" or "predict".
    """

    def __init__(self, model: Any, kind: str) -> None:
        parts: list[Any] = list(model.forward_plan.layers)
        if kind != "predict":
            objective = model._objective
            parts += [objective.loss, *(metric for metric, _ in objective.all_metrics)]
        if kind in ("train", "collect"):
            parts.append(model.optimizer)
        self._known: set[int] = set()  # objects that are remembered
        self._seen: list[tuple[Callable[[], tuple[Any, ...]], tuple[Any, ...]]] = [(_settings, _settings())]
        for part in parts:
            self._see(part)

    def still_hold(self) -> bool:
        """Whether all of them are what they were."""
        return all(_same(read(), values) for read, values in self._seen)

    def _see(self, value: Any) -> None:
        """Remember a value, and what it refers to."""
        if isinstance(value, (list, tuple)):
            if isinstance(value, list):
                self._add(partial(tuple, value))
            for element in value:
                self._see(element)
            return
        names = [name for name in _watched(value) if name in vars(value)]
        if names and id(value) not in self._known:
            self._known.add(id(value))
            # Of one name it would not give a tuple.
            self._add(partial(itemgetter(*names, names[0]), vars(value)))
            for name in names:
                self._see(vars(value)[name])
        if isinstance(value, Layer):
            for weight in value.weights:
                self._see(weight)
        if isinstance(value, Optimizer):
            self._add(lambda: (value.weight_decay is None,))

    def _add(self, read: Callable[[], tuple[Any, ...]]) -> None:
        self._seen.append((read, read()))


def _watched(value: Any) -> Iterable[str]:
    """The attributes of an object that programs depend on."""
    if isinstance(value, Layer):
        return ["_trainable", *(name for name in vars(value) if not name.startswith("_"))]
    if isinstance(value, Variable):
        return "regularizer", "constraint", "trainable"
    if isinstance(value, Optimizer):
        return [name for name in value.config_keys if name not in _READ_ANEW]
    return value.config_keys if isinstance(value, Configurable) else ()


def _settings() -> tuple[Any, ...]:
    return config.epsilon(), config.winograd(), config.kernel_precision()


def _same(now: tuple[Any, ...], then: tuple[Any, ...]) -> bool:
    """Whether the elements are the same objects, or numbers or texts that are equal."""
    return len(now) == len(then) and (
        all(map(is_, now, then))
        or all(
            one is other or (isinstance(one, (int, float, str)) and type(one) is type(other) and one == other)
            for one, other in zip(now, then, strict=True)
        )
    )
