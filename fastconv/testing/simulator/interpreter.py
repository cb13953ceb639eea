"""`Interpreter`: runs a function for all threads of a batch at once, statement by statement.

Where threads part, each side runs under a `Mask` of those that take it; where the sides meet, so do the threads. That
is how the GPU's warps go about it, only that here the threads of all blocks of the batch go in step.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.testing.simulator.arrays import Array
from fastconv.testing.simulator.errors import SimulationError
from fastconv.testing.simulator.expressions import Expressions
from fastconv.testing.simulator.frame import Frame, Loop
from fastconv.testing.simulator.masks import NOBODY, Mask
from fastconv.testing.simulator.ranges import VaryingRange
from fastconv.testing.simulator.source import Function, Site


class Interpreter(Expressions):
    """Statements; `Expressions` has the rest. A statement gives the threads that go on to the next."""

    def run(self, function: Function, arguments: dict[str, Any], mask: Mask) -> None:
        """Run a kernel."""
        frame = Frame(arguments, mask)
        self.kernel_frame = frame
        self._call_frame(function, frame, mask)

    def call(self, function: Function, args: list[Any], keywords: dict[str, Any], mask: Mask, site: Site) -> Any:
        """Run a device function for the threads of `mask`; what it returns."""
        if len(self.frames) > 100:
            raise SimulationError("device functions call each other more than 100 deep.", site)
        try:
            bound = function.signature.bind(*args, **keywords)
        except TypeError as error:
            raise SimulationError(f"{function.name}(): {error}.", site) from error
        bound.apply_defaults()
        frame = Frame(bound.arguments, mask)
        self._call_frame(function, frame, mask)
        return frame.result

    def _call_frame(self, function: Function, frame: Frame, mask: Mask) -> None:
        self.frames.append(frame)
        self.functions.append(function)
        self._block(function.tree.body, mask)
        self.functions.pop()
        self.frames.pop()

    def _block(self, statements: list[ast.stmt], mask: Mask) -> Mask:
        for statement in statements:
            if not mask:
                break
            method = self._STATEMENTS.get(type(statement))
            site: Site = statement.site  # type: ignore[attr-defined]
            if method is None:
                raise SimulationError(f"`{type(statement).__name__}` is no part of what is simulated.", site)
            self._step(mask, site)
            mask = method(self, statement, mask)
        return mask

    def _step(self, mask: Mask, site: Site) -> None:
        self.steps += 1
        if self.steps > self.max_steps:
            lane = int(mask.index[0])
            raise SimulationError(
                f"still running after {self.max_steps} steps; {mask.count} threads are here, the first of them thread "
                f"{self.batch.thread_of(lane)} of block {self.batch.block_of(lane)}. An endless loop, or threads that "
                "wait for each other, which is not simulated? Otherwise give a larger max_steps.",
                site,
            )

    # Assignments

    def _assign(self, node: ast.Assign, mask: Mask) -> Mask:
        value = self.evaluate(node.value, mask)
        for target in node.targets:
            self._assign_to(target, value, mask)
        return mask

    def _annotated(self, node: ast.AnnAssign, mask: Mask) -> Mask:
        if node.value is not None:
            self._assign_to(node.target, self.evaluate(node.value, mask), mask)
        return mask

    def _assign_to(self, target: ast.expr, value: Any, mask: Mask) -> None:
        site: Site = target.site  # type: ignore[attr-defined]
        if isinstance(target, ast.Name):
            self.frames[-1].assign(target.id, value, mask, site)
        elif isinstance(target, ast.Subscript):
            array = self._array(target, mask)
            self.memory.store(array, self.evaluate(target.slice, mask), self.number(value, site, mask), mask, site)
        elif isinstance(target, (ast.Tuple, ast.List)):
            if not isinstance(value, tuple) or len(value) != len(target.elts):
                raise SimulationError(f"{len(target.elts)} names are assigned to from something else.", site)
            for part, element in zip(target.elts, value, strict=True):
                self._assign_to(part, element, mask)
        else:
            raise SimulationError("this cannot be assigned to in a kernel.", site)

    def _augmented(self, node: ast.AugAssign, mask: Mask) -> Mask:
        site: Site = node.site  # type: ignore[attr-defined]
        if isinstance(node.target, ast.Subscript):
            array, index = self._array(node.target, mask), self.evaluate(node.target.slice, mask)
            operand = self.evaluate(node.value, mask)
            before = self.memory.load(array, index, mask, site)
            self.memory.store(array, index, self.arithmetic(type(node.op), before, operand, mask, site), mask, site)
        else:
            before = self.evaluate(node.target, mask)
            operand = self.evaluate(node.value, mask)
            self._assign_to(node.target, self.arithmetic(type(node.op), before, operand, mask, site), mask)
        return mask

    def _array(self, node: ast.Subscript, mask: Mask) -> Array:
        array = self.evaluate(node.value, mask)
        if not isinstance(array, Array):
            raise SimulationError(f"{type(array).__name__} cannot be assigned to by index.", node.site)  # type: ignore[attr-defined]
        return array

    def _expression(self, node: ast.Expr, mask: Mask) -> Mask:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.evaluate(node.value, mask)
        return mask

    # Control flow

    def _pass(self, node: ast.stmt, mask: Mask) -> Mask:
        return mask

    def _if(self, node: ast.If, mask: Mask) -> Mask:
        yes, no = mask.split(self.condition(node.test, mask))
        return _rejoin(mask, self._block(node.body, yes), self._block(node.orelse, no))

    def _return(self, node: ast.Return, mask: Mask) -> Mask:
        frame = self.frames[-1]
        value = None if node.value is None else self.evaluate(node.value, mask)
        frame.leave(value, mask, node.site)  # type: ignore[attr-defined]
        if frame is self.kernel_frame:
            self.batch.exited |= mask.lanes
        return NOBODY

    def _break(self, node: ast.Break, mask: Mask) -> Mask:
        loop = self.frames[-1].loops[-1]
        loop.broken = loop.broken.union(mask)
        return NOBODY

    def _continue(self, node: ast.Continue, mask: Mask) -> Mask:
        loop = self.frames[-1].loops[-1]
        loop.continued = loop.continued.union(mask)
        return NOBODY

    def _while(self, node: ast.While, mask: Mask) -> Mask:
        loop, running, done = Loop(), mask, NOBODY
        while running:
            self._step(running, node.site)  # type: ignore[attr-defined]
            inside, over = running.split(self.condition(node.test, running))
            done = done.union(over)
            running = self._body(node, loop, inside)
        return self._after_loop(node, mask, done, loop)

    def _for(self, node: ast.For, mask: Mask) -> Mask:
        loop, running, done = Loop(), mask, NOBODY
        steps = self.evaluate(node.iter, mask)
        if isinstance(steps, (range, tuple)):
            for step in steps:
                if not running:
                    break
                self._step(running, node.site)  # type: ignore[attr-defined]
                self._assign_to(node.target, step, running)
                running = self._body(node, loop, running)
        elif isinstance(steps, VaryingRange):
            now = steps.start
            while running:
                self._step(running, node.site)  # type: ignore[attr-defined]
                inside, over = running.split(np.where(steps.step > 0, now < steps.stop, now > steps.stop))
                done = done.union(over)
                if inside:
                    self._assign_to(node.target, now, inside)
                running = self._body(node, loop, inside)
                now = now + steps.step
        else:
            raise SimulationError("`for` goes over range(...) or a tuple only.", node.site)  # type: ignore[attr-defined]
        return self._after_loop(node, mask, done.union(running), loop)

    def _body(self, node: ast.While | ast.For, loop: Loop, mask: Mask) -> Mask:
        """One turn of a loop; the threads that come round again."""
        loop.continued = NOBODY
        self.frames[-1].loops.append(loop)
        end = self._block(node.body, mask)
        self.frames[-1].loops.pop()
        return _rejoin(mask, end, loop.continued)

    def _after_loop(self, node: ast.While | ast.For, mask: Mask, done: Mask, loop: Loop) -> Mask:
        return _rejoin(mask, self._block(node.orelse, done), loop.broken)

    _STATEMENTS: dict[type[ast.stmt], Callable[..., Mask]] = {
        ast.Assign: _assign,
        ast.AnnAssign: _annotated,
        ast.AugAssign: _augmented,
        ast.Expr: _expression,
        ast.Pass: _pass,
        ast.Assert: _pass,  # compiled only with debug=True
        ast.If: _if,
        ast.While: _while,
        ast.For: _for,
        ast.Return: _return,
        ast.Break: _break,
        ast.Continue: _continue,
    }


def _rejoin(whole: Mask, a: Mask, b: Mask) -> Mask:
    """The union of two sets without common threads; `whole` itself where it is the same set."""
    return whole if a.count + b.count == whole.count else a.union(b)
