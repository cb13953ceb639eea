"""Expressions, for all threads of a batch at once."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from fastconv.testing.simulator import values
from fastconv.testing.simulator.arrays import Array
from fastconv.testing.simulator.batch import Batch, Dim3
from fastconv.testing.simulator.errors import SimulationError
from fastconv.testing.simulator.findings import DIVISION_BY_ZERO, OUT_OF_BOUNDS, UNINITIALISED, WRONG_INDEX, Findings
from fastconv.testing.simulator.frame import Frame
from fastconv.testing.simulator.functions import FUNCTIONS, Place
from fastconv.testing.simulator.instructions import INSTRUCTIONS
from fastconv.testing.simulator.masks import Mask
from fastconv.testing.simulator.memory import Memory
from fastconv.testing.simulator.ranges import make_range
from fastconv.testing.simulator.source import Function, Site, Sources
from fastconv.testing.simulator.values import Number

_DIVISIONS = (ast.FloorDiv, ast.Mod, ast.Div)
_MISSING = object()


class Expressions:
    """Evaluates expressions in the innermost of `frames`."""

    def __init__(self, sources: Sources, batch: Batch, memory: Memory, findings: Findings, max_steps: int):
        self.sources, self.batch, self.memory, self.findings = sources, batch, memory, findings
        self.max_steps, self.steps = max_steps, 0
        self.frames: list[Frame] = []
        self.functions: list[Function] = []
        self.kernel_frame: Frame | None = None
        self.cuda: Any = None  # set by whoever makes both: a `Cuda`

    def evaluate(self, node: ast.expr, mask: Mask) -> Any:
        method = self._EXPRESSIONS.get(type(node))
        if method is None:
            raise SimulationError(f"`{type(node).__name__}` is no part of what is simulated.", _site(node))
        return method(self, node, mask)

    def number(self, value: Any, site: Site, mask: Mask) -> Number:
        """The value, which must be a number; an array is one of those findings that stand for a missing index."""
        if isinstance(value, Array):
            lane = int(mask.index[0])
            message = (
                f"uses {value.name} as a number, but it is an array of {value.ndim} dimensions: an index is missing."
            )
            self.findings.add(WRONG_INDEX, site, message, self.batch, lane, subject=value.name, count=mask.count)
            return values.plain(value.dtype.type(0))
        if not values.is_number(value):
            raise SimulationError(f"a number is needed, but this is a {type(value).__name__}.", site)
        return value

    def condition(self, node: ast.expr, mask: Mask) -> Number:
        value = self.evaluate(node, mask)
        return values.truth(value) if values.is_number(value) else bool(value)

    def arithmetic(self, kind: type[ast.operator], a: Any, b: Any, mask: Mask, site: Site) -> Any:
        if isinstance(a, tuple) and isinstance(b, tuple) and kind is ast.Add:
            return a + b
        a, b = self.number(a, site, mask), self.number(b, site, mask)
        if kind in _DIVISIONS and values.type_of(a).kind != "f" and values.type_of(b).kind != "f":
            zero = np.asarray(mask.pick(values.compare(ast.Eq, b, 0)))
            if zero.any():
                lane = int(mask.index[np.flatnonzero(np.broadcast_to(zero, mask.count))[0]])
                count = int(np.count_nonzero(np.broadcast_to(zero, mask.count)))
                self.findings.add(DIVISION_BY_ZERO, site, "divides an integer by 0.", self.batch, lane, count=count)
                if not values.varies(b):
                    b = 1
        result = values.binary(kind, a, b)
        self.count_flops(result, mask, site)
        return result

    def count_flops(self, result: Number, mask: Mask, site: Site, each: int = 1) -> None:
        """Count `each` operations a thread, if the result is a float."""
        dtype = values.type_of(result)
        if dtype.kind == "f":
            site.counts.flops += each * mask.count
            if dtype.itemsize == 8:
                site.counts.float64_flops += each * mask.count

    # Names and constants

    def _constant(self, node: ast.Constant, mask: Mask) -> Any:
        return node.value

    def _name(self, node: ast.Name, mask: Mask) -> Any:
        frame = self.frames[-1]
        found = frame.variables.get(node.id)
        if found is not None:
            if (lanes := frame.unset(node.id, mask)) is not None:
                message = f"reads the variable {node.id}, which it has not set."
                self.findings.add(
                    UNINITIALISED, _site(node), message, self.batch, int(lanes[0]), subject=node.id, count=len(lanes)
                )
            return found[0]
        function = self.functions[-1]
        if node.id in function.locals or node.id not in function.names:
            raise SimulationError(f"{node.id} has no value.", _site(node))
        if node.id not in function.meanings:
            value = function.names[node.id]
            # fastconv.kernels.cuda.cuda is None where numba.cuda is not installed.
            meaning = self.cuda if value is None and node.id == "cuda" else self.translate(value)
            function.meanings[node.id] = meaning
        return function.meanings[node.id]

    def translate(self, value: Any) -> Any:
        """An object of Python as what it is in a kernel: numba.cuda and its contents become the simulator's."""
        if isinstance(value, ModuleType):
            return self.cuda if "numba" in value.__name__ and value.__name__.endswith("cuda") else value
        if type(value).__module__.startswith("numba") or getattr(value, "__module__", "").startswith("numba"):
            if (dtype := _numba_type(value)) is not None:
                return dtype.type
            for module in ("numba.cuda", "numba_cuda"):
                for known, content in vars(sys.modules.get(module, object)).items():
                    if content is value and hasattr(self.cuda, known):
                        return getattr(self.cuda, known)
        if isinstance(value, np.ndarray):
            return self.cuda.const.global_array(value)
        return values.plain(value)

    def _attribute(self, node: ast.Attribute, mask: Mask) -> Any:
        owner = self.evaluate(node.value, mask)
        if isinstance(owner, Array):
            if node.attr == "strides":
                return tuple(stride * owner.dtype.itemsize for stride in owner.strides)
            if node.attr in ("shape", "ndim", "size", "dtype", "nbytes"):
                return getattr(owner, node.attr)
        elif isinstance(owner, tuple) and node.attr in getattr(owner, "_fields", ()):
            return getattr(owner, node.attr)
        elif isinstance(owner, (Dim3, ModuleType)) or owner is self.cuda or getattr(owner, "is_simulated", False):
            found = _MISSING if node.attr.startswith("_") else getattr(owner, node.attr, _MISSING)
            if found is not _MISSING:
                return self.translate(found) if isinstance(owner, ModuleType) else found
        raise SimulationError(f"`{ast.unparse(node)}` is not simulated.", _site(node))

    # Arrays and tuples

    def _subscript(self, node: ast.Subscript, mask: Mask) -> Any:
        owner, site = self.evaluate(node.value, mask), _site(node)
        index = self.evaluate(node.slice, mask)
        if isinstance(owner, Array):
            whole = index if isinstance(index, tuple) else (index,)
            if len(whole) < owner.ndim or any(isinstance(i, slice) for i in whole):
                return self._part(owner, whole, mask, site)
            return self.memory.load(owner, index, mask, site)
        if isinstance(owner, tuple):
            if isinstance(index, (int, np.integer, slice)):
                try:
                    return owner[index]
                except IndexError as error:
                    raise SimulationError(f"index {index} of a tuple of {len(owner)}.", site) from error
            raise SimulationError("a tuple is indexed with the same number in all threads only.", site)
        raise SimulationError(f"{type(owner).__name__} has no elements.", site)

    def _part(self, owner: Array, index: tuple[Any, ...], mask: Mask, site: Site) -> Array:
        inside: list[Any] = []
        for i, size in zip(index, owner.shape, strict=False):
            if isinstance(i, slice):
                inside.append(i)
                continue
            i = self.number(i, site, mask)
            if values.type_of(i).kind not in "iub":
                raise SimulationError(f"an index of type {values.type_of(i)}; it must be an integer.", site)
            inside.append(np.clip(i, 0, max(size - 1, 0)))
            out = np.broadcast_to(mask.pick(values.compare(ast.NotEq, i, inside[-1])), mask.count)
            if out.any():
                message = f"takes a part of {owner.name}, of shape {owner.shape}, by an index outside of it."
                lane, count = int(mask.index[np.flatnonzero(out)[0]]), int(np.count_nonzero(out))
                self.findings.add(OUT_OF_BOUNDS, site, message, self.batch, lane, subject=owner.name, count=count)
        try:
            return owner.part(tuple(inside), self.batch.lanes)
        except IndexError as error:
            raise SimulationError(f"{error}.", site) from error

    def _slice(self, node: ast.Slice, mask: Mask) -> slice:
        parts = (node.lower, node.upper, node.step)
        return slice(*(None if part is None else self.evaluate(part, mask) for part in parts))

    def _tuple(self, node: ast.Tuple | ast.List, mask: Mask) -> tuple[Any, ...]:
        return tuple(self.evaluate(element, mask) for element in node.elts)

    # Operators

    def _binary(self, node: ast.BinOp, mask: Mask) -> Any:
        a, b = self.evaluate(node.left, mask), self.evaluate(node.right, mask)
        return self.arithmetic(type(node.op), a, b, mask, _site(node))

    def _unary(self, node: ast.UnaryOp, mask: Mask) -> Number:
        value = self.evaluate(node.operand, mask)
        return values.unary(type(node.op), self.number(value, _site(node), mask))

    def _compare(self, node: ast.Compare, mask: Mask) -> Number:
        left, result = self.evaluate(node.left, mask), None
        for kind, right_node in zip(node.ops, node.comparators, strict=True):
            right = self.evaluate(right_node, mask)
            if isinstance(kind, (ast.Is, ast.IsNot)):
                step: Number = (left is right) == isinstance(kind, ast.Is)
            elif isinstance(left, tuple) and isinstance(right, tuple):
                step = (left == right) == isinstance(kind, ast.Eq)
            else:
                site = _site(node)
                step = values.compare(type(kind), self.number(left, site, mask), self.number(right, site, mask))
            result = step if result is None else result & step
            left = right
        return result

    def _boolean(self, node: ast.BoolOp, mask: Mask) -> Number:
        """`and`, `or`: the next operand is evaluated in those threads alone whose answer is still open."""
        result = self.condition(node.values[0], mask)
        for operand in node.values[1:]:
            yes, no = mask.split(result)
            still_open = yes if isinstance(node.op, ast.And) else no
            if not still_open:
                break
            value = self.condition(operand, still_open)
            if not values.varies(result):
                result = value  # open in all threads
            else:
                result = result & value if isinstance(node.op, ast.And) else result | value
        return result

    def _either(self, node: ast.IfExp, mask: Mask) -> Any:
        yes, no = mask.split(condition := self.condition(node.test, mask))
        if not no:
            return self.evaluate(node.body, mask)
        if not yes:
            return self.evaluate(node.orelse, mask)
        a, b = self.evaluate(node.body, yes), self.evaluate(node.orelse, no)
        site = _site(node)
        return values.choose(condition, self.number(a, site, mask), self.number(b, site, mask))

    def _walrus(self, node: ast.NamedExpr, mask: Mask) -> Any:
        value = self.evaluate(node.value, mask)
        self.frames[-1].assign(node.target.id, value, mask, _site(node))
        return value

    # Calls

    def _call(self, node: ast.Call, mask: Mask) -> Any:
        function = self.evaluate(node.func, mask)
        args: list[Any] = []
        for arg in node.args:
            if isinstance(arg, ast.Starred):
                args += self.evaluate(arg.value, mask)
            else:
                args.append(self.evaluate(arg, mask))
        keywords = {word.arg: self.evaluate(word.value, mask) for word in node.keywords if word.arg}
        site = _site(node)
        if function is range:
            return make_range([self.number(arg, site, mask) for arg in args], mask)
        if getattr(function, "is_intrinsic", False):
            return self._intrinsic(function, Place(mask, site, self), args, keywords)
        if isinstance(function, type) and issubclass(function, (np.generic, int, float)):
            return values.cast(self.number(args[0], site, mask), np.dtype(function))
        try:
            known = FUNCTIONS.get(function)
        except TypeError:  # not hashable
            known = None
        if known is not None:
            return self._intrinsic(known, Place(mask, site, self), args, keywords)
        kind = getattr(function, "kind", None)  # of an instruction: see kernels.cuda.instruction
        if kind in INSTRUCTIONS:
            return self._intrinsic(INSTRUCTIONS[kind], Place(mask, site, self), [function, *args], keywords)
        if isinstance(model := getattr(function, "model", None), FunctionType):
            with self.memory.one_access():
                return self.call(self.sources.model(model, site), args, keywords, mask, site)
        function = getattr(function, "py_func", function)
        if isinstance(function, FunctionType):
            return self.call(self.sources.function(function), args, keywords, mask, site)
        raise SimulationError(f"`{ast.unparse(node.func)}` is not simulated.", site)

    def _intrinsic(self, function: Any, place: Place, args: list[Any], keywords: dict[str, Any]) -> Any:
        try:
            return function(place, *args, **keywords)
        except (TypeError, ValueError, AttributeError) as error:
            raise SimulationError(f"{error}.", place.site) from error

    def call(self, function: Function, args: list[Any], keywords: dict[str, Any], mask: Mask, site: Site) -> Any:
        raise NotImplementedError  # statements are the Interpreter's

    _EXPRESSIONS: dict[type[ast.expr], Callable[..., Any]] = {
        ast.Constant: _constant,
        ast.Name: _name,
        ast.Attribute: _attribute,
        ast.Subscript: _subscript,
        ast.Slice: _slice,
        ast.Tuple: _tuple,
        ast.List: _tuple,
        ast.BinOp: _binary,
        ast.UnaryOp: _unary,
        ast.Compare: _compare,
        ast.BoolOp: _boolean,
        ast.IfExp: _either,
        ast.NamedExpr: _walrus,
        ast.Call: _call,
    }


def _site(node: ast.AST) -> Site:
    return node.site  # type: ignore[attr-defined,no-any-return]


@functools.cache
def _numba_type(value: Any) -> np.dtype | None:
    """NumPy's type for a type of Numba, such as numba.float32."""
    try:
        return np.dtype(value.name)
    except (AttributeError, TypeError):
        return None
