"""AlexNet: the network that made convolutions the way to see (Krizhevsky, Sutskever and Hinton, 2012)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastconv.applications.frame import Frame
from fastconv.applications.imagenet_utils import decode_predictions
from fastconv.applications.imagenet_utils import preprocess_caffe as preprocess_input
from fastconv.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from fastconv.models import Model

__all__ = ["AlexNet", "decode_predictions", "preprocess_input"]


def AlexNet(
    include_top: bool = True,
    weights: Any = None,
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "alexnet",
) -> Model:
    """Eight layers with weights, 60,965,224 of them for ImageNet; arguments as for `Frame`, and the model's name.

    Images are 227 x 227 x 3. The second, fourth and fifth convolutions have two groups, as the paper split them between
    two GPUs. The paper's local response normalization is left out; later networks did without.
    """
    frame = Frame(include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation)
    image = frame.image(227, 67)
    x = Conv2D(96, 11, strides=4, activation="relu", name="conv1")(image)
    x = MaxPooling2D(3, strides=2, name="pool1")(x)
    x = Conv2D(256, 5, padding="same", groups=2, activation="relu", name="conv2")(x)
    x = MaxPooling2D(3, strides=2, name="pool2")(x)
    x = Conv2D(384, 3, padding="same", activation="relu", name="conv3")(x)
    x = Conv2D(384, 3, padding="same", groups=2, activation="relu", name="conv4")(x)
    x = Conv2D(256, 3, padding="same", groups=2, activation="relu", name="conv5")(x)
    x = MaxPooling2D(3, strides=2, name="pool5")(x)
    if not include_top:
        return frame.model(image, frame.pooled(x), name)
    x = Flatten(name="flatten")(x)
    for layer in ("fc6", "fc7"):
        x = Dense(4096, activation="relu", name=layer)(x)
        x = Dropout(0.5, name=f"{layer}_dropout")(x)
    return frame.model(image, frame.top(x), name)
