"""EfficientNetB0: MobileNetV2's blocks, whose channels are weighed by what the whole image holds (Tan and Le, 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastconv.applications.frame import Frame, channel_axis, padding_of_stride_2
from fastconv.applications.imagenet_utils import decode_predictions
from fastconv.initializers import VarianceScaling
from fastconv.layers import (
    Activation,
    Add,
    BatchNormalization,
    Conv2D,
    DepthwiseConv2D,
    Dropout,
    GlobalAveragePooling2D,
    Multiply,
    Normalization,
    Rescaling,
    Reshape,
    ZeroPadding2D,
)
from fastconv.layers.tensor import KerasTensor
from fastconv.models import Model

__all__ = ["EfficientNetB0", "decode_predictions", "preprocess_input"]

# (kernel size, how many, filters, widening, stride of the first) of each stage's blocks.
_STAGES = (
    (3, 1, 16, 1, 1),
    (3, 2, 24, 6, 2),
    (5, 2, 40, 6, 2),
    (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1),
    (5, 4, 192, 6, 2),
    (3, 1, 320, 6, 1),
)
_BLOCKS = sum(stage[1] for stage in _STAGES)
_DROPOUT = 0.2  # of whole blocks, from none in the first to nearly this in the last; of the classifier's input
_STDDEV = (0.229, 0.224, 0.225)  # of ImageNet's colors


def EfficientNetB0(
    include_top: bool = True,
    weights: Any = "imagenet",
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "efficientnetb0",
) -> Model:
    """5,330,571 weights for ImageNet; arguments as for `Frame`, and the model's name. Takes pixels from 0 to 255."""
    frame = Frame(include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation)
    image = frame.image()
    x = Normalization(axis=channel_axis())(Rescaling(1.0 / 255.0)(image))
    if weights == "imagenet":  # those were trained on images divided by the root once more
        x = Rescaling([1.0 / math.sqrt(stddev) for stddev in _STDDEV])(x)
    x = ZeroPadding2D(padding_of_stride_2(x, 3), name="stem_conv_pad")(x)
    x = Conv2D(32, 3, strides=2, use_bias=False, kernel_initializer=_for_conv(), name="stem_conv")(x)
    x = _active(x, "stem_bn", "stem_activation")
    before = 0
    for stage, (kernel_size, count, filters, widening, stride) in enumerate(_STAGES, 1):
        for number in range(count):
            drop = _DROPOUT * before / _BLOCKS
            first = number == 0
            x = _block(x, kernel_size, filters, widening, stride if first else 1, drop, f"block{stage}{'abcd'[number]}")
            before += 1
    x = Conv2D(1280, 1, padding="same", use_bias=False, kernel_initializer=_for_conv(), name="top_conv")(x)
    x = _active(x, "top_bn", "top_activation")
    if include_top:
        x = Dropout(_DROPOUT, name="top_dropout")(GlobalAveragePooling2D(name="avg_pool")(x))
        x = frame.top(x, kernel_initializer=VarianceScaling(1.0 / 3.0, "fan_out", "uniform"))
    else:
        x = frame.pooled(x, "avg_pool", "max_pool")
    return frame.model(image, x, name, f"{name}{'' if include_top else '_notop'}.h5")


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """`x` as it is: the network itself scales its images."""
    return x


def _block(
    x: KerasTensor, kernel_size: int, filters: int, widening: int, stride: int, drop: float, name: str
) -> KerasTensor:
    """As MobileNetV2's; between the depthwise convolution and the last one each channel is weighed."""
    shortcut, channels = x, x.shape[channel_axis()] or 0
    if widening != 1:
        x = _pointwise(x, widening * channels, f"{name}_expand_conv")
        x = _active(x, f"{name}_expand_bn", f"{name}_expand_activation")
    if stride == 2:
        x = ZeroPadding2D(padding_of_stride_2(x, kernel_size), name=f"{name}_dwconv_pad")(x)
    x = DepthwiseConv2D(
        kernel_size,
        strides=stride,
        padding="valid" if stride == 2 else "same",
        use_bias=False,
        depthwise_initializer=_for_conv(),
        name=f"{name}_dwconv",
    )(x)
    x = _active(x, f"{name}_bn", f"{name}_activation")
    x = _weighed(x, max(1, channels // 4), name)
    x = _pointwise(x, filters, f"{name}_project_conv")
    x = BatchNormalization(axis=channel_axis(), name=f"{name}_project_bn")(x)
    if stride != 1 or channels != filters:
        return x
    if drop > 0:
        x = Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
    return Add(name=f"{name}_add")([x, shortcut])


def _weighed(x: KerasTensor, narrow: int, name: str) -> KerasTensor:
    """x times a weight from 0 to 1 for each channel, worked out from the means of all channels."""
    channels = x.shape[channel_axis()] or 0
    weight = GlobalAveragePooling2D(name=f"{name}_se_squeeze")(x)
    shape = (1, 1, channels) if channel_axis() == 3 else (channels, 1, 1)
    weight = Reshape(shape, name=f"{name}_se_reshape")(weight)
    weight = _pointwise(weight, narrow, f"{name}_se_reduce", activation="swish", use_bias=True)
    weight = _pointwise(weight, channels, f"{name}_se_expand", activation="sigmoid", use_bias=True)
    return Multiply(name=f"{name}_se_excite")([x, weight])


def _pointwise(x: KerasTensor, filters: int, name: str, use_bias: bool = False, **options: Any) -> KerasTensor:
    initializer = _for_conv()
    return Conv2D(filters, 1, padding="same", use_bias=use_bias, kernel_initializer=initializer, name=name, **options)(
        x
    )


def _active(x: KerasTensor, normalization: str, activation: str) -> KerasTensor:
    return Activation("swish", name=activation)(BatchNormalization(axis=channel_axis(), name=normalization)(x))


def _for_conv() -> VarianceScaling:
    return VarianceScaling(2.0, "fan_out", "truncated_normal")
