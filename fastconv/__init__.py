"""Convolution and pooling kernels written by hand, and a Keras-compatible CNN library on top of them.

    import fastconv as keras

Everything is imported on first use, so that the import itself takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastconv import (
        activations,
        applications,
        backend,
        callbacks,
        config,
        constraints,
        datasets,
        export,
        initializers,
        kernels,
        layers,
        learn,
        losses,
        metrics,
        mixed_precision,
        models,
        ops,
        optimizers,
        plot,
        preprocessing,
        random,
        regularizers,
        saving,
        testing,
        utils,
    )
    from fastconv.autotuning import autotune
    from fastconv.constraints import Constraint
    from fastconv.devices import device
    from fastconv.initializers import Initializer
    from fastconv.layers import Input, InputLayer, Layer
    from fastconv.losses import Loss
    from fastconv.metrics import Metric
    from fastconv.models import Model, Sequential
    from fastconv.optimizers import Optimizer
    from fastconv.regularizers import Regularizer
    from fastconv.variable import Variable

__version__ = "0.1.0"
__all__ = [
    "Constraint",
    "Initializer",
    "Input",
    "InputLayer",
    "Layer",
    "Loss",
    "Metric",
    "Model",
    "Optimizer",
    "Regularizer",
    "Sequential",
    "Variable",
    "activations",
    "applications",
    "autotune",
    "backend",
    "callbacks",
    "config",
    "constraints",
    "datasets",
    "device",
    "export",
    "initializers",
    "kernels",
    "layers",
    "learn",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "ops",
    "optimizers",
    "preprocessing",
    "plot",
    "random",
    "regularizers",
    "saving",
    "testing",
    "utils",
]

_HOMES = {
    "Constraint": "constraints",
    "Initializer": "initializers",
    "Input": "layers",
    "InputLayer": "layers",
    "Layer": "layers",
    "Loss": "losses",
    "Metric": "metrics",
    "Model": "models",
    "Optimizer": "optimizers",
    "Regularizer": "regularizers",
    "Sequential": "models",
    "Variable": "variable",
    "autotune": "autotuning",
    "device": "devices",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"fastconv.{_HOMES[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"fastconv.{name}")
    raise AttributeError(f"module 'fastconv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
