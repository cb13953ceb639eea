"""`check`: an answer in the simulator, against the reference and against the exercise's goals."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.kernels.cuda import Launch
from fastconv.learn.answer import Answer, AnswerError, line_of
from fastconv.learn.hints import Symptom
from fastconv.learn.result import Result, Step
from fastconv.learn.trials import Trial
from fastconv.testing.comparison import wrong_elements
from fastconv.testing.simulator import Finding, Report, SimulationError, simulate
from fastconv.testing.simulator.findings import RACE

_MAX_STEPS = 20_000  # the longest of the exercises takes 1,600
_FINDINGS_SHOWN = 3


def check(answer: str | Path | Callable[..., Any], exercise: str | None = None) -> Result:
    """Check an answer to an exercise, without a GPU.

    Args:
        answer: a file, a source text of several lines, or (in a notebook) the function that returns the launches.
        exercise: its name, where that function is not named after it.

    Raises:
        TypeError: `answer` is something else.
        ValueError: there is no such file or exercise, or it is not clear which exercise is answered.
    """
    return _Check(Answer.of(answer, exercise)).result


class _Stopped(Exception):
    """The rest need not be looked at."""


class _Check:
    """One check; `result` is filled step by step."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.exercise = answer, answer.exercise
        self.result = Result(self.exercise, answer.name, answer.text)
        self.runs = self.result.add("it runs")
        self.clean = self.result.add("nothing is wrong in the simulator")
        self.right = self.result.add("the results are those of the float64 reference")
        self.goals = [(goal, self.result.add(str(goal))) for goal in self.exercise.goals]
        try:
            self._look()
        except _Stopped:
            pass

    def _look(self) -> None:
        try:
            launcher = self.answer.launcher()
        except AnswerError as error:
            self._stop(self.runs, self._place(str(error), error.line), Symptom("python"))
        passed: list[Trial] = []
        for trial in self.exercise.trials():
            reports = self._run(launcher, trial, passed)
            passed.append(trial)
        self.right.passed = True
        self.result.reports = reports
        for goal, step in self.goals:
            value, line = goal.measure(reports)
            step.passed = value <= goal.limit
            if not step.passed and line is not None:
                amount = f"{value:.3g}" if goal.kind == "sectors" else f"{value:g}"
                step.details = [f"{amount} on {trial}; most at line {line.number}:", f"    {line.text.strip()}"]
                ideal = line.global_memory.ideal / max(line.requests, 1)
                facts = {"value": value, "limit": goal.limit, "line": line.number, "ideal": ideal}
                self.result.symptom = self.result.symptom or Symptom(goal.kind, facts=facts)

    def _run(self, launcher: Callable[..., Any], trial: Trial, passed: list[Trial]) -> list[Report]:
        """Run one trial; the reports of its launches."""
        arguments, inputs, outputs = trial.arguments()
        reports: list[Report] = []
        self.result.reports = reports
        try:
            for launch in _launches(launcher(*arguments, **trial.keywords)):
                if 0 not in launch.grid:
                    reports.append(_simulate(launch))
        except SimulationError as error:
            line, source = (None, None) if error.site is None else (error.site.line, error.site.text)
            text = str(error).partition("`: ")[2] or str(error)
            endless = text.startswith("still running after")
            self._findings(error.findings, trial)
            details = [f"on {trial}", *self._place(text.partition(" Otherwise give")[0], line, source)]
            self._stop(self.runs, details, Symptom("endless" if endless else "not simulated", facts={"line": line}))
        except Exception as error:  # whatever a learner's function may raise
            text = f"{type(error).__name__}: {error}"
            details = self._place(text, line_of(error, self.answer.file))
            self._stop(self.runs, [f"on {trial}", *details], Symptom("python"))
        self.runs.passed = self.clean.passed = True
        symptom = self._findings([finding for report in reports for finding in report.findings], trial)
        for name, array in inputs.items():
            symptom = symptom or self._compare_input(name, array, trial)
        for name, array in outputs.items():
            symptom = symptom or self._compare(name, array, trial, passed)
        if symptom is not None:
            self.result.symptom = symptom
            raise _Stopped
        return reports

    def _findings(self, findings: list[Finding], trial: Trial) -> Symptom | None:
        """Show the simulator's findings, the telling ones first; the symptom that the first of them is."""
        if not findings:
            return None

        def rank(finding: Finding) -> tuple[bool, int]:
            # Threads that write beyond an output are more than there are elements: the cause of what they read.
            symptom = _symptom(finding)
            return symptom.subject not in trial.expected, symptom.rank(self.exercise.hints)

        findings = sorted(findings, key=rank)
        details = [f"on {trial}"]
        for finding in findings[:_FINDINGS_SHOWN]:
            times = f" ({finding.count} times)" if finding.count > 1 else ""
            details += self._place(f"{finding.kind}: {finding.message}{times}", finding.line, finding.text)
        if len(findings) > _FINDINGS_SHOWN:
            details.append(f"and {len(findings) - _FINDINGS_SHOWN} more")
        self.clean.fail(details)
        return _symptom(findings[0])

    def _compare_input(self, name: str, array: np.ndarray, trial: Trial) -> Symptom | None:
        """Show that an input was changed, if it was."""
        before = trial.inputs[name]
        if before is None or array.tobytes() == before.tobytes():
            return None
        self.right.fail([f"on {trial}", f"the kernel changed its input {name}"])
        return Symptom("inputs", facts={"array": name})

    def _compare(self, name: str, got: np.ndarray, trial: Trial, passed: list[Trial]) -> Symptom | None:
        """Show how an output differs from the reference; the symptom that this is."""
        expected = trial.expected[name]
        if expected is None:
            return None
        wrong = wrong_elements(got, expected)
        if not wrong.any():
            return None
        axes = trial.axes[name]
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        place = f"{name}[{', '.join(f'{axis}={i}' for axis, i in zip(axes, first, strict=True))}]"
        unwritten = bool(np.isnan(got[first]) and not np.isnan(expected[first]) and not trial.condition)
        value = "was not written" if unwritten else f"is {got[first]:g}"
        details = [
            f"on {trial}",
            f"{np.count_nonzero(wrong)} of {wrong.size} elements of {name} are wrong{_pattern(wrong, axes)}",
            f"the first, {place}, {value}; it should be {expected[first]:g}",
        ]
        before = dict.fromkeys(earlier.name for earlier in passed)
        if before:
            details.append(f"right before that: {', '.join(before)}")
        self.right.fail(details)
        known = {trait for earlier in passed for trait in earlier.traits}
        new = next((trait for trait in trial.traits if passed and trait not in known), trial.name)
        facts = {"array": name, "place": place}
        if unwritten:
            return Symptom("unwritten", name, facts)
        return Symptom("wrong", trial.condition or new, facts)

    def _place(self, message: str, line: int | None, text: str | None = None) -> list[str]:
        """A message, and the line that it is about."""
        if line is None:
            return [message]
        source = (self.answer.line(line) if text is None else text).strip()
        return [f"line {line}: {message}", *([f"    {source}"] if source else [])]

    def _stop(self, step: Step, details: list[str], symptom: Symptom) -> None:
        step.fail(details)
        self.result.symptom = symptom
        raise _Stopped


