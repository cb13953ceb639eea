"""Layers with several inputs and one output: Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.buffers import FRESH, Buffers
from fastconv.layers.base import Layer, Shape, as_shape
from fastconv.layers.layout import empty_like, from_last, last
from fastconv.layers.tensor import is_symbolic


class Merge(Layer):
    """Base of the layers that merge: called with a list of tensors or of arrays.

    `forward` takes a list of arrays and `backward` returns one of gradients, of which no two share memory, so that
    each may be overwritten. `need_input_grad` may say it for each input; the gradient is None where it is False.

    A subclass of this class works element by element. Shapes are broadcast as in Keras: an input with fewer axes gets
    axes of length 1 behind the batch's.

    Args:
        options: as for `Layer`.

    Raises:
        ValueError: on a call, fewer than `least` inputs, or shapes that cannot be merged.
    """

    by_sample = True
    least = 1
    gradient_in_place = True  # whether `merge_gradient` may be given grad as `out`

    def __call__(self, inputs: Any, training: bool | None = None) -> Any:
        """The output for a list of batches, or of tensors of a model; as `Layer.__call__`."""
        if not isinstance(inputs, (list, tuple)):
            raise ValueError(f"{self._who} is called with a list of inputs; received {inputs!r}.")
        if is_symbolic(inputs):
            return self.record(list(inputs), training)
        arrays = [np.asarray(x) for x in inputs]
        for x in arrays:
            if x.dtype.kind not in "biuf":
                raise TypeError(f"{self._who} takes real numbers; received an array of {x.dtype}.")
        self.compute_output_shape([x.shape for x in arrays])
        self.build([(None, *x.shape[1:]) for x in arrays])
        return self.forward([x.astype(self.dtype, copy=False) for x in arrays], bool(training), FRESH)

    def check_input_shape(self, shape: Any) -> Any:
        """The shapes as a list of tuples; ValueError if they are too few or no shapes."""
        if not isinstance(shape, (list, tuple)) or not all(isinstance(one, (list, tuple)) for one in shape):
            raise ValueError(f"{self._who} is called with a list of inputs; received the shape {shape!r}.")
        if len(shape) < self.least:
            raise ValueError(f"{self._who} needs at least {self.least} inputs; received {len(shape)}.")
        return [as_shape(one, f"{self._who}: input_shape") for one in shape]

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shapes = self.check_input_shape(input_shape)
        longest = max(map(len, shapes))
        sizes = [between(shape, longest) for shape in shapes]
        batches = {shape[0] for shape in sizes if shape[0] is not None}
        merged = tuple(_merged_size(column) for column in zip(*sizes, strict=True))
        if len(batches) > 1 or 0 in merged[1:]:
            raise ValueError(f"{self._who} cannot broadcast inputs of shapes {shapes} to one shape.")
        return merged

    def forward(self, x: Any, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        shapes = [part.shape for part in x]
        longest = max(part.ndim for part in x)
        views = [part.reshape(between(part.shape, longest)) if part.ndim < longest else part for part in x]
        shape = np.broadcast_shapes(*(view.shape for view in views))
        like = next((view for view in views if view.shape == shape), None)
        y = (
            buffers.empty(self, "output", shape, self.dtype)
            if like is None
            else empty_like(like, buffers, self, "output")
        )
        self.merge(views, y)
        self._saved = (y, views, shapes)
        return y

    def backward(
        self,
        grad: np.ndarray,
        buffers: Buffers = FRESH,
        *,
        need_input_grad: bool | Sequence[bool] = True,
        need_weight_grad: bool = True,
        through_activation: bool = True,
    ) -> Any:
        y, views, shapes = self._recall(grad)
        needed = _each(need_input_grad, len(views))
        gradients: list[np.ndarray | None] = [None] * len(views)
        last = max((index for index, wanted in enumerate(needed) if wanted), default=None)
        for index, view in enumerate(views):
            if needed[index]:
                ends = index == last and self.gradient_in_place and buffers is not FRESH  # grad is not read any more
                part = grad if ends else empty_like(grad, buffers, self, f"grad {index}")
                self.merge_gradient(index, grad, views, y, part)
                if view.shape != grad.shape:
                    axes = tuple(axis for axis, size in enumerate(view.shape) if size != grad.shape[axis])
                    out = buffers.empty(self, f"sum {index}", view.shape, grad.dtype)
                    part = np.sum(part, axis=axes, keepdims=True, out=out)
                gradients[index] = part.reshape(shapes[index])
        return gradients

    def merge(self, views: Sequence[np.ndarray], y: np.ndarray) -> None:
        """Write what becomes of `views`, which broadcast to y's shape, into `y`."""
        raise NotImplementedError(f"{type(self).__name__} must define merge(views, y).")

    def merge_gradient(
        self, index: int, grad: np.ndarray, views: Sequence[np.ndarray], y: np.ndarray, out: np.ndarray
    ) -> None:
        """Write the gradient for `views[index]`, not yet summed over broadcast axes, into `out`, of grad's shape."""
        raise NotImplementedError(f"{type(self).__name__} must define merge_gradient(index, grad, views, y, out).")


