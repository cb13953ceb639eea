"""What Conv2D and the pooling layers share: images in, windows that slide, images out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastconv.kernels.problem import Padding, resolve_padding
from fastconv.layers.base import Layer, Shape
from fastconv.layers.layout import last, unlast


class WindowLayer(Layer):
    """Base of layers that slide a window over images in `data_format`.

    A subclass defines `make_problem`.
    """

    by_sample = True
    input_rank = 4
    data_format: str
    window: tuple[int, ...]  # rows and columns that a window spans

    def __init__(self, **options: Any) -> None:
        self._problems: dict[tuple[int, ...], Any] = {}
        super().__init__(**options)

    def make_problem(self, x_shape: tuple[int, ...]) -> Any:
        """The problem for images of shape (N, H, W, C)."""
        raise NotImplementedError

    def as_problem(self, input_shape: tuple[int, ...]) -> Any:
        """The problem for an input of that shape; made once for each."""
        problem = self._problems.get(input_shape)
        if problem is None:
            self.require_built()
            self.check_input_shape(input_shape)
            problem = self._problems[input_shape] = self.make_problem(last(input_shape, self.data_format))
        return problem

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        """As `Layer.compute_output_shape`; rows, columns and the batch's size may be None."""
        shape = self.check_input_shape(input_shape)
        N, H, W, C = last(shape, self.data_format)
        if C is None:
            raise ValueError(f"{self._who}: the number of channels must be known; received shape {shape}.")
        try:
            # Where a size is not known, one that has room for a window stands for it.
            problem = self.make_problem((1, H or self.window[0], W or self.window[1], C))
        except ValueError as error:
            raise ValueError(f"{self._who}, inputs of shape {shape}: {error}") from error
        return unlast((N, H and problem.P, W and problem.Q, problem.y_shape[3]), self.data_format)


def read_padding(padding: Padding) -> Padding:
    """`padding` in one form: "valid", "same" or ((top, bottom), (left, right)).

    Raises:
        ValueError: it is something else.
    """
    one = (1, 1)
    top, bottom, left, right = resolve_padding(padding, one, one, one, one)
    return padding.lower() if isinstance(padding, str) else ((top, bottom), (left, right))
