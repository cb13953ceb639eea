"""`fastconv inspect`: what a compiler makes of a CUDA kernel, for any GPU and without one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastconv import kernels
from fastconv.cli import checks, report
from fastconv.cli.checks import CommandError
from fastconv.kernels import Kernel, registry
from fastconv.testing.shapes import find_shapes

HELP = "Compile a CUDA kernel for any GPU, without one, and show registers, occupancy and machine code."
EXAMPLES = """examples:
  fastconv inspect cuda_shared
  fastconv inspect cuda_shared --arch all --shape "N=64 H=28 W=28 C=64 K=128 R=3 S=3"
  fastconv inspect cuda_naive --op conv2d --compare cuda_coalesced --html r.html
  fastconv inspect cuda_naive --op max_pool2d --sass | less
  fastconv inspect cuda_shared --tiles shared.svg   what a block, a warp and a thread read and write
  fastconv inspect cuda_mine.py --op conv2d        a kernel of your own; see fastconv new-kernel

Registers, spills and instructions are the assembler's; each instruction is counted once, however often it runs.
Occupancy is worked out from what a multiprocessor (SM) of the architecture has, for the launch of that shape.
The toolkit comes with pip install 'fastconv[lab]'.
"""
_SHAPES = {
    kernels.Conv2DProblem: "N=64 H=13 W=13 C=32 K=64 R=3 S=3",
    kernels.Pool2DProblem: "N=64 H=26 W=26 C=32 R=2 S=2 stride=2",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fastconv inspect`."""
    from fastconv.inspecting.architectures import ARCHITECTURES

    add = parser.add_argument
    add("kernel", metavar="KERNEL", help="a kernel for a GPU, such as cuda_shared, or a FILE.py of your own")
    add("--op", metavar="OP", help="needed where several ops have a kernel of that name, and for a file")
    add("--arch", default="sm_90", metavar="A,B", help=f"{', '.join(ARCHITECTURES)}, or all; default: sm_90")
    add("--shape", metavar="SHAPE", help='"N=64 H=28 ...", which the launch is for; default: a small network\'s layer')
    add("--compare", metavar="OTHER", help="another kernel of the op, shown beside it")
    add("--ptx", action="store_true", help="print the PTX, by line of the source")
    add("--sass", action="store_true", help="print the machine code, by line of the source")
    add("--tiles", type=checks.output_file(".svg"), metavar="FILE.svg", help="compile nothing; draw who reads what")
    add("--html", type=checks.output_file(".html"), metavar="FILE.html", help="write source and machine code as a page")
    add("--json", type=checks.output_file(".json"), metavar="FILE.json", help="keep everything but the code")


