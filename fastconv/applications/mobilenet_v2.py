"""MobileNetV2: wide in the middle of a block, where each channel is convolved for itself (Sandler and others, 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastconv.applications.frame import Frame, channel_axis, padding_of_stride_2
from fastconv.applications.imagenet_utils import decode_predictions
from fastconv.applications.imagenet_utils import preprocess_tf as preprocess_input
from fastconv.layers import (
    Add,
    BatchNormalization,
    Conv2D,
    DepthwiseConv2D,
    GlobalAveragePooling2D,
    ReLU,
    ZeroPadding2D,
)
from fastconv.layers.tensor import KerasTensor
from fastconv.models import Model

__all__ = ["MobileNetV2", "decode_predictions", "preprocess_input"]

_SIZES = (96, 128, 160, 192, 224)  # of images for which there are weights of ImageNet
# (filters, stride) of each block.
_BLOCKS = (
    *((16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1), (64, 1)),
    *((96, 1), (96, 1), (96, 1), (160, 2), (160, 1), (160, 1), (320, 1)),
)


def MobileNetV2(
    input_shape: Sequence[int | None] | None = None,
    alpha: float = 1.0,
    include_top: bool = True,
    weights: Any = "imagenet",
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str | None = None,
) -> Model:
    """3,538,984 weights for ImageNet; arguments as for `Frame`, and the model's name.

    Args:
        alpha: times so many filters everywhere.
    """
    frame = Frame(include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation)
    channels_last = channel_axis() == 3
    given = input_tensor.shape[1:] if input_tensor is not None else input_shape
    sides = () if given is None else given[:2] if channels_last else given[1:]
    size = sides[0] if len(set(sides)) == 1 and sides[0] in _SIZES else 224
    image = x = frame.image(size or 224)
    x = Conv2D(_divisible(32 * alpha), 3, strides=2, padding="same", use_bias=False, name="Conv1")(x)
    x = ReLU(6.0, name="Conv1_relu")(_normalized(x, "bn_Conv1"))
    for number, (filters, stride) in enumerate(_BLOCKS):
        x = _block(x, _divisible(int(filters * alpha)), stride, number)
    x = Conv2D(_divisible(1280 * max(alpha, 1.0)), 1, use_bias=False, name="Conv_1")(x)
    x = ReLU(6.0, name="out_relu")(_normalized(x, "Conv_1_bn"))
    x = frame.top(GlobalAveragePooling2D()(x)) if include_top else frame.pooled(x)
    rows = image.shape[1 if channels_last else 2]
    file_size = rows if rows in _SIZES else 224
    part = "" if include_top else "_no_top"
    file = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{float(alpha)}_{file_size}{part}.h5"
    return frame.model(image, x, name or f"mobilenetv2_{alpha:0.2f}_{rows}", file)


def _block(x: KerasTensor, filters: int, stride: int, number: int) -> KerasTensor:
    """A 1x1 convolution that widens (not in the first block), a depthwise 3x3 one, a 1x1 one that narrows; added to
    the input where the shapes are equal."""
    shortcut, channels = x, x.shape[channel_axis()] or 0
    name = f"block_{number}" if number else "expanded_conv"
    if number:
        x = Conv2D(6 * channels, 1, padding="same", use_bias=False, name=f"{name}_expand")(x)
        x = ReLU(6.0, name=f"{name}_expand_relu")(_normalized(x, f"{name}_expand_BN"))
    if stride == 2:
        x = ZeroPadding2D(padding_of_stride_2(x, 3), name=f"{name}_pad")(x)
    padding = "same" if stride == 1 else "valid"
    x = DepthwiseConv2D(3, strides=stride, padding=padding, use_bias=False, name=f"{name}_depthwise")(x)
    x = ReLU(6.0, name=f"{name}_depthwise_relu")(_normalized(x, f"{name}_depthwise_BN"))
    x = Conv2D(filters, 1, padding="same", use_bias=False, name=f"{name}_project")(x)
    x = _normalized(x, f"{name}_project_BN")
    return Add(name=f"{name}_add")([shortcut, x]) if channels == filters and stride == 1 else x


def _normalized(x: KerasTensor, name: str) -> KerasTensor:
    axis = -1 if channel_axis() == 3 else 1
    return BatchNormalization(axis=axis, epsilon=1e-3, momentum=0.999, name=name)(x)


def _divisible(filters: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth below `filters`."""
    nearest = max(8, int(filters + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * filters else nearest
