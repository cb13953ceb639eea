"""`KerasTensor`: what flows between layers while a model is put together, shape and dtype without values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastconv.layers.naming import automatic_name

Shape = tuple[int | None, ...]


class KerasTensor:
    """The place of an array in a model that is being put together.

    `Input` makes the first ones; a layer called on them makes the next. `Model(inputs, outputs)` is what lies between.

    Attributes:
        shape: the batch's size first, None where a size is not known.
        dtype: its name. name: by default "keras_tensor", numbered from the second on.
        node: the call of a layer that makes it.
        index: which of that call's outputs it is.
    """

    def __init__(self, shape: Shape, dtype: str, name: str | None = None) -> None:
        self.shape, self.dtype = tuple(shape), dtype
        self.name = name or automatic_name(type(self))
        self.node: Node
        self.index = 0

    @property
    def ndim(self) -> int:
        """The number of axes, the batch's included."""
        return len(self.shape)

    @property
    def _keras_history(self) -> tuple[Any, int, int]:
        """The layer that makes it, which call of the layer that is, and which of the call's outputs."""
        layer = self.node.layer
        return layer, layer._nodes.index(self.node), self.index

    def __add__(self, other: Any) -> Any:
        return self._merged("Add", other)

    def __sub__(self, other: Any) -> Any:
        return self._merged("Subtract", other)

    def __mul__(self, other: Any) -> Any:
        return self._merged("Multiply", other)

    def _merged(self, merge: str, other: Any) -> Any:
        if not isinstance(other, KerasTensor):
            return NotImplemented
        from fastconv.layers import merging

        return getattr(merging, merge)()([self, other])

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"{self!r} has no values: it stands for an array in a model. Make a Model and call that.")

    def __iter__(self) -> Any:
        raise TypeError(f"{self!r} cannot be taken apart: it has no values.")

    def __bool__(self) -> bool:
        raise TypeError(f"{self!r} is neither true nor false: it has no values.")

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"


class Node:
    """One call of a layer: it joins the tensors that go in to those that come out.

    Attributes:
        layer: the layer.
        inputs: what it was called with: a tensor, or a list or dict of tensors; None for an input of a model.
        outputs: the tensors made, mostly one.
        training: as given in the call; None leaves it to the model.
    """

    def __init__(self, layer: Any, inputs: Any, outputs: tuple[KerasTensor, ...], training: bool | None = None) -> None:
        self.layer, self.inputs, self.outputs, self.training = layer, inputs, outputs, training
        for index, tensor in enumerate(outputs):
            tensor.node, tensor.index = self, index
        layer._nodes.append(self)

    @property
    def sources(self) -> tuple[KerasTensor, ...]:
        """The tensors that go in, one after another."""
        return () if self.inputs is None else tuple(leaves(self.inputs))


def leaves(structure: Any) -> Iterator[Any]:
    """What a nested structure of lists, tuples and dicts holds; a dict's values in the order of its sorted keys."""
    if isinstance(structure, Mapping):
        for key in sorted(structure):
            yield from leaves(structure[key])
    elif isinstance(structure, (list, tuple)):
        for part in structure:
            yield from leaves(part)
    else:
        yield structure


def map_leaves(change: Any, structure: Any) -> Any:
    """The structure with `change(leaf)` in place of each leaf."""
    if isinstance(structure, Mapping):
        return {key: map_leaves(change, structure[key]) for key in structure}
    if isinstance(structure, (list, tuple)):
        return [map_leaves(change, part) for part in structure]
    return change(structure)


def is_symbolic(structure: Any) -> bool:
    """Whether a layer called with `structure` is to be recorded rather than computed.

    Raises:
        TypeError: it mixes tensors of a model with arrays.
    """
    if isinstance(structure, KerasTensor):
        return True
    if not isinstance(structure, (list, tuple, Mapping)):
        return False
    found = 0
    count = 0
    for leaf in leaves(structure) if isinstance(structure, Mapping) else structure:
        count += 1
        found += is_symbolic(leaf)
    if found and found != count:
        raise TypeError("a layer takes either tensors of a model or arrays, not both in one call.")
    return bool(found)
