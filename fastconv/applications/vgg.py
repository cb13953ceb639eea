"""VGG: blocks of 3x3 convolutions, each block on images half as wide as the last (Simonyan and Zisserman, 2014)."""

from __future__ import annotations

from collections.abc import Sequence

from fastconv.applications.frame import Frame
from fastconv.layers import Conv2D, Dense, Flatten, MaxPooling2D
from fastconv.models import Model

FILTERS = (64, 128, 256, 512, 512)


def vgg(frame: Frame, convolutions: Sequence[int], name: str) -> Model:
    """The network with so many convolutions in each of its five blocks."""
    image = x = frame.image()
    for block, (filters, count) in enumerate(zip(FILTERS, convolutions, strict=True), 1):
        for number in range(1, count + 1):
            conv = Conv2D(filters, 3, padding="same", activation="relu", name=f"block{block}_conv{number}")
            x = conv(x)
        x = MaxPooling2D(2, strides=2, name=f"block{block}_pool")(x)
    if frame.include_top:
        x = Flatten(name="flatten")(x)
        x = Dense(4096, activation="relu", name="fc1")(x)
        x = Dense(4096, activation="relu", name="fc2")(x)
        x = frame.top(x)
    else:
        x = frame.pooled(x)
    part = "" if frame.include_top else "_notop"
    return frame.model(image, x, name, f"{name}_weights_tf_dim_ordering_tf_kernels{part}.h5")