class _Pairwise(Merge):
    """A ufunc over the inputs, one after another."""

    ufunc: np.ufunc

    def merge(self, views: Sequence[np.ndarray], y: np.ndarray) -> None:
        first, *others = views
        if not others:
            y[...] = first
        for view in others:
            first = self.ufunc(first, view, out=y)


class Add(_Pairwise):
    """The sum of the inputs, `keras.layers.Add`. Arguments as `Merge`."""

    ufunc = np.add

    def merge_gradient(self, index, grad, views, y, out):  # type: ignore[no-untyped-def]
        np.copyto(out, grad)


class Subtract(_Pairwise):
    """The first input less the second, `keras.layers.Subtract`; exactly two. Arguments as `Merge`."""

    ufunc = np.subtract
    least = 2

    def check_input_shape(self, shape: Any) -> Any:
        shapes = super().check_input_shape(shape)
        if len(shapes) != 2:
            raise ValueError(f"{self._who} needs exactly 2 inputs; received {len(shapes)}.")
        return shapes

    def merge_gradient(self, index, grad, views, y, out):  # type: ignore[no-untyped-def]
        np.multiply(grad, grad.dtype.type(-1 if index else 1), out=out)


class Multiply(_Pairwise):
    """The product of the inputs, `keras.layers.Multiply`. Arguments as `Merge`."""

    ufunc = np.multiply

    def merge_gradient(self, index, grad, views, y, out):  # type: ignore[no-untyped-def]
        np.copyto(out, grad)
        for other, view in enumerate(views):
            if other != index:
                np.multiply(out, view, out=out)


class Average(_Pairwise):
    """The mean of the inputs, `keras.layers.Average`. Arguments as `Merge`."""

    ufunc = np.add

    def merge(self, views: Sequence[np.ndarray], y: np.ndarray) -> None:
        super().merge(views, y)
        np.divide(y, y.dtype.type(len(views)), out=y)

    def merge_gradient(self, index, grad, views, y, out):  # type: ignore[no-untyped-def]
        np.divide(grad, grad.dtype.type(len(views)), out=out)


class _Extreme(_Pairwise):
    """The gradient goes to the first of the inputs that are equal to the output."""

    gradient_in_place = False

    def merge_gradient(self, index, grad, views, y, out):  # type: ignore[no-untyped-def]
        np.equal(views[index], y, out=out, casting="unsafe")
        for view in views[:index]:
            np.multiply(out, view != y, out=out)
        np.multiply(out, grad, out=out)


class Maximum(_Extreme):
    """The largest of the inputs, `keras.layers.Maximum`; of equal ones the first gets the gradient. Arguments as
    `Merge`."""

    ufunc = np.maximum


class Minimum(_Extreme):
    """The smallest of the inputs, `keras.layers.Minimum`; of equal ones the first gets the gradient. Arguments as
    `Merge`."""

    ufunc = np.minimum


