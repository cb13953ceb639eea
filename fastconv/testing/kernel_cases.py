"""What a kernel is checked on: for each op its arrays, data of several kinds and what the reference makes of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fastconv import kernels
from fastconv.kernels.reference_windows import options, windows
from fastconv.testing.comparison import EPS

Shape = tuple[int, ...]
Arrays = dict[str, np.ndarray]  # by name; what is left out is passed as None


@dataclass(frozen=True)
class Epilogue:
    """What a kernel may do besides: `run` takes argument(problem, rng) by its name, and the outputs become
    apply(outputs, argument, inputs)."""

    argument: Callable[[Any, np.random.Generator], Any]
    apply: Callable[[Arrays, Any, Arrays], Arrays]


def _relu_output(problem: Any, rng: np.random.Generator) -> np.ndarray:
    """In the shape of x, with a NaN."""
    x = np.maximum(rng.standard_normal(problem.x_shape).astype(problem.dtype), 0)
    x.reshape(-1)[-1:] = np.nan
    return x


@dataclass(frozen=True)
class Op:
    """The arrays of an op in the order of its `run`, and how its rounding errors grow.

    terms: problem -> the numbers that one element of an output is a sum of; 0 if nothing is rounded.
    optional: inputs or outputs that may be None.
    epilogues: those that its kernels may fuse, by name.
    whole: outputs that rounding errors change by a whole or not at all; they are compared where nothing is rounded.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    terms: Callable[[Any], int]
    optional: tuple[str, ...] = ()
    epilogues: dict[str, Epilogue] = field(default_factory=dict)
    whole: tuple[str, ...] = ()


def _relu_and_winners(outputs: Arrays, _: Any, inputs: Arrays) -> Arrays:
    y = np.maximum(outputs["y"], 0)
    return {name: y if name == "y" else np.where(y <= 0, -1, array) for name, array in outputs.items()}


_RELU = Epilogue(lambda problem, rng: True, lambda made, _, inputs: {"y": np.maximum(made["y"], 0)})
_RELU_AND_WINNERS = Epilogue(lambda problem, rng: True, _relu_and_winners)
_RELU_BEFORE = Epilogue(_relu_output, lambda made, x, inputs: {"gx": np.where(x <= 0, 0, made["gx"])})
_RELU_BEFORE_POOL = Epilogue(
    lambda problem, rng: True, lambda made, _, inputs: {"gx": np.where(inputs["x"] <= 0, 0, made["gx"])}
)
OPS = {
    "conv2d": Op(
        ("x", "w", "bias"), ("y",), lambda p: p.R * p.S * p.C // p.groups + 1, ("bias",), epilogues={"relu": _RELU}
    ),
    "conv2d_backward_data": Op(
        ("gy", "w"), ("gx",), lambda p: p.R * p.S * p.K // p.groups, epilogues={"relu": _RELU_BEFORE}
    ),
    "conv2d_backward_filter": Op(("x", "gy"), ("gw", "gb"), lambda p: p.N * p.P * p.Q, ("gb",)),
    "conv2d_max_pool2d": Op(
        ("x", "w", "bias"),
        ("y", "winners"),
        lambda p: p.R * p.S * p.C // p.groups + 1,
        ("bias", "winners"),
        epilogues={"relu": _RELU_AND_WINNERS},
        whole=("winners",),
    ),
    "conv2d_max_pool2d_backward_filter": Op(
        ("x", "gy", "winners"), ("gw", "gb"), lambda p: p.N * math.prod(p.y_shape[1:3]), ("gb",)
    ),
    "max_pool2d": Op(("x",), ("y",), lambda p: 0),
    "max_pool2d_backward": Op(("x", "gy"), ("gx",), lambda p: p.R * p.S, epilogues={"relu": _RELU_BEFORE_POOL}),
    "average_pool2d": Op(("x",), ("y",), lambda p: p.R * p.S),
    "average_pool2d_backward": Op(("gy",), ("gx",), lambda p: p.R * p.S),
    "im2col": Op(("x",), ("col",), lambda p: 0),
    "col2im": Op(("col",), ("gx",), lambda p: p.R * p.S),
}


def array_shape(name: str, problem: Any) -> Shape:
    """The shape of the array that the ops call `name`."""
    if name in ("x", "gx"):
        return problem.x_shape
    if name in ("w", "gw"):
        return problem.w_shape
    if name in ("y", "gy", "winners"):
        return problem.y_shape
    if name == "col":
        return problem.N, problem.P, problem.Q, problem.R, problem.S, problem.C
    return (problem.K,)


def empty_arrays(op: str, problem: Any) -> list[np.ndarray]:
    """The inputs and outputs of an op, uninitialised: for whoever looks at shapes only."""
    return [np.empty(array_shape(name, problem), problem.dtype) for name in (*OPS[op].inputs, *OPS[op].outputs)]


@dataclass(frozen=True)
class Case:
    """Inputs, and for each output the expected values and the error allowed.

    check: what a failure is called: "integers" (exact), "floats", "optional" (an array left out), "special values".
    """

    check: str
    inputs: Arrays
    expected: Arrays
    tolerance: dict[str, Any]


def allowed(case: Case, kernel: Any, problem: Any, name: str) -> Any:
    """The error that an output of an exact kernel may have: the case's, and what its `precision` adds to it.

    Factors that are rounded to 11 bits are off by half a unit at most, their product by a whole one. Small integers are
    not rounded, so the exact cases stay so.
    """
    if not kernel.precision or case.check != "floats":
        return case.tolerance[name]
    return case.tolerance[name] + EPS[kernel.precision] * magnitudes(kernel.op, problem, case.inputs)[name]


