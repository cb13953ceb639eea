"""fastconv, as a user's program calls it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.kernels.cuda import import_cupy
from fastconv.models import Sequential

if os.environ.get("FASTCONV_GPU_DRY_RUN"):
    from fastconv.bench.gpu import stand_in

    stand_in.take_the_gpus_place()


class load:  # noqa: N801  called as a function
    """The model by its config; compiled as described."""

    def __init__(
        self, description: dict[str, Any], weights: list[np.ndarray], configuration: str, threads: int
    ) -> None:
        self._model = Sequential.from_config(description["config"])
        if description["compile"] is not None:
            self._model.compile_from_config(description["compile"])
        self._model.set_weights(weights)

    def predictor(self, x: np.ndarray) -> Callable[[], Any]:
        given = _placed(x)
        return lambda: self._model.predict_on_batch(given)

    def trainer(self, x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
        self._model.reset_metrics()
        given = _placed(x)
        return lambda: self._model.train_on_batch(given, y)

    @staticmethod
    def to_numpy(result: Any) -> np.ndarray:
        return np.asarray(result)


def _placed(x: np.ndarray) -> Any:
    """x where the model runs: on a GPU, as PyTorch's contestant has it."""
    return import_cupy().asarray(x) if os.environ.get("FASTCONV_DEVICE") == "gpu" else x
