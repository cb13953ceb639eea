"""`check_gradient`: a gradient worked out by hand against one measured by small changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv.testing.comparison import Mismatch, difference

_STEP = 1e-6
_TOLERANCE = 1e-6  # of the largest gradient, and at least that of 1


def check_gradient(
    forward: Callable[..., np.ndarray],
    backward: Callable[..., Sequence[np.ndarray | None]],
    *inputs: Any,
    seed: int = 0,
    samples: int = 40,
) -> None:
    """Compare `backward` with central differences of `forward` in float64, for a random upstream gradient.

    Args:
        forward: `forward(*inputs)` returns an array y.
        backward: `backward(gy, *inputs)` returns a gradient for each input, or None for one not to be checked. It is
            called right after `forward(*inputs)`.
        inputs: arrays, taken as float64. Keep them away from kinks: no ties under a maximum, no zeros under ReLU.
        seed: of the upstream gradient and of the choice of elements.
        samples: elements of each input to change; all of a smaller one.

    Raises:
        Mismatch: they differ; `check` is "gradient" or, if `backward` returns an array of another shape, "shape".
    """
    rng = np.random.default_rng(seed)
    arrays = [np.array(value, np.float64) for value in inputs]
    gy = rng.standard_normal(np.shape(forward(*arrays)))
    gradients = backward(gy, *arrays)
    if len(gradients) != len(arrays):
        raise Mismatch("shape", f"backward returned {len(gradients)} gradients for {len(arrays)} inputs.")
    for i, (array, gradient) in enumerate(zip(arrays, gradients, strict=True)):
        if gradient is None:
            continue
        if np.shape(gradient) != array.shape:
            raise Mismatch("shape", f"gradient {i} has shape {np.shape(gradient)}, its input {array.shape}.")
        chosen = rng.permutation(array.size)[:samples]
        measured = numeric_gradient(lambda: float(np.sum(gy * forward(*arrays))), array, chosen)
        compare_gradients(f"gradient {i}", np.ravel(gradient)[chosen], measured, chosen, array.shape)


def numeric_gradient(value: Callable[[], float], array: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The derivative of `value()` by each of the `chosen` elements of `array`, which `value` reads; float64."""
    flat, gradient = array.reshape(-1), np.empty(len(chosen))
    for i, element in enumerate(chosen):
        before = flat[element]
        sides = []
        for step in (_STEP, -_STEP):
            flat[element] = before + step
            sides.append(value())
        flat[element] = before
        gradient[i] = (sides[0] - sides[1]) / (2 * _STEP)
    return gradient


def compare_gradients(
    name: str, got: np.ndarray, measured: np.ndarray, chosen: np.ndarray, shape: tuple[int, ...]
) -> None:
    """Raise Mismatch if the gradients of the `chosen` elements differ; NaN does."""
    tolerance = _TOLERANCE * max(1.0, float(np.max(np.abs(measured), initial=0.0)))
    text = difference(name, got, measured, tolerance)
    if text is not None:
        places = [
            tuple(map(int, np.unravel_index(i, shape))) for i in chosen[~(np.abs(got - measured) <= tolerance)][:5]
        ]
        raise Mismatch("gradient", f"{text}\nin an array of shape {shape} these are the elements {places}")
