"""ResNet: blocks that add what they compute to what they were given (He and others, 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastconv.applications.frame import Frame, channel_axis
from fastconv.applications.imagenet_utils import decode_predictions
from fastconv.applications.imagenet_utils import preprocess_caffe as preprocess_input
from fastconv.layers import (
    Activation,
    Add,
    BatchNormalization,
    Conv2D,
    GlobalAveragePooling2D,
    MaxPooling2D,
    ZeroPadding2D,
)
from fastconv.layers.tensor import KerasTensor
from fastconv.models import Model

__all__ = ["ResNet50", "ResNet101", "ResNet152", "decode_predictions", "preprocess_input"]


def ResNet50(
    include_top: bool = True,
    weights: Any = "imagenet",
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "resnet50",
) -> Model:
    """50 layers with weights, 25,636,712 of them for ImageNet; arguments as for `Frame`, and the model's name."""
    frame = Frame(include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation)
    return _resnet(frame, (3, 4, 6, 3), name)


def ResNet101(
    include_top: bool = True,
    weights: Any = "imagenet",
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "resnet101",
) -> Model:
    """101 layers with weights, 44,707,176 of them for ImageNet; arguments as for `Frame`, and the model's name."""
    frame = Frame(include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation)
    return _resnet(frame, (3, 4, 23, 3), name)


def ResNet152(
    include_top: bool = True,
    weights: Any = "imagenet",
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "resnet152",
) -> Model:
    """152 layers with weights, 60,419,944 of them for ImageNet; arguments as for `Frame`, and the model's name."""
    frame = Frame(include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation)
    return _resnet(frame, (3, 8, 36, 3), name)


def _resnet(frame: Frame, stacks: Sequence[int], name: str) -> Model:
    """The network with so many blocks in each of its four stacks."""
    image = frame.image()
    x = ZeroPadding2D(3, name="conv1_pad")(image)
    x = Conv2D(64, 7, strides=2, name="conv1_conv")(x)
    x = Activation("relu", name="conv1_relu")(_normalized(x, "conv1_bn"))
    x = ZeroPadding2D(1, name="pool1_pad")(x)
    x = MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    for stack, count in enumerate(stacks):
        filters, first_stride = 64 * 2**stack, 2 if stack else 1
        for block in range(1, count + 1):
            x = _block(x, filters, first_stride if block == 1 else 1, block == 1, f"conv{stack + 2}_block{block}")
    if frame.include_top:
        x = frame.top(GlobalAveragePooling2D(name="avg_pool")(x))
    else:
        x = frame.pooled(x, "avg_pool", "max_pool")
    part = "" if frame.include_top else "_notop"
    return frame.model(image, x, name, f"{name}_weights_tf_dim_ordering_tf_kernels{part}.h5")


def _block(x: KerasTensor, filters: int, stride: int, widens: bool, name: str) -> KerasTensor:
    """Three convolutions, the one in the middle on few channels, added to the input, which a fourth one widens first
    where the number of channels changes."""
    shortcut = x
    if widens:
        shortcut = Conv2D(4 * filters, 1, strides=stride, name=f"{name}_0_conv")(x)
        shortcut = _normalized(shortcut, f"{name}_0_bn")
    x = Conv2D(filters, 1, strides=stride, name=f"{name}_1_conv")(x)
    x = Activation("relu", name=f"{name}_1_relu")(_normalized(x, f"{name}_1_bn"))
    x = Conv2D(filters, 3, padding="same", name=f"{name}_2_conv")(x)
    x = Activation("relu", name=f"{name}_2_relu")(_normalized(x, f"{name}_2_bn"))
    x = _normalized(Conv2D(4 * filters, 1, name=f"{name}_3_conv")(x), f"{name}_3_bn")
    return Activation("relu", name=f"{name}_out")(Add(name=f"{name}_add")([shortcut, x]))


def _normalized(x: KerasTensor, name: str) -> KerasTensor:
    return BatchNormalization(axis=channel_axis(), epsilon=1.001e-5, name=name)(x)
