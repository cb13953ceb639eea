"""A kernel's source: its syntax tree, the place of every node in the file, and what its names stand for."""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastconv.testing.simulator.counts import Line


@dataclass(eq=False)
class Site:
    """A place in a kernel's source. Nodes of one line share the line's counts."""

    file: str
    line: int
    column: int
    function: str
    counts: Line
    number: int

    @property
    def text(self) -> str:
        return self.counts.text


@dataclass(eq=False)
class Sources:
    """All functions met in a run, and the places in them."""

    functions: dict[Any, Function] = field(default_factory=dict)
    lines: dict[tuple[str, int], Line] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)

    def function(self, python: Callable[..., Any]) -> Function:
        """The parsed function. Raises ValueError where its source cannot be had."""
        if python not in self.functions:
            self.functions[python] = Function(python, self)
        return self.functions[python]

    def model(self, python: Callable[..., Any], site: Site) -> Function:
        """The model of an instruction: all that it does happens at the place of the call."""
        if (python, site) not in self.functions:
            self.functions[python, site] = Function(python, self, site)
        return self.functions[python, site]

    def site(self, file: str, node: ast.AST, function: str) -> Site:
        number, column = node.lineno, node.col_offset  # type: ignore[attr-defined]
        counts = self.line(file, number, function)
        self.sites.append(Site(file, number, column, function, counts, len(self.sites)))
        return self.sites[-1]

    def line(self, file: str, number: int, function: str) -> Line:
        key = (file, number)
        if key not in self.lines:
            self.lines[key] = Line(file, number, linecache.getline(file, number).rstrip("\n"), function)
        return self.lines[key]

    def lines_in_order(self) -> list[Line]:
        """The kernel's lines, then those of the functions that it called."""
        places = [(function.file, function.name) for function in self.functions.values()]
        return sorted(self.lines.values(), key=lambda line: (places.index((line.file, line.function)), line.number))


class Function:
    """One Python function: `tree`, `signature`, and `names`, what its free names stand for.

    Every statement and expression of `tree` has an attribute `site`: its own place, or for all of them `site`.
    """

    def __init__(self, python: Callable[..., Any], sources: Sources, site: Site | None = None):
        try:
            lines, first = inspect.getsourcelines(python)
        except (OSError, TypeError) as error:
            raise ValueError(
                f"simulate: the source of {python!r} cannot be read; a kernel must be in a file."
            ) from error
        module = ast.parse(textwrap.dedent("".join(lines)))
        ast.increment_lineno(module, first - 1)
        tree = module.body[0]
        if not isinstance(tree, ast.FunctionDef):
            raise ValueError(f"simulate: {python!r} is not made by `def`.")
        code = python.__code__
        self.tree, self.name, self.file = tree, tree.name, code.co_filename
        self.signature = inspect.signature(python)
        self.locals = frozenset(code.co_varnames + code.co_cellvars)
        cells = zip(code.co_freevars, python.__closure__ or (), strict=True)
        self.names = {**vars(builtins), **python.__globals__, **{name: cell.cell_contents for name, cell in cells}}
        self.meanings: dict[str, Any] = {}  # what the names stand for in a kernel, once looked up
        self.last_line = first + len(lines) - 1
        for node in (tree, *(inner for statement in tree.body for inner in ast.walk(statement))):
            if isinstance(node, (ast.stmt, ast.expr)):
                node.site = site or sources.site(self.file, node, self.name)  # type: ignore[union-attr]
        for number in range(tree.lineno, self.last_line + 1) if site is None else ():
            sources.line(self.file, number, self.name)
        self.escaping = self._escaping()

    def _escaping(self) -> set[str]:
        """The names of which more is done than loading elements and asking for a shape.

        An argument that is not among them is only read, so that its accesses need not be kept to look for races.
        """
        names, harmless = [], set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name):
                names.append(node)
            elif isinstance(node, ast.Attribute) or (
                isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load)
            ):
                harmless.add(node.value)
        return {name.id for name in names if name not in harmless}
