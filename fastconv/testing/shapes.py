"""Named shapes: text files that tests and benches share."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from fastconv.kernels import Conv2DProblem, ConvPool2DProblem, Pool2DProblem, problem_type

Problem = TypeVar("Problem", Conv2DProblem, ConvPool2DProblem, Pool2DProblem)
_FAMILIES = {Conv2DProblem: "conv2d", ConvPool2DProblem: "conv_pool2d", Pool2DProblem: "pool2d"}


def shape_lists() -> dict[str, Path]:
    """The files of named shapes that come with fastconv, by name."""
    folder = Path(str(resources.files("fastconv.bench.shapes")))
    return {file.stem: file for file in sorted(folder.glob("*.txt"))}


def shapes_for(op: str, kind: str) -> dict[str, Any]:
    """The problems of an op's list of a kind: "edge", what kernels are checked on; "lab", the same in small, for the
    simulators; "tiles", what tiles are drawn for; "seeds", the layers of two small networks."""
    family = _FAMILIES[problem_type(op)]
    named = f"{family}_{kind}" if kind != "seeds" else "seeds" if family == "conv2d" else f"seeds_{family}"
    return find_shapes(named, problem_type(op))


def find_shapes(spec: str, problem: type[Problem]) -> dict[str, Problem]:
    """The problems that `spec` names: a list of `shape_lists`, a file, or one problem as text ("N=64 H=28 ...").

    Raises:
        ValueError: there is no such list or file, it is for other ops, or a text makes no problem.
    """
    if "=" in spec:
        return {"given": problem.parse(spec)}
    lists = shape_lists()
    file = lists.get(spec) or Path(spec).expanduser()
    if not file.is_file():
        raise ValueError(f"there is no list or file of shapes {spec!r}; the lists are {', '.join(lists)}.")
    return load_shapes(file, problem)


def load_shapes(file: str | Path, problem: type[Problem]) -> dict[str, Problem]:
    """The problems of a file by name, in its order.

    Args:
        file: each line is `name key=value ...` as `problem.parse` reads it, blank, or a comment after `#`.
        problem: the class of all of them.

    Raises:
        ValueError: a line makes no problem, or a name comes twice.
    """
    shapes: dict[str, Problem] = {}
    for number, line in enumerate(Path(file).read_text(encoding="utf-8").splitlines(), start=1):
        words = line.partition("#")[0].split(maxsplit=1)
        if not words:
            continue
        name, text = words[0], " ".join(words[1:])
        if name in shapes:
            raise ValueError(f"{file}, line {number}: the name {name!r} comes twice.")
        try:
            shapes[name] = problem.parse(text)
        except ValueError as error:
            raise ValueError(f"{file}, line {number}, {name}: {error}") from error
    return shapes