def run(args: argparse.Namespace) -> int:
    """Inspect as `args` say; the exit code is 0.

    Raises:
        CommandError: an argument cannot be followed, or a part of the toolkit is missing.
    """
    from rich.console import Console

    from fastconv.inspecting import architectures, listing, table
    from fastconv.inspecting.compile import ToolkitError
    from fastconv.inspecting.report import Inspected, inspect_kernel

    if args.tiles:
        return _draw(args)
    names = list(architectures.ARCHITECTURES) if args.arch == "all" else checks.names(args.arch)
    if not names:
        raise CommandError("--arch names no architecture.")
    try:
        chosen = [architectures.find(name) for name in names]
        kernel = _find(args.kernel, args.op)
        others = [] if args.compare is None else [_find(args.compare, kernel.op)]
        problem = _problem(kernel.op, args.shape)
        found: list[list[Inspected]] = [inspect_kernel(one, problem, chosen) for one in (kernel, *others)]
    except (ValueError, ToolkitError) as error:
        raise CommandError(str(error)) from None
    lacking = {one.name: _without(of_kernel, chosen) for one, of_kernel in zip((kernel, *others), found, strict=True)}
    missing = set().union(*lacking.values())
    found = [[one for one in of_kernel if one.compiled.architecture not in missing] for of_kernel in found]
    every = [inspected for of_kernel in found for inspected in of_kernel]
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{kernel.op} {' and '.join(one.name for one in (kernel, *others))} on {problem}", markup=False)
    for of_kernel in found:
        _print_launches(of_kernel, console)
    if others:
        table.show_side_by_side(found[0], found[1], console)
    else:
        table.show(every, console)
    for name, those in lacking.items():
        if those:
            left_out = ", ".join(architecture.name for architecture in those)
            console.print(f"Left out, without the instructions of {name}: {left_out}", markup=False)
    for inspected in every:
        for wanted, lines in ((args.ptx, listing.ptx_listing), (args.sass, listing.sass_listing)):
            if wanted:
                console.print(f"\n== {inspected.kernel} {inspected.function}, {inspected.compiled.architecture.name}")
                print("\n".join(lines(inspected)))
    if args.html:
        from fastconv.inspecting.page import render
        from fastconv.utils.files import atomic_write

        with atomic_write(args.html) as stream:
            stream.write(render(every, str(problem), args.command_line).encode())
    if args.json:
        launches = [inspected.to_dict() for inspected in every]
        report.write_json(args.json, {"command": args.command_line, "problem": str(problem), "launches": launches})
    for kept in (args.html, args.json):
        if kept:
            console.print(f"Wrote {kept}", markup=False)
    return 0


def _without(found: Sequence[Any], chosen: Sequence[Any]) -> list[Any]:
    """The architectures for which a kernel was not compiled."""
    compiled = {inspected.compiled.architecture for inspected in found}
    return [architecture for architecture in chosen if architecture not in compiled]


def _draw(args: argparse.Namespace) -> int:
    """Write the picture of a kernel's tiles; the simulator runs it, nothing is compiled.

    Raises:
        CommandError: the kernel cannot be drawn.
    """
    from fastconv.inspecting.tiles import draw, small_problem
    from fastconv.testing import SimulationError
    from fastconv.utils.files import atomic_write

    try:
        kernel = _find(args.kernel, args.op)
        picture = draw(kernel, small_problem(kernel) if args.shape is None else _problem(kernel.op, args.shape))
    except (ValueError, SimulationError) as error:
        raise CommandError(str(error)) from None
    with atomic_write(args.tiles) as stream:
        stream.write(picture.encode())
    print(f"Wrote {args.tiles}")
    return 0


def _print_launches(found: Sequence[Any], console: Any) -> None:
    """A line for each launch, which is the same on every architecture."""
    for launch in dict.fromkeys(inspected.launch_text for inspected in found):
        console.print(f"  {launch}", markup=False)


def _find(name: str, op: str | None) -> Kernel:
    """The kernel that the command line means.

    Raises:
        ValueError: there is none, or more than one; the message lists what there is.
    """
    if name.endswith(".py"):
        if op is None:
            raise ValueError("a kernel in a file needs --op.")
        return registry.load(op, Path(name))
    if op is not None:
        return kernels.get(op, name)
    every = [kernel for op in kernels.ops() for kernel in kernels.variants(op)]
    found = [kernel for kernel in every if kernel.name == name]
    if not found:
        there = sorted({kernel.name for kernel in every if kernel.device == "gpu"})
        raise ValueError(f"there is no kernel {name!r}; for a GPU there are {', '.join(there)}.")
    if len(found) > 1 and found[0].device == "gpu":
        raise ValueError(f"{name} is a kernel of {', '.join(kernel.op for kernel in found)}; say which with --op.")
    return found[0]


def _problem(op: str, shape: str | None) -> Any:
    kind = kernels.problem_type(op)
    problems = find_shapes(_SHAPES[kind] if shape is None else shape, kind)
    if len(problems) > 1:
        raise ValueError(f"--shape takes one shape; {shape} is a list of {len(problems)}.")
    return next(iter(problems.values()))
