"""`OnnxGraph`: nodes and constants as they come, and images in the layout that ONNX has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv.utils.optional import require


class OnnxGraph:
    """Values are known by their names. ONNX's convolutions and pooling take channels first, models here mostly have
    them last: `channels_first` and `channels_last` turn a value round, and know of each value whether it is the other
    of one that exists, so that between two convolutions nothing is turned.

    Attributes:
        nodes, constants: what there is so far, nodes in an order in which they can run.
        dtype: of the numbers.
    """

    def __init__(self, dtype: Any) -> None:
        self.onnx = require("onnx", "onnx")
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.dtype = np.dtype(dtype)
        self._counts: Counter[str] = Counter()
        self._first_of: dict[str, str] = {}  # by the name of a value with its channels last
        self._scope = ""

    def begin(self, scope: str) -> None:
        """Name what comes after a layer."""
        self._scope = scope

    def op(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A node; returns the name of its output."""
        output = self._name(kind)
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, value: Any, dtype: Any = None) -> str:
        """An array, in the graph's dtype unless another is given."""
        name = self._name("constant")
        array = np.ascontiguousarray(value, dtype or self.dtype)
        self.constants[name] = self.onnx.numpy_helper.from_array(array.reshape(np.shape(value)), name)
        return name

    def has_channels_first(self, x: str) -> bool:
        """Whether `channels_first` costs nothing."""
        return x in self._first_of

    def channels_first(self, x: str, rank: int) -> str:
        """(N, ..., C) as (N, C, ...)."""
        if x not in self._first_of:
            turned = self.op("Transpose", [x], perm=[0, rank - 1, *range(1, rank - 1)])
            self._first_of[x] = turned
        return self._first_of[x]

    def channels_last(self, x: str, rank: int) -> str:
        """(N, C, ...) as (N, ..., C)."""
        turned = self.op("Transpose", [x], perm=[0, *range(2, rank), 1])
        self._first_of[turned] = x
        return turned

    def elementwise(self, convert: Callable[..., str], *values: str, rank: int) -> str:
        """What `convert` makes of values of one shape, in whichever layout they are at hand."""
        if all(value in self._first_of for value in values):
            return self.channels_last(convert(*(self._first_of[value] for value in values)), rank)
        return convert(*values)

    def drop_unused(self, outputs: Sequence[str]) -> None:
        """Leave out the nodes and constants on which no output depends."""
        needed = set(outputs)
        kept = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        self.nodes = kept[::-1]
        self.constants = {name: array for name, array in self.constants.items() if name in needed}

    def _name(self, kind: str) -> str:
        stem = f"{self._scope}/{kind}" if self._scope else kind
        self._counts[stem] += 1
        count = self._counts[stem]
        return stem if count == 1 else f"{stem}_{count - 1}"
