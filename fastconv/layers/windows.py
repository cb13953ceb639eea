"""What convolution and pooling layers share: images in, windows that slide, images out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastconv.kernels.problem import Padding, resolve_padding
from fastconv.layers.base import Layer, Shape
from fastconv.layers.layout import from_last, last, to_last, unlast


class WindowLayer(Layer):
    """Base of layers that slide a window over images in `data_format`, or over sequences: images of one row.

    A subclass defines `make_problem`, which gets and gives sizes of images.

    Attributes:
        rank: axes that a window slides along: 2, or 1 for (N, W, C).
        window: how far a window reaches along each.
    """

    by_sample = True
    rank = 2
    data_format: str
    window: tuple[int, ...]

    def __init__(self, **options: Any) -> None:
        self._problems: dict[tuple[int, ...], Any] = {}
        super().__init__(**options)

    def expected_shape(self) -> Shape | None:
        return (None,) * (self.rank + 2)

    def make_problem(self, x_shape: tuple[int, ...]) -> Any:
        """The problem for images of shape (N, H, W, C)."""
        raise NotImplementedError

    def as_problem(self, input_shape: tuple[int, ...]) -> Any:
        """The problem for an input of that shape; made once for each."""
        problem = self._problems.get(input_shape)
        if problem is None:
            self.require_built()
            self.check_input_shape(input_shape)
            N, *sizes, C = last(input_shape, self.data_format)
            problem = self._problems[input_shape] = self.make_problem((N, *plane(sizes, 1), C))
        return problem

    def output_sizes(self, problem: Any) -> tuple[int, int, int, int]:
        """(N, P, Q, K) of the output."""
        return problem.y_shape

    def as_images(self, array: np.ndarray, shape: tuple[int, int, int, int]) -> np.ndarray:
        """An input or output of the layer as images of that shape, (N, H, W, C); a view where that can be."""
        images = to_last(array, self.data_format)
        return images if self.rank == 2 else images[:, np.newaxis]

    def from_images(self, images: np.ndarray, leading: tuple[int, ...]) -> np.ndarray:
        """The opposite view of `as_images`; `leading` are the layer's input sizes without the last."""
        return from_last(images if self.rank == 2 else images[:, 0], self.data_format)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        """As `Layer.compute_output_shape`; rows, columns and the batch's size may be None."""
        shape = self.check_input_shape(input_shape)
        N, *sizes, C = last(shape, self.data_format)
        if C is None:
            raise ValueError(f"{self._who}: the number of channels must be known; received shape {shape}.")
        # Where a size is not known, one that has room for a window stands for it.
        known = [size or reach for size, reach in zip(sizes, self.window, strict=True)]
        try:
            problem = self.make_problem((1, *plane(known, 1), C))
        except ValueError as error:
            raise ValueError(f"{self._who}, inputs of shape {shape}: {error}") from error
        _, *after, channels = self.output_sizes(problem)
        new = [now if size else None for size, now in zip(sizes, after[2 - self.rank :], strict=True)]
        return unlast((N, *new, channels), self.data_format)


def plane(sizes: Sequence[int], missing: int) -> tuple[int, int]:
    """Sizes along one or two axes as those of an image, which has one row where there is one axis."""
    return (missing, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def axis_sizes(value: Any, name: str, rank: int, minimum: int = 1) -> tuple[int, ...]:
    """`value` as `rank` integers: one integer stands for all.

    Raises:
        ValueError: not as many integers of at least `minimum`.
    """
    items = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,) * rank
    if len(items) != rank or any(not hasattr(i, "__index__") or isinstance(i, bool) or i < minimum for i in items):
        many = "an integer or a pair of integers, each" if rank == 2 else "an integer of"
        raise ValueError(f"{name} must be {many} at least {minimum}; received {value!r}.")
    return tuple(int(i) for i in items)


def read_padding(padding: Padding, rank: int = 2) -> Padding:
    """`padding` in one form: "valid", "same" or, for `rank` 2, ((top, bottom), (left, right)).

    Raises:
        ValueError: it is something else.
    """
    if rank == 1 and not isinstance(padding, str):
        raise ValueError(f'padding must be "valid" or "same"; received {padding!r}.')
    one = (1, 1)
    top, bottom, left, right = resolve_padding(padding, one, one, one, one)
    return padding.lower() if isinstance(padding, str) else ((top, bottom), (left, right))