@functools.lru_cache(maxsize=4)  # the variants of an op are checked one after the other
def cases(op: str, problem: Any, seed: int) -> tuple[Case, ...]:
    """All cases of `problem`; the same seed gives the same data."""
    rng = np.random.default_rng(seed)
    this = OPS[op]
    exact = dict.fromkeys(this.outputs, 0.0)
    integers = _integers(op, problem, rng)
    found = [Case("integers", integers, reference(op, problem, integers), exact)]

    found.append(_float_case(op, problem, rng))

    for optional in this.optional:
        without = {name: array for name, array in integers.items() if name != optional}
        expected = reference(op, problem, without, leave_out=(optional,))
        found.append(Case("optional", without, expected, exact))
    special = _special(op, problem, integers, rng)
    found.append(Case("special values", special, reference(op, problem, special), exact))
    return tuple(found)


def float_case(op: str, problem: Any, seed: int = 0) -> Case:
    """The case "floats" alone: what a benchmark checks its contestants on, and times them with."""
    return _float_case(op, problem, np.random.default_rng(seed))


def float_inputs(op: str, problem: Any, seed: int = 0) -> Arrays:
    """The inputs of that case."""
    return _floats(op, problem, np.random.default_rng(seed))


def _float_case(op: str, problem: Any, rng: np.random.Generator) -> Case:
    floats = _floats(op, problem, rng)
    expected = reference(op, problem, floats, leave_out=OPS[op].whole)
    return Case("floats", floats, expected, _rounding(op, problem, floats))


def reference(op: str, problem: Any, inputs: Arrays, leave_out: tuple[str, ...] = ()) -> Arrays:
    """The outputs that the reference makes of `inputs`, in float64."""
    this = OPS[op]
    outputs = {name: np.empty(array_shape(name, problem)) for name in this.outputs if name not in leave_out}
    arrays = [inputs.get(name) for name in this.inputs] + [outputs.get(name) for name in this.outputs]
    kernels.get(op, "reference").run(replace(problem, dtype="float64"), *arrays, None)
    return outputs


def _rounding(op: str, problem: Any, inputs: Arrays) -> dict[str, Any]:
    """A bound of the rounding errors: terms * unit * the sum of the terms' magnitudes.

    Each of n additions, and the product or quotient before or after them, is off by half a unit at most. Twice that
    allows for the reference, which is no better than a float64 kernel.
    """
    terms = OPS[op].terms(problem)
    units = (terms + 1 if terms else 0) * np.finfo(problem.dtype).eps
    return {name: units * size for name, size in magnitudes(op, problem, inputs).items()}


def magnitudes(op: str, problem: Any, inputs: Arrays) -> Arrays:
    """For each element of the outputs the sum of its terms' magnitudes, NaN counted as 0."""
    sizes = {
        name: array if _is_compared(op, name) else np.nan_to_num(np.abs(array), nan=0, posinf=np.inf)
        for name, array in inputs.items()
    }
    return reference(op, problem, sizes)


def _is_compared(op: str, name: str) -> bool:
    """Whether the op compares that input's elements."""
    return op.startswith("max") and name == "x" or name == "winners"


def _winners(problem: Any, rng: np.random.Generator) -> np.ndarray:
    """Numbers of a window's pixels, and -1 for none."""
    numbers = rng.integers(-1, problem.pool_h * problem.pool_w, problem.y_shape)
    return numbers.astype(problem.dtype)


def _integers(op: str, problem: Any, rng: np.random.Generator) -> Arrays:
    """Integers so small that every sum is exact; for max pooling they make ties."""
    exact = 2 ** (np.finfo(problem.dtype).nmant + 1)
    largest = max(1, min(3, math.isqrt(exact // max(1, OPS[op].terms(problem)))))
    arrays: Arrays = {}
    for name in OPS[op].inputs:
        values = rng.integers(-largest, largest, array_shape(name, problem), endpoint=True)
        arrays[name] = _winners(problem, rng) if name == "winners" else values.astype(problem.dtype)
    if op == "average_pool2d_backward":  # so that every share is an integer
        arrays["gy"] *= _window_counts(problem).astype(problem.dtype)
    return arrays


def _floats(op: str, problem: Any, rng: np.random.Generator) -> Arrays:
    """Random numbers; for max pooling no two are equal."""
    arrays: Arrays = {}
    for name in OPS[op].inputs:
        shape = array_shape(name, problem)
        if name == "winners":
            arrays[name] = _winners(problem, rng)
        elif _is_compared(op, name):
            count = math.prod(shape)
            arrays[name] = (rng.permutation(count).reshape(shape) - count / 2).astype(problem.dtype)
        else:
            arrays[name] = rng.standard_normal(shape).astype(problem.dtype)
    return arrays


def _special(op: str, problem: Any, integers: Arrays, rng: np.random.Generator) -> Arrays:
    """NaN: one in the first input, or for max pooling many, and infinities, among a few equal numbers."""
    arrays = dict(integers)
    name = OPS[op].inputs[0]
    shape = array_shape(name, problem)
    if _is_compared(op, name):
        values = rng.choice([np.nan, -np.inf, np.inf, -1.0, 0.0], shape, p=[0.1, 0.5, 0.1, 0.2, 0.1])
        arrays[name] = values.astype(problem.dtype)
    elif math.prod(shape):
        first = integers[name].copy()
        first.flat[rng.integers(first.size)] = np.nan
        arrays[name] = first
    return arrays


def _window_counts(problem: Any) -> np.ndarray:
    """The number of pixels that each window has in the image, (1,P,Q,1)."""
    where = windows((problem.H, problem.W), (problem.R, problem.S), **options(problem))
    inside = where.inside()
    return np.sum([inside[tap] for _, _, tap in where.taps()], axis=0)