class Concatenate(Merge):
    """The inputs one behind another along `axis`, `keras.layers.Concatenate`.

    Args:
        axis: any but the batch's; -1 for the channels of channels_last images.
        options: as for `Layer`.

    Raises:
        ValueError: `axis` is no integer; on a call, shapes that differ elsewhere than in `axis`.
    """

    def __init__(self, axis: int = -1, **options: Any) -> None:
        if isinstance(axis, bool) or not hasattr(axis, "__index__"):
            raise ValueError(f"axis must be an integer; received {axis!r}.")
        self.axis = int(axis)
        super().__init__(**options)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shapes = self.check_input_shape(input_shape)
        rank = len(shapes[0])
        if any(len(shape) != rank for shape in shapes) or not -rank <= self.axis < rank or self.axis % rank == 0:
            raise ValueError(f"{self._who} cannot join inputs of shapes {shapes} along axis {self.axis}.")
        axis = self.axis % rank
        merged: list[int | None] = []
        for place, column in enumerate(zip(*shapes, strict=True)):
            known = [size for size in column if size is not None]
            if place == axis:
                merged.append(sum(known) if len(known) == len(column) else None)
            elif len(set(known)) > 1:
                raise ValueError(
                    f"{self._who} needs inputs whose shapes are equal but for axis {self.axis}; received {shapes}."
                )
            else:
                merged.append(known[0] if known else None)
        return tuple(merged)

    def forward(self, x: Any, training: bool = False, buffers: Buffers = FRESH) -> np.ndarray:
        axis = self.axis % x[0].ndim
        sizes = [part.shape[axis] for part in x]
        shape = (*x[0].shape[:axis], sum(sizes), *x[0].shape[axis + 1 :])
        y = _empty_as(x[0], shape, buffers, self, "output")
        np.concatenate(x, axis=axis, out=y)
        self._saved = (y, sizes, axis)
        return y

    def backward(
        self,
        grad: np.ndarray,
        buffers: Buffers = FRESH,
        *,
        need_input_grad: bool | Sequence[bool] = True,
        need_weight_grad: bool = True,
        through_activation: bool = True,
    ) -> Any:
        _, sizes, axis = self._recall(grad)
        needed = _each(need_input_grad, len(sizes))
        gradients: list[np.ndarray | None] = []
        start = 0
        for index, size in enumerate(sizes):
            place = (*[slice(None)] * axis, slice(start, start + size))
            if needed[index]:
                part = _empty_as(grad, grad[place].shape, buffers, self, f"grad {index}")
                np.copyto(part, grad[place])
            gradients.append(part if needed[index] else None)
            start += size
        return gradients

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


def add(inputs: Sequence[Any], **options: Any) -> Any:
    """`Add(**options)(inputs)`."""
    return Add(**options)(inputs)


def subtract(inputs: Sequence[Any], **options: Any) -> Any:
    """`Subtract(**options)(inputs)`."""
    return Subtract(**options)(inputs)


def multiply(inputs: Sequence[Any], **options: Any) -> Any:
    """`Multiply(**options)(inputs)`."""
    return Multiply(**options)(inputs)


def average(inputs: Sequence[Any], **options: Any) -> Any:
    """`Average(**options)(inputs)`."""
    return Average(**options)(inputs)


def maximum(inputs: Sequence[Any], **options: Any) -> Any:
    """`Maximum(**options)(inputs)`."""
    return Maximum(**options)(inputs)


def minimum(inputs: Sequence[Any], **options: Any) -> Any:
    """`Minimum(**options)(inputs)`."""
    return Minimum(**options)(inputs)


def concatenate(inputs: Sequence[Any], axis: int = -1, **options: Any) -> Any:
    """`Concatenate(axis, **options)(inputs)`."""
    return Concatenate(axis, **options)(inputs)


def _empty_as(x: np.ndarray, shape: tuple[int, ...], buffers: Buffers, owner: object, name: str) -> np.ndarray:
    """An uninitialised array of another shape than x's, in the same order in memory."""
    if x.ndim != 4 or x.flags.c_contiguous:
        return buffers.empty(owner, name, shape, x.dtype)
    return from_last(buffers.empty(owner, name, last(shape, "channels_first"), x.dtype), "channels_first")


def _each(wanted: bool | Sequence[bool], count: int) -> list[bool]:
    """Of each of `count` inputs, whether its gradient is wanted."""
    return [wanted] * count if isinstance(wanted, bool) else list(wanted)


def between(shape: Shape, rank: int) -> Any:
    """The shape with axes of length 1 behind the batch's, `rank` in all."""
    return (*shape[:1], *[1] * (rank - len(shape)), *shape[1:])


def _merged_size(sizes: Sequence[int | None]) -> int | None:
    """The size that these are broadcast to; None if it is not known, 0 if there is none."""
    known = {size for size in sizes if size not in (None, 1)}
    if len(known) > 1:
        return 0
    if known:
        return known.pop()
    return None if None in sizes else 1
