"""Digits and clothes as NumPy arrays, under the names of `keras.datasets`."""

from fastconv.datasets import fashion_mnist, mnist, mnist_5k

__all__ = ["fashion_mnist", "mnist", "mnist_5k"]
