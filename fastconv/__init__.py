"""Convolution and pooling kernels written by hand, and a Keras-compatible CNN library on top of them."""

__version__ = "0.1.0"
