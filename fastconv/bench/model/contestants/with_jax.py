"""JAX: the step and the prediction each one compiled function, images NHWC, the old weights' memory given away."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "linear": lambda x: x,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
}


class load:  # noqa: N801  called as a function
    """The layers as one function of weights and images; the threads are those that the process may run on."""

    def __init__(
        self, description: dict[str, Any], weights: list[np.ndarray], configuration: str, threads: int
    ) -> None:
        self._description, self._layers = description, description["layers"]
        self._weights = [jnp.asarray(array) for array in weights]
        self._softmax = self._layers[-1].get("activation") == "softmax"

    def predictor(self, x: np.ndarray) -> Callable[[], Any]:
        @jax.jit
        def predict(weights: Any, images: Any) -> Any:
            logits = self._logits(weights, images, None)
            return jax.nn.softmax(logits) if self._softmax else logits

        images, weights = jnp.asarray(x), [jnp.array(array) for array in self._weights]
        return lambda: predict(weights, images).block_until_ready()

    def trainer(self, x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
        if not (self._softmax and self._description["loss"].endswith("categorical_crossentropy")):
            raise NotImplementedError("only softmax with a categorical cross-entropy is compared")
        apply, slots = _optimizer(self._description["optimizer"])

        def loss_of(weights: Any, images: Any, labels: Any, key: Any) -> Any:
            log_p = jax.nn.log_softmax(self._logits(weights, images, key))
            if labels.ndim == 1:
                return -jnp.take_along_axis(log_p, labels[:, None], 1).mean()
            return -(labels * log_p).sum(1).mean()

        @partial(jax.jit, donate_argnums=0)
        def step(state: Any, images: Any, labels: Any) -> Any:
            weights, slots, count, key = state
            key, mask_key = jax.random.split(key)
            loss, gradients = jax.value_and_grad(loss_of)(weights, images, labels, mask_key)
            updated = [apply(w, g, s, count + 1.0) for w, g, s in zip(weights, gradients, slots, strict=True)]
            return ([w for w, _ in updated], [s for _, s in updated], count + 1.0, key), loss

        images, labels = jnp.asarray(x), jnp.asarray(y)
        weights = [jnp.array(array) for array in self._weights]
        zeros = [tuple(jnp.zeros_like(w) for _ in range(slots)) for w in weights]
        state = weights, zeros, jnp.float32(0), jax.random.key(0)

        def run() -> Any:
            nonlocal state
            state, loss = step(state, images, labels)
            jax.block_until_ready(state)
            return loss

        return run

    def _logits(self, weights: Any, x: Any, key: Any) -> Any:
        arrays = iter(weights)
        for layer in self._layers:
            kind = layer["kind"]
            if kind == "conv2d":
                top, bottom, left, right = layer["padding"]
                x = lax.conv_general_dilated(
                    x,
                    next(arrays),
                    layer["strides"],
                    [(top, bottom), (left, right)],
                    rhs_dilation=layer["dilation"],
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                    feature_group_count=layer["groups"],
                )
                x = x + next(arrays) if layer["bias"] else x
            elif kind == "dense":
                x = x @ next(arrays)
                x = x + next(arrays) if layer["bias"] else x
            elif kind == "max_pool2d":
                x = _pool(x, -jnp.inf, lax.max, layer)
            elif kind == "average_pool2d":
                x = _pool(x, 0.0, lax.add, layer) / _pool(jnp.ones_like(x[:1, ..., :1]), 0.0, lax.add, layer)
            elif kind == "flatten":
                x = x.reshape(x.shape[0], -1)
            elif kind == "dropout" and key is not None:
                key, mask_key = jax.random.split(key)
                keep = 1 - layer["rate"]
                x = jnp.where(jax.random.bernoulli(mask_key, keep, x.shape), x / keep, 0.0)
            name = layer.get("activation", "linear")
            x = x if name == "softmax" else _ACTIVATIONS[name](x)
        return x

    @staticmethod
    def to_numpy(result: Any) -> np.ndarray:
        return np.asarray(result)


def _pool(x: Any, start: float, operation: Any, layer: dict[str, Any]) -> Any:
    top, bottom, left, right = layer["padding"]
    padding = ((0, 0), (top, bottom), (left, right), (0, 0))
    return lax.reduce_window(x, start, operation, (1, *layer["window"], 1), (1, *layer["strides"], 1), padding)


def _optimizer(described: dict[str, Any]) -> tuple[Callable[..., Any], int]:
    """(weight, gradient, slots, step from 1) -> (weight, slots), as Keras has it; and the number of slots."""
    name, rate = described["name"], described["learning_rate"]
    if name == "SGD":
        momentum, nesterov = described["momentum"], described["nesterov"]

        def sgd(w: Any, g: Any, slots: Any, step: Any) -> Any:
            if not momentum:
                return w - rate * g, slots
            velocity = momentum * slots[0] - rate * g
            return w + (momentum * velocity - rate * g if nesterov else velocity), (velocity,)

        return sgd, 1 if momentum else 0
    if name == "RMSprop":
        rho, epsilon = described["rho"], described["epsilon"]

        def rmsprop(w: Any, g: Any, slots: Any, step: Any) -> Any:
            v = rho * slots[0] + (1 - rho) * g * g
            return w - rate * g / jnp.sqrt(v + epsilon), (v,)

        return rmsprop, 1
    beta_1, beta_2, epsilon = described["beta_1"], described["beta_2"], described["epsilon"]

    def adam(w: Any, g: Any, slots: Any, step: Any) -> Any:
        m, v = beta_1 * slots[0] + (1 - beta_1) * g, beta_2 * slots[1] + (1 - beta_2) * g * g
        scale = rate * jnp.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        return w - scale * m / (jnp.sqrt(v) + epsilon), (m, v)

    return adam, 2
