"""Layers under the names of `keras.layers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastconv.layers.activation import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax
from fastconv.layers.base import Layer
from fastconv.layers.convolution import Conv2D
from fastconv.layers.dense import Dense
from fastconv.layers.depthwise import DepthwiseConv2D
from fastconv.layers.global_pooling import (
    GlobalAveragePooling2D,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    GlobalMaxPooling2D,
)
from fastconv.layers.input import Input, InputLayer
from fastconv.layers.merging import (
    Add,
    Average,
    Concatenate,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    maximum,
    minimum,
    multiply,
    subtract,
)
from fastconv.layers.normalization import BatchNormalization
from fastconv.layers.pooling import AveragePooling2D, AvgPool2D, MaxPool2D, MaxPooling2D
from fastconv.layers.regularization import Dropout
from fastconv.layers.reshaping import Flatten, Identity, Permute, RepeatVector, Reshape
from fastconv.layers.scaling import Normalization, Rescaling
from fastconv.layers.spatial import Cropping2D, UpSampling2D, ZeroPadding2D
from fastconv.serialization import Table

__all__ = [
    "Activation",
    "Add",
    "Average",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "Concatenate",
    "Conv2D",
    "Cropping2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "ELU",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling2D",
    "Identity",
    "Input",
    "InputLayer",
    "Layer",
    "LeakyReLU",
    "MaxPool2D",
    "MaxPooling2D",
    "Maximum",
    "Minimum",
    "Multiply",
    "Normalization",
    "PReLU",
    "Permute",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "Softmax",
    "Subtract",
    "UpSampling2D",
    "ZeroPadding2D",
    "add",
    "average",
    "concatenate",
    "deserialize",
    "maximum",
    "minimum",
    "multiply",
    "serialize",
    "subtract",
]

Convolution2D = Conv2D

_TABLE = Table(
    "keras.layers",
    "layer",
    (
        Activation,
        Add,
        Average,
        AveragePooling2D,
        BatchNormalization,
        Concatenate,
        Conv2D,
        Cropping2D,
        Dense,
        DepthwiseConv2D,
        Dropout,
        ELU,
        Flatten,
        GlobalAveragePooling2D,
        GlobalMaxPooling2D,
        Identity,
        InputLayer,
        LeakyReLU,
        MaxPooling2D,
        Maximum,
        Minimum,
        Multiply,
        Normalization,
        PReLU,
        Permute,
        ReLU,
        RepeatVector,
        Rescaling,
        Reshape,
        Softmax,
        Subtract,
        UpSampling2D,
        ZeroPadding2D,
    ),
)


def serialize(layer: Layer) -> dict[str, Any]:
    """The layer, which may be a model, in Keras 3's layout, without its weights."""
    config = _with_models().serialize(layer)
    if hasattr(layer, "_graph"):
        functional = type(layer).__name__ == "Functional"  # for which Keras looks under a name that is not public
        config["module"] = "keras.src.models.functional" if functional else "keras"
        config["registered_name"] = "Functional" if functional else None
        return {**config, "build_config": {"input_shape": layer.input_shape if layer.built else None}}
    is_input = isinstance(layer, InputLayer)
    return config if is_input or not layer.built else {**config, "build_config": {"input_shape": layer.input_shape}}


def deserialize(config: Mapping[str, Any]) -> Any:
    """The layer of `{"class_name": ..., "config": {...}}`, not built; only this library's own layers and models.

    Raises:
        ValueError: another form, an unknown class, or arguments that the class does not take.
    """
    return _with_models().deserialize(config)


def _with_models() -> Table:
    """The table with the models in it: they are layers made of layers, so they add themselves when they are there."""
    import fastconv.models  # noqa: F401

    return _TABLE
