"""`check_layer`: the battery that every layer passes."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.testing.comparison import Mismatch, difference
from fastconv.testing.gradients import compare_gradients, numeric_gradient


def check_layer(
    layer: Any, input_shape: Sequence[int], seed: int = 0, samples: int = 40, training: bool = False
) -> None:
    """Check a layer on random inputs of `input_shape`, the batch's size first; the layer itself is only read.

    The checks, by the name that a failure carries as `check`:
        shape, dtype: the output has `compute_output_shape`'s shape and the layer's dtype.
        inputs, repeat: a call leaves its input alone, and a second call and a second `backward` give the same bits.
        config: `get_config` survives JSON, and a layer made from it gives the same output with the same weights.
        gradient: `backward`, in float64 and for a random upstream gradient, against central differences by the input
            and by every trainable weight, penalties included.

    Args:
        layer: a `fastconv.layers.Layer`, built or not.
        samples: elements of the input and of each weight whose gradient is measured.
        training: whether the layer is called as in training; not for one that draws random numbers then.

    Raises:
        Mismatch: a check failed.
    """
    who = f"{type(layer).__name__}, inputs of shape {tuple(input_shape)}"
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(tuple(input_shape)).astype(layer.dtype)
    before = x.copy()
    own = copy.deepcopy(layer)
    y = own(x, training=training)
    expected_shape = tuple(own.compute_output_shape(tuple(input_shape)))
    if y.shape != expected_shape:
        raise Mismatch("shape", f"{who}: the output has shape {y.shape}, compute_output_shape says {expected_shape}.")
    if y.dtype != own.dtype:
        raise Mismatch("dtype", f"{who}: the output has dtype {y.dtype}, the layer {own.dtype}.")
    _same_bits("inputs", f"{who}: the input after a call", x, before)
    _same_bits("repeat", f"{who}: the output of a second call", own(x, training=training), y)

    config = json.loads(json.dumps(layer.get_config()))
    remade = _built(layer, config, x)
    if json.loads(json.dumps(remade.get_config())) != config:
        raise Mismatch("config", f"{who}: {config} came back as {remade.get_config()}.")
    remade.set_weights(own.get_weights())
    again = remade(x, training=training)
    _same_bits("config", f"{who}: the output of a layer with the same config and weights", again, y)
    if remade.losses != own.losses:
        raise Mismatch("config", f"{who}: its losses {own.losses} became {remade.losses}.")

    probe = _built(layer, {**config, "dtype": "float64"}, x)
    probe.set_weights([weight + 0.3 * rng.uniform(-1, 1, weight.shape) for weight in probe.get_weights()])
    _check_gradients(probe, x.astype("float64"), who, rng, samples, training)


def _built(layer: Any, config: dict[str, Any], x: np.ndarray) -> Any:
    """A layer of that class and config, built for x."""
    made = type(layer).from_config(config)
    made.build((None, *x.shape[1:]))
    return made


def _check_gradients(
    layer: Any, x: np.ndarray, who: str, rng: np.random.Generator, samples: int, training: bool
) -> None:
    y = layer.forward(x, training)
    gy = rng.standard_normal(y.shape)

    def backward() -> list[tuple[str, np.ndarray, np.ndarray | None]]:
        """(name, array, its gradient) of the input and of the weights."""
        layer.forward(x, training)
        by_input = layer.backward(gy.copy())
        by_weights = [(weight.path, weight.value, weight.gradient) for weight in layer.trainable_weights]
        return [("the input", x, by_input), *by_weights]

    def loss() -> float:
        return float(np.sum(gy * layer.forward(x, training)) + sum(layer.losses))

    first = [(name, array, None if gradient is None else gradient.copy()) for name, array, gradient in backward()]
    for (name, array, gradient), (_, _, again) in zip(first, backward(), strict=True):
        what = f"{who}: the gradient by {name}"
        if gradient is None or again is None:
            raise Mismatch("shape", f"{what} was not computed.")
        if gradient.shape != array.shape:
            raise Mismatch("shape", f"{what} has shape {gradient.shape}, expected {array.shape}.")
        _same_bits("repeat", f"{what}, of a second backward", again, gradient)
        chosen = rng.permutation(array.size)[:samples]
        compare_gradients(what, gradient.ravel()[chosen], numeric_gradient(loss, array, chosen), chosen, array.shape)


def _same_bits(check: str, what: str, got: np.ndarray, expected: np.ndarray) -> None:
    if got.tobytes() != expected.tobytes():
        raise Mismatch(check, difference(what, got, expected) or f"{what} has other bits.")