def _simulate(launch: Launch) -> Report:
    kernel, shared_bytes = launch.kernel.py_func, launch.shared_bytes
    return simulate(kernel, launch.grid, launch.block, *launch.args, shared_bytes=shared_bytes, max_steps=_MAX_STEPS)


def _symptom(finding: Finding) -> Symptom:
    """The symptom that a finding of the simulator is."""
    array = re.search(r"\b(\w+)\[", finding.message)
    facts = {
        "line": finding.line,
        "other_line": finding.other_line,
        "thread": finding.thread,
        "block": finding.block,
        "array": array[1] if array else "the array",
    }
    between_blocks = finding.other_block is not None and finding.other_block != finding.block
    no_barrier_helps = finding.kind == RACE and (between_blocks or "in the same statement" in finding.message)
    return Symptom("collision" if no_barrier_helps else finding.kind, array[1] if array else "", facts)


def _launches(returned: Any) -> list[Launch]:
    """What an answer's function returned.

    Raises:
        TypeError: it is no list of launches.
    """
    if not isinstance(returned, (list, tuple)) or not all(isinstance(launch, Launch) for launch in returned):
        raise TypeError(f"the function must return a list of Launch, not {type(returned).__name__}")
    return list(returned)


def _pattern(wrong: np.ndarray, axes: tuple[str, ...]) -> str:
    """What the wrong elements have in common, or ""."""
    found = []
    for number, axis in enumerate(axes):
        others = tuple(other for other in range(wrong.ndim) if other != number)
        places = np.flatnonzero(wrong.any(axis=others))
        length, first, last = wrong.shape[number], int(places[0]), int(places[-1])
        if len(places) == length or last - first + 1 != len(places):
            continue
        if first == last:
            found.append(f"{axis} = {first}")
        elif last == length - 1:
            found.append(f"{axis} from {first} on")
        else:
            found.append(f"{axis} from {first} to {last}")
    return f", all with {' and '.join(found)}" if found else ""
