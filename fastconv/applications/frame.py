"""What all networks have in common: the image that comes in, the classifier at the end, and weights from a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastconv import config
from fastconv.layers import Dense, GlobalAveragePooling2D, GlobalMaxPooling2D, Input
from fastconv.layers.tensor import KerasTensor
from fastconv.models import Model
from fastconv.models.graph import inputs_of

CLASSES = 1000  # of ImageNet


@dataclass(frozen=True)
class Frame:
    """The arguments of a network, checked; they mean what they mean in `keras.applications`.

    Args:
        include_top: whether there is a classifier; without one the output is the last feature map.
        weights: None for random ones, the path of a file of weights, or "imagenet" for the file that Keras keeps in
            its folder (~/.keras/models): nothing is downloaded.
        input_tensor: a tensor to begin with in place of a new input.
        input_shape: of an image; None takes 224 x 224 x 3 or, without the top, images of any size.
        pooling: without the top, "avg" or "max" for the mean or the largest value of each feature map, or None.
        classes: the classifier's.
        classifier_activation: None for the values before the softmax.

    Raises:
        ValueError: one does not suit, or the file of weights is not there.
    """

    include_top: bool
    weights: Any
    input_tensor: KerasTensor | None
    input_shape: Sequence[int | None] | None
    pooling: str | None
    classes: int
    classifier_activation: Any

    def __post_init__(self) -> None:
        if self.pooling not in (None, "avg", "max"):
            raise ValueError(f'pooling must be None, "avg" or "max"; received {self.pooling!r}.')
        if self.input_tensor is not None and not isinstance(self.input_tensor, KerasTensor):
            raise ValueError(
                f"input_tensor must be a tensor that Input or a layer has made, not {self.input_tensor!r}."
            )
        if self.weights is None:
            return
        if self.weights == "imagenet":
            if self.include_top and self.classes != CLASSES:
                raise ValueError(f'weights="imagenet" has {CLASSES} classes; received {self.classes=}.')
            if self.include_top and self.classifier_activation not in (None, "softmax"):
                raise ValueError(
                    'weights="imagenet" needs the classifier_activation "softmax" or None; received '
                    f"{self.classifier_activation!r}."
                )
        elif not os.path.exists(self.weights):
            raise ValueError(f'weights must be None, "imagenet" or a file that exists; received {self.weights!r}.')

    def image(self, size: int = 224, least: int = 32, fixed: bool | None = None) -> KerasTensor:
        """The tensor that the network begins with.

        Args:
            size: height and width where none are given.
            least: the smallest that the network can take.
            fixed: whether the size must be known; by default where there is a top.
        """
        if self.input_tensor is not None:
            return self.input_tensor
        fixed = self.include_top if fixed is None else fixed
        channels_last = config.image_data_format() == "channels_last"
        given = self.input_shape
        if given is None:
            any_size = size if fixed else None
            given = (any_size, any_size, 3) if channels_last else (3, any_size, any_size)
        if len(given) != 3:
            raise ValueError(f"input_shape must be three sizes, those of an image; received {given!r}.")
        height_width, channels = (given[:2], given[2]) if channels_last else (given[1:], given[0])
        if fixed and None in given:
            raise ValueError(f"include_top=True needs an input_shape without None; received {tuple(given)}.")
        if any(known is not None and known < least for known in height_width):
            raise ValueError(f"input_shape must be at least {least} x {least}; received {tuple(given)}.")
        if self.weights == "imagenet" and (channels != 3 or (fixed and any(known != size for known in height_width))):
            wanted = f"{size} x {size} x 3" if fixed else "images of 3 channels"
            raise ValueError(f'weights="imagenet" needs {wanted}; received input_shape={tuple(given)}.')
        return Input(tuple(given))

    def top(self, x: KerasTensor, **options: Any) -> KerasTensor:
        """The classifier behind feature maps that are flat already; see `Dense` for the options."""
        return Dense(self.classes, activation=self.classifier_activation, name="predictions", **options)(x)

    def pooled(self, x: KerasTensor, avg: str | None = None, max_: str | None = None) -> KerasTensor:
        """The end without a classifier; `avg` and `max_` name the layers."""
        if self.pooling == "avg":
            return GlobalAveragePooling2D(name=avg)(x)
        return GlobalMaxPooling2D(name=max_)(x) if self.pooling == "max" else x

    def model(self, image: KerasTensor, x: KerasTensor, name: str, file: str | None = None) -> Model:
        """The model from `image` to `x` with its weights; `file` is the name of Keras's file of ImageNet's."""
        model: Model = Model(image if self.input_tensor is None else inputs_of(image), x, name=name)
        if self.weights == "imagenet":
            if file is None:
                raise ValueError(f"{name} has no weights of ImageNet: give weights=None or the path of a file.")
            path = keras_file(file)
            if not os.path.exists(path):
                raise ValueError(
                    f"{name} with weights of ImageNet needs the file {path}, which is not there, and nothing is "
                    "downloaded. Keras downloads it when it makes the network; or give weights=None for random ones, "
                    "or the path of a file."
                )
            model.load_weights(path)
        elif self.weights is not None:
            model.load_weights(self.weights)
        return model


def keras_file(name: str) -> str:
    """The path of a file that Keras has downloaded for its networks."""
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    return os.path.join(home, "models", name)


def channel_axis() -> int:
    """The axis of the channels of a batch of images."""
    return 3 if config.image_data_format() == "channels_last" else 1


def padding_of_stride_2(x: KerasTensor, kernel_size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The zeros around images that make a convolution of stride 2 give the pixels that TensorFlow's "same" gives: one
    less above and to the left of sides with an even length."""
    sides = [x.shape[axis] for axis in ((1, 2) if channel_axis() == 3 else (2, 3))]
    half = kernel_size // 2
    first, second = ((half - 1 + (1 if side is None else side % 2), half) for side in sides)
    return first, second
