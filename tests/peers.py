"""Keras beside fastconv: what the tests marked `peers` compare with. `make test-peers` installs it and runs them."""

import os
from typing import Any

import pytest

MARK = pytest.mark.peers


def keras() -> Any:
    """Keras 3, or a skip that says how to get it."""
    os.environ.setdefault("KERAS_BACKEND", "jax")  # before the first import: the lightest to start
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return pytest.importorskip("keras", reason="Keras is not installed: make test-peers does so, and runs this")


def gradient(function: Any, x: Any) -> Any:
    """The derivative of a number that Keras's `function` makes of an array."""
    backend = keras().backend.backend()
    if backend == "jax":
        import jax

        return jax.grad(lambda value: function(value))(x)
    if backend == "tensorflow":
        import tensorflow

        value = tensorflow.Variable(x)
        with tensorflow.GradientTape() as tape:
            result = function(value)
        return tape.gradient(result, value).numpy()
    pytest.skip(f"no derivatives with Keras on {backend}")
