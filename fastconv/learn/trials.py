"""`Trial`: one run of an answer, and what must come out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fastconv import kernels
from fastconv.testing.kernel_cases import OPS, Arrays, cases
from fastconv.testing.shapes import shapes_for

_SEED = 0
_COSTS = "whole warps"  # the shape whose costs count
_AXES = {"x": "nhwc", "gx": "nhwc", "w": "rsck", "gw": "rsck", "y": "npqk", "gy": "npqk", "gb": "k"}
_TRAITS: dict[str, Callable[[Any], bool]] = {
    "images": lambda p: p.N > 1,
    "strides": lambda p: max(p.stride_h, p.stride_w) > 1,
    "different strides": lambda p: p.stride_h != p.stride_w,
    "dilation": lambda p: max(p.dilation_h, p.dilation_w) > 1,
    "padding": lambda p: max(p.pad_top, p.pad_bottom, p.pad_left, p.pad_right) > 0,
    "groups": lambda p: getattr(p, "groups", 1) > 1,
}
_CONDITIONS = {"optional": "without {}", "special values": "with a NaN in the data"}


@dataclass(frozen=True)
class Trial:
    """One run.

    Attributes:
        name: of the shape.
        shape: the sizes, as text.
        inputs: by name, in their order; None for one that is left out.
        expected: the outputs by name, in float64; None for one that is left out.
        axes: for each output the names of its axes.
        condition: what else is special: "", or for example "without bias".
        problem: what comes before the arrays in the call, if the op has problems.
        keywords: of the call.
        traits: what is special about the shape: the first that no shape before had is what a mistake is about.
    """

    name: str
    shape: str
    inputs: dict[str, np.ndarray | None]
    expected: dict[str, np.ndarray | None]
    axes: dict[str, tuple[str, ...]]
    condition: str = ""
    problem: Any = None
    keywords: dict[str, Any] = field(default_factory=dict)
    traits: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([f"{self.name} ({self.shape})", *([self.condition] if self.condition else [])])

    def arguments(self) -> tuple[list[Any], Arrays, Arrays]:
        """What to call an answer with: all arguments in their order; the inputs in them, and the outputs, all NaN."""
        inputs = {name: array.copy() for name, array in self.inputs.items() if array is not None}
        outputs = {
            name: np.full(array.shape, np.nan, np.float32) for name, array in self.expected.items() if array is not None
        }
        arrays = [inputs.get(name) for name in self.inputs] + [outputs.get(name) for name in self.expected]
        return (arrays if self.problem is None else [self.problem, *arrays, None]), inputs, outputs


def op_trials(op: str, variant: str, costs: str) -> Iterator[Trial]:
    """The tiny edge shapes of an op, as far as `variant` supports them, and then the one whose costs count.

    Small integers come first, where every result is exact; then what else the variant can do.
    """
    kernel = kernels.get(op, variant)
    kind, edges = kernels.problem_type(op), shapes_for(op, "lab")
    plain = edges.pop("plain")
    images = replace(plain, N=plain.N + 1)
    for name, problem in {"plain": plain, "images": images, **edges, _COSTS: kind.parse(costs)}.items():
        if kernel.unsupported(problem) is None:
            yield from _cases(kernel, name, problem)


def _cases(kernel: kernels.Kernel, name: str, problem: Any) -> Iterator[Trial]:
    op = OPS[kernel.op]
    pooling = kernels.problem_type(kernel.op) is kernels.Pool2DProblem
    letters = {**_AXES, "y": "npqc", "gy": "npqc"} if pooling else _AXES
    traits = tuple(trait for trait, holds in _TRAITS.items() if holds(problem))
    axes = {output: tuple(letters[output]) for output in op.outputs}
    for case in cases(kernel.op, problem, _SEED):
        if case.check == "floats" or (name == _COSTS and case.check != "integers"):
            continue
        inputs = {key: case.inputs.get(key) for key in op.inputs}
        expected = {key: case.expected.get(key) for key in op.outputs}
        condition = _CONDITIONS.get(case.check, "").format(*op.optional)
        yield Trial(name, str(problem), inputs, expected, axes, condition, problem, traits=traits)
        for epilogue in kernel.fuses if case.check == "integers" and name != _COSTS else ():
            argument = op.epilogues[epilogue].argument(problem, np.random.default_rng(_SEED))
            made = {key: array for key, array in expected.items() if array is not None}
            outputs = expected | op.epilogues[epilogue].apply(made, argument, case.inputs)
            keywords = {epilogue: argument}
            yield Trial(name, str(problem), inputs, outputs, axes, f"with {epilogue}=True", problem, keywords, traits)


def axpy_trials() -> Iterable[Trial]:
    """Vectors: less than a block, whole blocks, a block more than needed."""
    for name, size in (("one block", 256), ("two blocks", 512), ("part of a block", 100), ("a tail", 600)):
        a, b = _numbers(2, size)
        yield Trial(name, f"size={size}", {"a": a, "b": b}, {"c": a / 2.0 + b}, {"c": ("i",)})
    a, b = _numbers(2, 1024)
    yield Trial(_COSTS, "size=1024", {"a": a, "b": b}, {"c": a / 2.0 + b}, {"c": ("i",)})


def transpose_trials() -> Iterable[Trial]:
    """Matrices: one tile, whole tiles, and edges that tiles stand over."""
    shapes = {"one tile": (32, 32), "whole tiles": (32, 96), "edges": (33, 70), "narrow": (3, 40), _COSTS: (64, 96)}
    for name, (rows, columns) in shapes.items():
        (a,) = _numbers(1, rows, columns)
        yield Trial(name, f"{rows} x {columns}", {"a": a}, {"b": a.T.astype(np.float64)}, {"b": ("row", "column")})


def _numbers(count: int, *shape: int) -> np.ndarray:
    """Integers so small that float32 is exact."""
    return np.random.default_rng(_SEED).integers(-99, 99, (count, *shape)).astype(np.float32)
