"""`Result`: what a check found, as text and as HTML."""

from __future__ import annotations

import difflib
import html
import textwrap
from dataclasses import dataclass, field

from fastconv.learn.exercise import Exercise
from fastconv.learn.hints import Symptom
from fastconv.testing.simulator.report import Report

_WIDTH = 110
_MARKS = {True: "ok", False: "no", None: "-"}


@dataclass
class Step:
    """One thing that was looked at.

    Attributes:
        title: what should be so.
        passed: whether it is; None if the check did not come so far.
        details: what was found instead.
    """

    title: str
    passed: bool | None = None
    details: list[str] = field(default_factory=list)

    def fail(self, details: list[str]) -> None:
        self.passed, self.details = False, details


@dataclass
class Result:
    """What `check` returns; print it, or let a notebook show it.

    Attributes:
        exercise, file, text: what was checked.
        steps: list of `Step`, in their order.
        symptom: what the check stopped at; None where all is well.
        reports: the simulator's, of the last run: one for each launch.
        hints_shown: how many hints are printed.
    """

    exercise: Exercise
    file: str
    text: str
    steps: list[Step] = field(default_factory=list)
    symptom: Symptom | None = None
    reports: list[Report] = field(default_factory=list)
    hints_shown: int = 1

    def add(self, title: str) -> Step:
        """Another step, not yet looked at."""
        self.steps.append(Step(title))
        return self.steps[-1]

    @property
    def solved(self) -> bool:
        """Whether every step is passed."""
        return all(step.passed for step in self.steps)

    @property
    def hints(self) -> list[str]:
        """All hints for what is wrong, from gentle to explicit."""
        if self.symptom is None:
            return []
        facts = self.symptom.facts | self.exercise.todo_lines
        return [text.format_map(facts) for text in self.symptom.texts(self.exercise.hints)]

    def hint(self, more: int = 1) -> Result:
        """This result, with that many hints more."""
        self.hints_shown += more
        return self

    @property
    def todo(self) -> str:
        """Which TODOs are as they were, in a sentence, or ""."""
        todos = [f"TODO {number} (line {line})" for number, line in self.exercise.open_todos(self.text)]
        return f"Still to do: {', '.join(todos)}." if todos else ""

    def solution(self) -> str:
        """The project's own kernel: what differs from the file that was checked, or all of it."""
        theirs = self.exercise.solution
        found = [f"The project's own kernel is {self.exercise.kernel_file}."]
        if not self.text:
            return "\n".join([*found, "", theirs])
        lines = difflib.unified_diff(
            self.text.splitlines(), theirs.splitlines(), self.file, "solution", lineterm="", n=2
        )
        difference = list(lines)
        return "\n".join([*found, "", *difference] if difference else [*found, "Yours is the same."])

    @property
    def advice(self) -> list[str]:
        """What to do next: the open TODOs and the hints shown, a paragraph each."""
        if self.solved:
            return ["Solved."]
        count = len(self.hints)
        hints = [f"Hint {number} of {count}: {hint}" for number, hint in enumerate(self.hints, start=1)]
        return [*([self.todo] if self.todo else []), *hints[: self.hints_shown]] or ["Not solved yet."]

    def __str__(self) -> str:
        shown = [f"{self.exercise.name}: {self.exercise.title}", ""]
        for step in self.steps:
            shown.append(f"  {_MARKS[step.passed]:<3} {step.title}")
            for detail in step.details:
                shown += textwrap.wrap(detail, _WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 10)
        for part in self.advice:
            first, *code = part.split("\n")
            shown += ["", *textwrap.wrap(first, _WIDTH), *(f"    {line}" for line in code)]
        return "\n".join(shown)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        colours = {True: "#2e7d32", False: "#b3261e", None: "inherit"}
        rows = []
        for step in self.steps:
            details = html.escape("\n".join(step.details))
            more = f'<pre style="margin:.2em 0 .5em;white-space:pre-wrap">{details}</pre>' if details else ""
            rows.append(
                f'<li><b style="color:{colours[step.passed]}">{_MARKS[step.passed]}</b> {html.escape(step.title)}'
                f"{more}</li>"
            )
        advice = ""
        for part in self.advice:
            first, _, code = html.escape(part).partition("\n")
            advice += f"<p>{first}</p>" + (f"<pre>{code}</pre>" if code else "")
        pages = "".join(
            f"<details><summary>{html.escape(report.kernel)} in the simulator</summary>{report._repr_html_()}</details>"
            for report in self.reports
        )
        title = f"{html.escape(self.exercise.name)}: {html.escape(self.exercise.title)}"
        items = "".join(rows)
        return f'<div><h4>{title}</h4><ul style="list-style:none;padding-left:.5em">{items}</ul>{advice}{pages}</div>'
