"""`fastconv learn`: exercises in writing CUDA kernels, checked without a GPU."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fastconv.cli import checks
from fastconv.cli.checks import CommandError

if TYPE_CHECKING:
    from fastconv.learn import Result

HELP = "Learn to write CUDA kernels: exercises that are checked without a GPU."
EXAMPLES = """examples:
  fastconv learn                              the exercises, and which are solved in this folder
  fastconv learn open cuda_axpy               write cuda_axpy.py, a kernel with its key lines missing
  fastconv learn check cuda_axpy.py           what is right, what is wrong, and a hint
  fastconv learn check cuda_axpy.py --hint 2  two hints more; they go from gentle to explicit
  fastconv learn check cuda_axpy.py --table   and the source, with what each line costs

A check runs the file in the simulator, on tiny shapes, and compares with a reference in float64. Then it counts what
the kernel costs: sectors of memory, bank conflicts, arithmetic in float64. The exit code is 0 if the exercise is
solved, else 1.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fastconv learn`."""
    parser.set_defaults(action=_list)
    actions = parser.add_subparsers(metavar="[list | open RUNG | check FILE.py]", title="actions")
    listing = actions.add_parser("list", help="the exercises, and which are solved in this folder")
    listing.set_defaults(action=_list)
    opening = actions.add_parser("open", help="write the file of an exercise into this folder")
    opening.set_defaults(action=_open)
    opening.add_argument("name", metavar="RUNG", help="such as cuda_axpy, or cuda_shared; fastconv learn lists them")
    checking = actions.add_parser("check", help="check a file, and give a hint")
    checking.set_defaults(action=_check)
    add = checking.add_argument
    add("file", metavar="FILE.py", type=Path, help="what fastconv learn open wrote, and you filled in")
    add(
        "--hint", metavar="N", nargs="?", type=checks.whole_number(1), const=1, default=0, help="N hints more; alone: 1"
    )
    add("--solution", action="store_true", help="show what differs from the project's own kernel")
    add("--table", action="store_true", help="print the source with its counts, as the simulator saw it last")
    add("--html", type=checks.output_file(".html"), metavar="FILE.html", help="write that as a page, to step through")


def run(args: argparse.Namespace) -> int:
    """Do what `args` say; the exit code is 0, or 1 if the checked file is no solution.

    Raises:
        CommandError: there is no such exercise or file, or a file is there already.
    """
    try:
        return args.action(args)
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from None


def _list(args: argparse.Namespace) -> int:
    from fastconv import learn

    listing = learn.list()
    print(listing)
    unsolved = next((exercise for exercise, state in listing.states if state != "solved"), None)
    if unsolved is None:
        print("\nAll are solved.")
    elif Path(unsolved.file).exists():
        print(f"\nNext: fastconv learn check {unsolved.file}")
    else:
        print(f"\nNext: fastconv learn open {unsolved.name}")
    return 0


def _open(args: argparse.Namespace) -> int:
    from fastconv import learn

    opened = learn.open(args.name)
    print(opened)
    print(f"\nNext: fastconv learn check {opened.path}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from fastconv import learn

    result = learn.check(args.file).hint(args.hint)
    print(result)
    if args.table:
        for report in result.reports:
            print(f"\n{report}")
    if args.html:
        if not result.reports:
            raise CommandError("nothing ran in the simulator, so there is no page.")
        result.reports[0].html(args.html)
        print(f"\nWrote {args.html}")
    if args.solution:
        print(f"\n{result.solution()}")
    _print_next(result, args)
    return 0 if result.solved else 1


def _print_next(result: Result, args: argparse.Namespace) -> None:
    """What could be done now."""
    from fastconv.learn.ladder import EXERCISES, number

    exercise, file = result.exercise, args.file
    if not result.solved:
        if result.hints_shown < len(result.hints):
            print(f"\nMore: fastconv learn check {file} --hint{f' {args.hint + 1}' if args.hint else ''}")
        elif not args.solution:
            print(f"\nMore: fastconv learn check {file} --solution")
        return
    print(f"\nThe project's own: fastconv learn check {file} --solution")
    if exercise.op is not None:
        print(f"Its machine code:  fastconv inspect {file} --op {exercise.op}")
    if number(exercise) < len(EXERCISES):
        print(f"Next:              fastconv learn open {EXERCISES[number(exercise)].name}")
