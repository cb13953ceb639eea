"""Layers for sequences (N, W, C): those for images, with one row."""

from __future__ import annotations

from typing import Any

from fastconv.layers.convolution import Conv
from fastconv.layers.depthwise import DepthwiseConv
from fastconv.layers.global_pooling import GlobalAveragePooling, GlobalMaxPooling
from fastconv.layers.pooling import AveragePooling, MaxPooling
from fastconv.layers.separable import SeparableConv
from fastconv.layers.spatial import Cropping, UpSampling, ZeroPadding
from fastconv.layers.transpose import ConvTranspose
from fastconv.layers.windows import axis_sizes
from fastconv.ops.arrays import resolve_data_format


class Conv1D(Conv):
    """Convolution of sequences, `keras.layers.Conv1D`: as `Conv2D` without rows. The kernel is (size, C / groups,
    filters); padding may be "causal", too: zeros before the sequence only."""

    rank = 1
    takes_causal = True


class DepthwiseConv1D(DepthwiseConv):
    """Each channel of sequences convolved by itself, `keras.layers.DepthwiseConv1D`: as `DepthwiseConv2D`."""

    rank = 1


class SeparableConv1D(SeparableConv):
    """A depthwise convolution, then one of size 1, `keras.layers.SeparableConv1D`: as `SeparableConv2D`."""

    parts = (DepthwiseConv1D, Conv1D)


class Conv1DTranspose(ConvTranspose):
    """The transpose of a convolution of sequences, `keras.layers.Conv1DTranspose`: as `Conv2DTranspose`."""

    rank = 1


class MaxPooling1D(MaxPooling):
    """The largest element of each window of sequences, `keras.layers.MaxPooling1D`: as `MaxPooling2D`."""

    rank = 1


class AveragePooling1D(AveragePooling):
    """The mean of each window of sequences, `keras.layers.AveragePooling1D`: as `AveragePooling2D`."""

    rank = 1


class GlobalMaxPooling1D(GlobalMaxPooling):
    """The largest element of each channel, `keras.layers.GlobalMaxPooling1D`: as `GlobalMaxPooling2D`."""

    rank = 1


class GlobalAveragePooling1D(GlobalAveragePooling):
    """The mean of each channel, `keras.layers.GlobalAveragePooling1D`: as `GlobalAveragePooling2D`."""

    rank = 1


class ZeroPadding1D(ZeroPadding):
    """Zeros around sequences, `keras.layers.ZeroPadding1D`.

    padding: an integer for both sides, or (before, after). data_format and options: as for `ZeroPadding2D`.
    """

    rank = 1

    def __init__(self, padding: Any = 1, data_format: str | None = None, **options: Any) -> None:
        before, after = self.padding = axis_sizes(padding, "padding", 2, 0)
        self.sides = ((before, after),)
        self.data_format = resolve_data_format(data_format)
        super().__init__(**options)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": self.padding, "data_format": self.data_format}


class Cropping1D(Cropping):
    """Sequences (N, W, C) without their ends, `keras.layers.Cropping1D`.

    cropping: an integer for both sides, or (before, after). options: as for `Layer`.
    """

    rank = 1
    data_format = "channels_last"

    def __init__(self, cropping: Any = (1, 1), **options: Any) -> None:
        before, after = self.cropping = axis_sizes(cropping, "cropping", 2, 0)
        self.sides = ((before, after),)
        super().__init__(**options)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cropping": self.cropping}


class UpSampling1D(UpSampling):
    """Sequences (N, W, C) with each step `size` times, `keras.layers.UpSampling1D`; ValueError for a bad size."""

    rank = 1
    data_format = "channels_last"

    def __init__(self, size: int = 2, **options: Any) -> None:
        self.factors = axis_sizes(size, "size", 1)
        self.size = self.factors[0]
        super().__init__(**options)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


Convolution1D = Conv1D
MaxPool1D = MaxPooling1D
AvgPool1D = AveragePooling1D
GlobalMaxPool1D = GlobalMaxPooling1D
GlobalAvgPool1D = GlobalAveragePooling1D
