"""Layers under the names of `keras.layers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastconv.layers.activation import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax
from fastconv.layers.augmentation import RandomBrightness, RandomContrast, RandomCrop, RandomFlip
from fastconv.layers.base import Layer
from fastconv.layers.convolution import Conv2D
from fastconv.layers.dense import Dense
from fastconv.layers.depthwise import DepthwiseConv2D
from fastconv.layers.global_pooling import GlobalAveragePooling2D, GlobalAvgPool2D, GlobalMaxPool2D, GlobalMaxPooling2D
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
from fastconv.layers.noise import ActivityRegularization, AlphaDropout, GaussianDropout, GaussianNoise
from fastconv.layers.normalization import BatchNormalization
from fastconv.layers.one_dimensional import (
    AveragePooling1D,
    AvgPool1D,
    Conv1D,
    Conv1DTranspose,
    Convolution1D,
    Cropping1D,
    DepthwiseConv1D,
    GlobalAveragePooling1D,
    GlobalAvgPool1D,
    GlobalMaxPool1D,
    GlobalMaxPooling1D,
    MaxPool1D,
    MaxPooling1D,
    SeparableConv1D,
    UpSampling1D,
    ZeroPadding1D,
)
from fastconv.layers.pooling import AveragePooling2D, AvgPool2D, MaxPool2D, MaxPooling2D
from fastconv.layers.regularization import Dropout, SpatialDropout1D, SpatialDropout2D
from fastconv.layers.reshaping import Flatten, Identity, Permute, RepeatVector, Reshape
from fastconv.layers.resizing import CenterCrop, Resizing
from fastconv.layers.sample_normalization import GroupNormalization, LayerNormalization, UnitNormalization
from fastconv.layers.scaling import Normalization, Rescaling
from fastconv.layers.separable import SeparableConv2D
from fastconv.layers.spatial import Cropping2D, UpSampling2D, ZeroPadding2D
from fastconv.layers.transpose import Conv2DTranspose
from fastconv.layers.warping import RandomRotation, RandomTranslation, RandomZoom
from fastconv.serialization import Table

Convolution1DTranspose = Conv1DTranspose
Convolution2D = Conv2D
Convolution2DTranspose = Conv2DTranspose
SeparableConvolution1D = SeparableConv1D
SeparableConvolution2D = SeparableConv2D

__all__ = [
    "Activation",
    "ActivityRegularization",
    "Add",
    "AlphaDropout",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "AvgPool1D",
    "AvgPool2D",
    "BatchNormalization",
    "CenterCrop",
    "Concatenate",
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Convolution1D",
    "Convolution1DTranspose",
    "Convolution2D",
    "Convolution2DTranspose",
    "Cropping1D",
    "Cropping2D",
    "Dense",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "Dropout",
    "ELU",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GroupNormalization",
    "Identity",
    "Input",
    "InputLayer",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPooling1D",
    "MaxPooling2D",
    "Maximum",
    "Minimum",
    "Multiply",
    "Normalization",
    "PReLU",
    "Permute",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "Resizing",
    "SeparableConv1D",
    "SeparableConv2D",
    "SeparableConvolution1D",
    "SeparableConvolution2D",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "Subtract",
    "UnitNormalization",
    "UpSampling1D",
    "UpSampling2D",
    "ZeroPadding1D",
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

_TABLE = Table(
    "keras.layers",
    "layer",
    (
        Activation,
        ActivityRegularization,
        Add,
        AlphaDropout,
        Average,
        AveragePooling1D,
        AveragePooling2D,
        BatchNormalization,
        CenterCrop,
        Concatenate,
        Conv1D,
        Conv1DTranspose,
        Conv2D,
        Conv2DTranspose,
        Cropping1D,
        Cropping2D,
        Dense,
        DepthwiseConv1D,
        DepthwiseConv2D,
        Dropout,
        ELU,
        Flatten,
        GaussianDropout,
        GaussianNoise,
        GlobalAveragePooling1D,
        GlobalAveragePooling2D,
        GlobalMaxPooling1D,
        GlobalMaxPooling2D,
        GroupNormalization,
        Identity,
        InputLayer,
        LayerNormalization,
        LeakyReLU,
        MaxPooling1D,
        MaxPooling2D,
        Maximum,
        Minimum,
        Multiply,
        Normalization,
        PReLU,
        Permute,
        RandomBrightness,
        RandomContrast,
        RandomCrop,
        RandomFlip,
        RandomRotation,
        RandomTranslation,
        RandomZoom,
        ReLU,
        RepeatVector,
        Rescaling,
        Reshape,
        Resizing,
        SeparableConv1D,
        SeparableConv2D,
        Softmax,
        SpatialDropout1D,
        SpatialDropout2D,
        Subtract,
        UnitNormalization,
        UpSampling1D,
        UpSampling2D,
        ZeroPadding1D,
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
