"""A learner's answer: a file, a source text or a function, read so that what is wrong with it can be said kindly."""

from __future__ import annotations

import linecache
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastconv.learn.exercise import Exercise
from fastconv.learn.ladder import EXERCISES, find


class AnswerError(Exception):
    """Python cannot run the answer.

    Attributes:
        line: where in it, if that is known.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Answer:
    """What is to be checked.

    Attributes:
        exercise: what it is an answer to.
        name: of the file, for messages.
        text: its source; "" for a function.
        function: what was given in place of a source.
    """

    exercise: Exercise
    name: str
    text: str = ""
    function: Callable[..., Any] | None = None

    @classmethod
    def of(cls, given: str | Path | Callable[..., Any], exercise: str | None = None) -> Answer:
        """Find out what was given: a path, a source text (of several lines), or the function that returns the launches.

        exercise: its name, where the function is not named after it.

        Raises:
            TypeError: it is none of these.
            ValueError: there is no such file, or it is not said which exercise it answers.
        """
        if callable(given):
            name = getattr(given, "__name__", "")
            return cls(find(exercise) if exercise else _exercise_of([name], repr(given)), name, function=given)
        if not isinstance(given, (str, Path)):
            raise TypeError(f"a file, a source text or a function can be checked, not {type(given).__name__}.")
        if isinstance(given, str) and "\n" in given:
            name, text = "the source", given
        else:
            name = str(given)
            try:
                text = Path(given).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is no text"
                raise ValueError(f"{name} cannot be read: {reason}.") from None
        functions = re.findall(r"^def\s+(\w+)", text, re.MULTILINE)
        return cls(find(exercise) if exercise else _exercise_of(functions, name), name, text)

    def launcher(self) -> Callable[..., Any]:
        """The function that returns the launches: the source is run.

        Raises:
            AnswerError: it cannot be, or it has no such function.
        """
        if self.function is not None:
            return self.function
        file = self.file
        # Kept for the simulator as it was read, even if the file changes meanwhile.
        linecache.cache[file] = (len(self.text), None, self.text.splitlines(keepends=True), file)
        namespace: dict[str, Any] = {"__name__": f"user_kernels.{self.exercise.name}", "__file__": file}
        try:
            exec(compile(self.text, file, "exec"), namespace)
        except SyntaxError as error:
            raise AnswerError(f"{type(error).__name__}: {error.msg}", error.lineno) from error
        except Exception as error:  # whatever a learner's file may raise
            raise AnswerError(f"{type(error).__name__}: {error}", line_of(error, file)) from error
        found = namespace.get(self.exercise.name)
        if not callable(found):
            raise AnswerError(f"it has no function {self.exercise.name}, which returns the launches.")
        return found

    @property
    def file(self) -> str:
        """The name of the file in the sense of Python's tracebacks."""
        if self.function is not None:
            return self.function.__code__.co_filename
        return f"<{self.exercise.name}>" if self.name == "the source" else str(Path(self.name).resolve())

    def line(self, number: int) -> str:
        """A line of it."""
        return linecache.getline(self.file, number).rstrip()


def line_of(error: BaseException, file: str) -> int | None:
    """The last line of `file` that an error went through, if there is one."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines else None


def _exercise_of(functions: list[str], name: str) -> Exercise:
    for exercise in EXERCISES:
        if exercise.name in functions:
            return exercise
    known = ", ".join(exercise.name for exercise in EXERCISES)
    raise ValueError(f"{name} answers no exercise: it has none of the functions {known}.")
