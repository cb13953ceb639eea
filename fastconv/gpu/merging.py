"""Layers in a program that have several inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.gpu.recorded import Recorded
from fastconv.kernels import cuda_strided
from fastconv.kernels.cuda_strided import ADD, EQUAL, MAXIMUM, MINIMUM, MULTIPLY, SUBTRACT, UNEQUAL, combine, copy
from fastconv.layers import Add, Average, Concatenate, Layer, Maximum, Minimum, Multiply, Subtract
from fastconv.layers.merging import between
from fastconv.models.backward_plan import BackwardStep


class _Merge(Recorded):
    """Base of the layers that work element by element, on inputs that are broadcast to one shape."""

    kind: int

    def forward(self, x: Any, training: bool) -> Any:
        self._shapes = [part.shape for part in x]
        longest = max(map(len, self._shapes))
        views = self._views = [
            part if part.ndim == longest else self.contiguous(part).reshape(between(part.shape, longest)) for part in x
        ]
        shape = np.broadcast_shapes(*(view.shape for view in views))
        like = next((view for view in views if view.shape == shape), None)
        y = self._y = self.empty(shape) if like is None else self.like(like)
        first, *others = views
        if not others:
            self._recorder.add(copy(first, y))
        for other in others:
            self._recorder.add(combine(self.kind, first, other, y))
            first = y
        return y

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        gradients: list[Any] = []
        for index, (view, shape) in enumerate(zip(self._views, self._shapes, strict=True)):
            if not needed(back, index):
                gradients.append(None)
                continue
            part = self.like(gy)
            self.part(index, gy, part)
            if view.shape != gy.shape:
                spread = [axis for axis, size in enumerate(view.shape) if size != gy.shape[axis]]
                total = self.empty(view.shape)
                self._recorder.sum_over(self.contiguous(part), spread, total)
                part = total
            gradients.append(part if part.shape == shape else self.contiguous(part).reshape(shape))
        return gradients

    def part(self, index: int, gy: Any, out: Any) -> None:
        """Write down: the gradient for an input, not yet summed where it was broadcast, into `out`."""
        self._recorder.add(copy(gy, out))

    def constant(self, value: float) -> Any:
        """A number on the device."""
        return self._recorder.memory.copied(np.array([value], np.float32))


class _Add(_Merge):
    kind = ADD


class _Subtract(_Merge):
    kind = SUBTRACT

    def part(self, index: int, gy: Any, out: Any) -> None:
        self._recorder.add(combine(MULTIPLY, gy, self.constant(-1.0 if index else 1.0), out))


class _Multiply(_Merge):
    kind = MULTIPLY

    def part(self, index: int, gy: Any, out: Any) -> None:
        super().part(index, gy, out)
        for other, view in enumerate(self._views):
            if other != index:
                self._recorder.add(combine(MULTIPLY, out, view, out))


class _Average(_Merge):
    kind = ADD

    def forward(self, x: Any, training: bool) -> Any:
        y = super().forward(x, training)
        self._recorder.add(combine(MULTIPLY, y, self.constant(1 / len(x)), y))
        return y

    def part(self, index: int, gy: Any, out: Any) -> None:
        self._recorder.add(combine(MULTIPLY, gy, self.constant(1 / len(self._views)), out))


class _Maximum(_Merge):
    """The gradient goes to the first of the inputs that are equal to the output; of Minimum, too."""

    kind = MAXIMUM

    def part(self, index: int, gy: Any, out: Any) -> None:
        self._recorder.add(combine(EQUAL, self._views[index], self._y, out))
        others = self.like(out)
        for view in self._views[:index]:
            self._recorder.add(combine(UNEQUAL, view, self._y, others))
            self._recorder.add(combine(MULTIPLY, out, others, out))
        self._recorder.add(combine(MULTIPLY, out, gy, out))


class _Minimum(_Maximum):
    kind = MINIMUM


class _Concatenate(Recorded):
    """Concatenate: copies into parts of the output; the gradients are parts of the output's."""

    def forward(self, x: Any, training: bool) -> Any:
        axis = self.layer.axis % x[0].ndim
        sizes = [part.shape[axis] for part in x]
        shape = (*x[0].shape[:axis], sum(sizes), *x[0].shape[axis + 1 :])
        if x[0].flags.c_contiguous:
            y = self.empty(shape)
        else:  # as the inputs, a view of memory with the channels last
            y = self.empty((shape[0], *shape[2:], shape[1])).transpose(0, len(shape) - 1, *range(1, len(shape) - 1))
        self._places = _places(axis, sizes)
        for part, place in zip(x, self._places, strict=True):
            self._recorder.add(cuda_strided.copy(part, y[place]))
        return y

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        return [gy[place] if needed(back, index) else None for index, place in enumerate(self._places)]


def needed(back: BackwardStep, index: int) -> bool:
    """Whether the gradient of one of a layer's inputs is needed."""
    wanted = back.need_input_grad
    return bool(wanted[index] if isinstance(wanted, tuple) else wanted)


def _places(axis: int, sizes: Sequence[int]) -> list[tuple[slice, ...]]:
    places, start = [], 0
    for size in sizes:
        places.append((*[slice(None)] * axis, slice(start, start + size)))
        start += size
    return places


CLASSES: dict[type[Layer], type[Recorded]] = {
    Add: _Add,
    Average: _Average,
    Concatenate: _Concatenate,
    Maximum: _Maximum,
    Minimum: _Minimum,
    Multiply: _Multiply,
    Subtract: _Subtract,
}
