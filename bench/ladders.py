"""Writes what is known of the CUDA kernels without a GPU into the ops' READMEs: python bench/ladders.py.

A marker `<!-- counts: OP SHAPE -->` begins a table of all the op's CUDA kernels that support the shape: what the
compiler makes of them for sm_90, and what the simulator counts. `<!-- tiles: OP -->` begins the pictures of their
tiles, which lie in docs/tiles. `<!-- end of counts -->` and `<!-- end of tiles -->` end them. The simulator runs no
CUDA C++: of that only the compiler's numbers are in a table, and there is no picture. The kernels are those of the
registry, in the order in which the README names them first.

`--check` changes nothing and exits with 1 where a picture is not that of the kernel, or a README lacks a kernel or has
one too many. The numbers of a table may be another toolkit's: they are not compared.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import kernels
from fastconv.bench.table import number
from fastconv.inspecting import sass
from fastconv.inspecting.architectures import ARCHITECTURES, WARP
from fastconv.inspecting.compile import toolkit_version
from fastconv.inspecting.report import Inspected, inspect_kernel
from fastconv.inspecting.tiles import draw, small_problem
from fastconv.kernels import Conv2DProblem, Kernel, problem_type
from fastconv.kernels.cuda import Launch, launched_by
from fastconv.kernels.registry import backend_of
from fastconv.testing import simulate
from fastconv.testing.kernel_cases import OPS, array_shape, empty_arrays
from fastconv.testing.simulator import Report
from fastconv.testing.simulator.counts import Requests

ROOT = Path(__file__).parent.parent
READMES = sorted(ROOT.glob("kernels/*/README.md"))
PICTURES = ROOT / "docs" / "tiles"
ARCHITECTURE = ARCHITECTURES["sm_90"]
COUNTS = re.compile(r"(<!-- counts: (\S+) (.+?) -->\n)(.*?)(<!-- end of counts -->)", re.DOTALL)
TILES = re.compile(r"(<!-- tiles: (\S+) -->\n)(.*?)(<!-- end of tiles -->)", re.DOTALL)
_COLUMNS = ("registers", "shared bytes", "instructions", "multiply-adds in the loop, %")
_COLUMNS += ("occupancy, %", "sectors a request", "bank conflicts")


def every_kernel() -> list[Kernel]:
    """All CUDA kernels."""
    return [kernel for op in kernels.ops() for kernel in kernels.variants(op, "gpu")]


def simulable(kernel: Kernel) -> bool:
    """Whether the simulator runs a kernel: CUDA C++ it cannot."""
    return backend_of(kernel.name) != "cudacpp"


def drawn() -> list[Kernel]:
    """The kernels that have a picture."""
    return [kernel for kernel in every_kernel() if simulable(kernel)]


def in_order(op: str, text: str) -> list[Kernel]:
    """The CUDA kernels of an op in the order in which a README names them first; those it does not name come last."""
    text = TILES.sub("", COUNTS.sub("", text))

    def place(kernel: Kernel) -> int:
        found = re.search(rf"`{kernel.name}`", text)
        return found.start() if found else len(text)

    return sorted(kernels.variants(op, "gpu"), key=place)


def picture(kernel: Kernel) -> Path:
    """The file of a kernel's tiles."""
    return PICTURES / f"{kernel.op}-{kernel.name}.svg"


def tiles(op: str, text: str) -> str:
    """The lines of a README that show an op's pictures."""
    return "".join(
        f"![{op} {kernel.name}: its tiles](../../docs/tiles/{picture(kernel).name})\n\n"
        for kernel in in_order(op, text)
        if simulable(kernel)
    )


def counts(op: str, shape: str, text: str) -> str:
    """The lines of a README that count what an op's kernels take for a shape, and what that was counted with."""
    problem = problem_type(op).parse(shape)
    per = "a multiply-add" if op.startswith("conv2d") else "an output"
    heads = ["rung", *_COLUMNS, f"global loads {per}", f"shared loads {per}"]
    supported = [kernel for kernel in in_order(op, text) if kernel.unsupported(problem) is None]
    rows = [cells for kernel in supported for cells in _rows(kernel, problem)]
    kept = [column for column in range(len(heads)) if any(cells[column] for cells in rows)]
    lines = [f"| {' | '.join(cells[column] for column in kept)} |" for cells in (heads, *rows)]
    lines.insert(1, f"| --- |{' ---: |' * (len(kept) - 1)}")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numba-cuda", "numba", "numpy"))
    made = (
        f"{shape} on {ARCHITECTURE.name}; {versions}, ptxas {toolkit_version()}. Made with `python bench/ladders.py`."
    )
    return "\n".join([*lines, "", made]) + "\n"


def _rows(kernel: Kernel, problem: Any) -> Iterator[list[str]]:
    """The cells of each of a kernel's functions."""
    units = _units(kernel.op, problem)
    compiled = {inspected.function: inspected for inspected in inspect_kernel(kernel, problem, [ARCHITECTURE])}
    simulated = _simulate(kernel, problem) if simulable(kernel) else {}
    for function, inspected in compiled.items():
        counted = _simulated_cells(simulated[function], units) if simulated else [""] * 4
        name = f"`{kernel.name}`" + (f" {function}" if len(compiled) > 1 else "")
        yield [name, *_compiled_cells(inspected), *counted]


