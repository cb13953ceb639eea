"""Keras on TensorFlow, with and without XLA: the inner loop of `fit`, and a compiled call for predictions."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf


class load:  # noqa: N801  called as a function
    """The model by its config, which fastconv writes as Keras does."""

    def __init__(
        self, description: dict[str, Any], weights: list[np.ndarray], configuration: str, threads: int
    ) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self._xla = configuration == "XLA"
        self._model = keras.Sequential.from_config(description["config"])
        if description["compile"] is not None:
            self._model.compile_from_config({**description["compile"], "jit_compile": self._xla})
        self._model.set_weights(weights)

    def predictor(self, x: np.ndarray) -> Callable[[], Any]:
        call = tf.function(lambda batch: self._model(batch, training=False), jit_compile=self._xla)
        batch = tf.constant(x)
        return lambda: call(batch).numpy()

    def trainer(self, x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
        self._model.reset_metrics()
        self._model.make_train_function()
        batches = iter(tf.data.Dataset.from_tensors((tf.constant(x), tf.constant(y))).repeat())
        return lambda: self._model.train_function(batches)["loss"].numpy()

    @staticmethod
    def to_numpy(result: Any) -> np.ndarray:
        return np.asarray(result)
