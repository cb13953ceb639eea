"""VGG16."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastconv.applications.frame import Frame
from fastconv.applications.imagenet_utils import decode_predictions
from fastconv.applications.imagenet_utils import preprocess_caffe as preprocess_input
from fastconv.applications.vgg import vgg
from fastconv.models import Model

__all__ = ["VGG16", "decode_predictions", "preprocess_input"]


def VGG16(
    include_top: bool = True,
    weights: Any = "imagenet",
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "vgg16",
) -> Model:
    """16 layers with weights, 138,357,544 of them for ImageNet; arguments as for `Frame`, and the model's name."""
    frame = Frame(include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation)
    return vgg(frame, (2, 2, 3, 3, 3), name)
