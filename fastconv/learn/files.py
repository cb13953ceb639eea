"""Exercises as files in a folder: opening one, and looking which are solved."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fastconv.learn.checking import check
from fastconv.learn.exercise import Exercise
from fastconv.learn.ladder import EXERCISES, find, number

_WIDTH = 110


@dataclass(frozen=True)
class Opened:
    """An exercise whose file was written.

    Attributes:
        exercise: what is to be done.
        path: the file.
    """

    exercise: Exercise
    path: Path

    def __repr__(self) -> str:
        heading = f"Exercise {number(self.exercise)} of {len(EXERCISES)}, {self.exercise.name}: {self.exercise.title}"
        count = len(self.exercise.blanks)
        todos = "what its TODO asks for" if count == 1 else f"what its {count} TODOs ask for"
        return "\n".join(
            [
                heading,
                "",
                *textwrap.wrap(self.exercise.goal, _WIDTH),
                "",
                f"Wrote {self.path}. Write {todos}, then check it.",
            ]
        )

    def _repr_html_(self) -> str:
        return f"<p style='white-space:pre-wrap'>{html.escape(repr(self))}</p>"


def open_exercise(name: str, folder: str | Path = ".") -> Opened:
    """Write the file of an exercise into a folder.

    Args:
        name: of the exercise; a kernel's name will do where only one exercise is made from it.
        folder: where to.

    Raises:
        FileExistsError: there is such a file; it is left as it is.
        OSError: the folder cannot be written to.
        ValueError: there is no such exercise, or several; the message lists them.
    """
    exercise = find(name)
    path = Path(folder) / exercise.file
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(exercise.text)
    except FileExistsError:
        raise FileExistsError(f"{path} exists; it was left as it is. Check it, or rename it to begin anew.") from None
    return Opened(exercise, path)


@dataclass(frozen=True)
class Listing:
    """All exercises, each with "solved", "begun" or "" for its file in a folder."""

    states: tuple[tuple[Exercise, str], ...]

    def lines(self) -> Iterator[str]:
        """A line for each, in order."""
        width = max(len(exercise.name) for exercise, _ in self.states)
        for exercise, state in self.states:
            yield f"{number(exercise):>2}  {state:<6}  {exercise.name:<{width}}  {exercise.title}"

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{number(exercise)}</td><td>{state}</td><td style='text-align:left'><code>{exercise.name}</code>"
            f"</td><td style='text-align:left'>{html.escape(exercise.title)}</td></tr>"
            for exercise, state in self.states
        )
        return f"<table>{rows}</table>"


def list_exercises(folder: str | Path = ".") -> Listing:
    """The exercises in their order; those that have a file in `folder` are checked."""
    return Listing(tuple((exercise, _state(Path(folder) / exercise.file)) for exercise in EXERCISES))


def _state(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        return "solved" if check(path, path.stem).solved else "begun"
    except ValueError:  # it cannot be read
        return "begun"
