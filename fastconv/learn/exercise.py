"""`Exercise`: a kernel of the ladder with its key lines missing, made from the kernel's own file."""

from __future__ import annotations

import functools
import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fastconv.learn.goals import Goal
from fastconv.learn.trials import Trial
from fastconv.utils.sources import renamed_kernel

_WIDTH = 120


@dataclass(frozen=True)
class Blank:
    """Lines of a kernel that are taken out.

    Attributes:
        first: a text that the first of them holds, and no other line of the kernel.
        last: a text of the last one, the next line from there on that holds it; None for a single line.
        todo: what to write there.
        given: what stands there to begin with. The kernel must run with it.
    """

    first: str
    todo: str
    given: str
    last: str | None = None

    def find(self, lines: list[str]) -> slice:
        """The lines in the kernel.

        Raises:
            ValueError: they are not there, or not there once.
        """
        starts = [number for number, line in enumerate(lines) if self.first in line]
        if len(starts) != 1:
            raise ValueError(f"{self.first!r} is in {len(starts)} lines of the kernel, not in one.")
        wanted = self.first if self.last is None else self.last
        for number in range(starts[0], len(lines)):
            if wanted in lines[number]:
                return slice(starts[0], number + 1)
        raise ValueError(f"{wanted!r} is in no line of the kernel after {self.first!r}.")

    def opened(self, number: int, indent: str) -> list[str]:
        """The comment that asks for the lines, and what stands below it."""
        comment = textwrap.wrap(
            f"TODO {number}: {self.todo}",
            _WIDTH,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}#         ",
            break_long_words=False,
        )
        return comment + textwrap.indent(self.given, indent).splitlines()


@dataclass(frozen=True)
class Exercise:
    """A rung of the ladder to climb.

    Attributes:
        name: of the exercise, of its file and of the function in it that returns the launches.
        title: in a few words.
        goal: in two sentences.
        module: the kernel that it is made from; the function in it is named as its file.
        blanks: what is missing, from the top down.
        trials: makes the runs that must be right, the simplest first. The last is the one whose costs count.
        goals: what the last run may cost.
        hints: from gentle to explicit, by symptom (see `hints.py`); they come before the general ones.
    """

    name: str
    title: str
    goal: str
    module: str
    blanks: tuple[Blank, ...]
    trials: Callable[[], Iterable[Trial]]
    goals: tuple[Goal, ...]
    hints: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def kernel(self) -> str:
        """The name of the kernel that it is made from, such as "cuda_shared"."""
        return self.module.rpartition(".")[2]

    @property
    def op(self) -> str | None:
        """The op of that kernel, or None for one that is not registered."""
        package = self.module.rpartition(".")[0]
        return package.rpartition(".")[2] if package.startswith("fastconv.kernels.") else None

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.name}.py"

    @property
    def kernel_file(self) -> str:
        """Where the project's own kernel is."""
        return str(inspect.getsourcefile(importlib.import_module(self.module)))

    @functools.cached_property
    def solution(self) -> str:
        """The file as it should become: the project's own kernel."""
        return "\n".join([*self._header(), *self._kernel()]) + "\n"

    @functools.cached_property
    def text(self) -> str:
        """The file as it is opened."""
        return "\n".join([*self._header(), *(line for part in self._parts() for line in part)]) + "\n"

    @functools.cached_property
    def todo_lines(self) -> dict[str, str]:
        """The kernel's own lines at each TODO, as {"todo1": ...}."""
        lines = self._kernel()
        return {
            f"todo{number}": textwrap.dedent("\n".join(lines[blank.find(lines)]))
            for number, blank in enumerate(self.blanks, start=1)
        }

    def open_todos(self, text: str) -> list[tuple[int, int]]:
        """The TODOs of which nothing is done in `text` yet: their numbers, each with its line."""
        found = []
        parts = self._parts()
        for number in range(1, len(self.blanks) + 1):
            block = "\n".join([*parts[2 * number - 1], *parts[2 * number][:1], ""])
            if block in text:
                found.append((number, text[: text.index(block)].count("\n") + 1))
        return found

    def _parts(self) -> list[list[str]]:
        """The opened kernel's lines: what is left of the kernel at even places, blanks at odd ones."""
        lines = self._kernel()
        parts, end = [], 0
        for number, blank in enumerate(self.blanks, start=1):
            place = blank.find(lines)
            first = lines[place.start]
            indent = first[: len(first) - len(first.lstrip())]
            parts += [lines[end : place.start], blank.opened(number, indent)]
            end = place.stop
        return [*parts, lines[end:]]

    def _kernel(self) -> list[str]:
        source = renamed_kernel(importlib.import_module(self.module), self.kernel, self.name, self.op)
        return source.splitlines()

    def _header(self) -> list[str]:
        todos = "the TODO asks" if len(self.blanks) == 1 else f"the {len(self.blanks)} TODOs ask"
        return [
            f'"""{self.name}: {self.title}.',
            "",
            *textwrap.wrap(self.goal, _WIDTH),
            "",
            f"Write what {todos} for, then run",
            "",
            f"    fastconv learn check {self.file}",
            "",
            f'or in a notebook fastconv.learn.check("{self.file}"). No GPU is needed.',
            '"""',
            "",
        ]