def _units(op: str, problem: Any) -> int:
    """What loads are counted for: multiply-adds of a convolution, else elements of the outputs."""
    if op.startswith("conv2d") and isinstance(problem, Conv2DProblem):
        return int(problem.flops // 2)
    return sum(int(np.prod(array_shape(name, problem))) for name in OPS[op].outputs)


def _simulate(kernel: Kernel, problem: Any) -> dict[str, list[Report]]:
    """The reports of a kernel's launches, by function."""
    reports: dict[str, list[Report]] = {}

    def launcher(launch: Launch) -> None:
        report = simulate(
            launch.kernel, launch.grid, launch.block, *launch.args, shared_bytes=launch.shared_bytes, trace_block=None
        )
        report.raise_if_wrong()
        reports.setdefault(launch.kernel.name, []).append(report)

    arrays = [np.ones_like(array) for array in empty_arrays(kernel.op, problem)]
    with launched_by(launcher):
        kernel(problem, *arrays, workspace=np.zeros(kernel.workspace_bytes(problem), np.uint8))
    return reports


def _compiled_cells(inspected: Inspected) -> list[str]:
    loop = sass.densest_loop(inspected.compiled.instructions)
    return [
        str(inspected.compiled.resources.registers),
        str(inspected.shared_bytes),
        str(inspected.instruction_count),
        f"{100 * sass.multiply_add_share(loop):.0f}" if loop else "",
        f"{100 * inspected.occupancy.share:.0f}",
    ]


def _simulated_cells(reports: list[Report], units: int) -> list[str]:
    lines = [line for report in reports for line in report.lines]
    memory = sum((line.global_memory for line in lines), Requests())
    shared = sum((line.shared_memory for line in lines), Requests())
    ideal = f" ({number(memory.ideal / memory.requests)} ideal)" if memory.moved > memory.ideal else ""
    loads = (sum(line.loads.requests for line in lines), sum(line.shared_loads.requests for line in lines))
    return [
        number(memory.per_request) + ideal,
        str(shared.moved - shared.ideal) if shared.requests else "",
        *(number(WARP * count / units) if count else "" for count in loads),
    ]


def drawing(kernel: Kernel) -> str:
    """The picture of a kernel, made anew."""
    return draw(kernel, small_problem(kernel))


def names(table: str) -> set[str]:
    """The kernels that a table or a list of pictures has."""
    return set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) | set(re.findall(r"\w+-(\w+)\.svg\)", table))


def wrong_in(readmes: dict[str, str]) -> Iterator[str]:
    """What READMEs, texts by name, have too much or too little of, in words."""
    counted, shown = set(), set()
    for where, text in readmes.items():
        for _, op, shape, table, _ in COUNTS.findall(text):
            problem = problem_type(op).parse(shape)
            there = {kernel.name for kernel in kernels.variants(op, "gpu") if kernel.unsupported(problem) is None}
            if names(table) != there:
                yield f"{where}: the counts of {op} {shape} are not those of {', '.join(sorted(there))}"
            counted |= {(op, name) for name in there}
        for _, op, list_, _ in TILES.findall(text):
            if list_ != tiles(op, text):
                yield f"{where}: the pictures of {op} are not those of its kernels"
            shown |= {(op, kernel.name) for kernel in kernels.variants(op, "gpu")}
    for kernel in every_kernel():
        for what, there in (("counts", counted), ("tiles", shown)):
            if (kernel.op, kernel.name) not in there and (what == "counts" or simulable(kernel)):
                yield f"{kernel.op} {kernel.name} is in no README: <!-- {what}: {kernel.op} ... -->"


def superfluous_pictures() -> list[Path]:
    """Pictures of no kernel."""
    return sorted(set(PICTURES.glob("*")) - {picture(kernel) for kernel in drawn()})


def check() -> list[str]:
    """All that is wrong, in words."""
    wrong = list(wrong_in({str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in READMES}))
    wrong += [f"{file.relative_to(ROOT)} is of no kernel" for file in superfluous_pictures()]
    for kernel in drawn():
        file = picture(kernel)
        if not file.is_file() or file.read_text(encoding="utf-8") != drawing(kernel):
            wrong.append(f"{file.relative_to(ROOT)} is missing or not up to date")
    return wrong


def filled(text: str) -> str:
    """A README with every table and every list of pictures made anew."""
    counted = COUNTS.sub(lambda found: found[1] + counts(found[2], found[3], text) + found[5], text)
    return TILES.sub(lambda found: found[1] + tiles(found[2], text) + found[4], counted)


def write() -> None:
    """All pictures, tables and lists."""
    PICTURES.mkdir(exist_ok=True)
    for file in superfluous_pictures():
        file.unlink()
    for kernel in drawn():
        picture(kernel).write_text(drawing(kernel), encoding="utf-8")
    for readme in READMES:
        readme.write_text(filled(readme.read_text(encoding="utf-8")), encoding="utf-8")


def main(argv: list[str]) -> int:
    """Write everything, or with --check say what is wrong."""
    if "--check" not in argv:
        write()
        return 0
    wrong = check()
    for line in wrong:
        print(f"{line}; run python bench/ladders.py")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
