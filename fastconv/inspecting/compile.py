"""From a CUDA kernel to machine code for an architecture that need not be here, and what the assembler says of it.

What is compiled is anything with a `name`, `ptx(compute_capability, lineinfo)` and the source: a Python function
`py_func`, or a file `path` of CUDA C++.
"""

from __future__ import annotations

import functools
import inspect
import re
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastconv.inspecting import sass
from fastconv.inspecting.architectures import Architecture
from fastconv.kernels.cuda import shared_line
from fastconv.kernels.cuda_nvrtc import CppKernel

_PTX_FILE, _CUBIN_FILE = "kernel.ptx", "kernel.cubin"


class ToolkitError(RuntimeError):
    """A tool of the CUDA toolkit is missing or refuses its input; the message says which and how to get it."""


@dataclass(frozen=True)
class Resources:
    """What a kernel takes, as ptxas tells it.

    Attributes:
        registers: of a thread.
        spill_bytes: stored to local memory and loaded from it because registers ran out, of a thread.
        stack_bytes: local memory of a thread.
        static_shared_bytes: shared memory of a block that the code itself asks for.
        barriers: of a block.
    """

    registers: int
    spill_bytes: int
    stack_bytes: int
    static_shared_bytes: int
    barriers: int


@dataclass(frozen=True)
class Compiled:
    """A kernel compiled for an architecture."""

    architecture: Architecture
    ptx: str
    resources: Resources
    instructions: tuple[sass.Instruction, ...]


@functools.lru_cache(maxsize=256)
def compile_kernel(kernel: Any, architecture: Architecture) -> Compiled:
    """Compile `kernel`, assemble and disassemble it.

    Raises:
        ToolkitError: the compiler, the assembler or the disassembler is not there or refuses what it is given.
    """
    try:
        ptx = kernel.ptx(architecture.compute_capability, lineinfo=True)
    except ImportError as error:
        raise ToolkitError(str(error)) from None
    except RuntimeError as error:  # NVRTC refuses CUDA C++
        raise ToolkitError(str(error)) from error
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / _PTX_FILE).write_text(ptx, encoding="utf-8")
        said = _run(
            *("ptxas", "--verbose", "--generate-line-info", f"--gpu-name={architecture.name}"),
            *(_PTX_FILE, "--output-file", _CUBIN_FILE),
            folder=folder,
        )
        listing = _run("nvdisasm", "--print-line-info", "--print-code", _CUBIN_FILE, folder=folder)
    instructions = tuple(replace(i, line=line_number(kernel, i.file, i.line)) for i in sass.parse(listing))
    return Compiled(architecture, ptx, parse_resources(said), instructions)


def line_number(kernel: Any, file: str | None, line: int | None) -> int | None:
    """The number by which `source` knows a line that a compiler names."""
    if isinstance(kernel, CppKernel) and file is not None and line is not None:
        return kernel.line_number(file, line)
    return line  # Numba's numbers say all: see `fastconv.kernels.cuda.shared_line`


def parse_resources(said: str) -> Resources:
    """What `ptxas --verbose` says of one kernel."""

    def number(pattern: str) -> int:
        match = re.search(pattern, said)
        return int(match[1]) if match else 0

    return Resources(
        registers=number(r"Used (\d+) registers"),
        spill_bytes=number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
        stack_bytes=number(r"(\d+) bytes stack frame"),
        static_shared_bytes=number(r"(\d+) bytes smem"),
        barriers=number(r"used (\d+) barriers"),
    )


def toolkit_version() -> str:
    """The version of the assembler, such as "13.0.88".

    Raises:
        ToolkitError: it is not there.
    """
    found = re.search(r"V(\d[\d.]*)", _run("ptxas", "--version", folder="."))
    return found[1] if found else "unknown"


@functools.cache
def source(kernel: Any) -> tuple[str, dict[int, str]]:
    """The file of a kernel, and lines by number: of the function itself and of those that it calls.

    These may be in files that kernels share: `fastconv.kernels.cuda.shared_line` knows their numbers. Lines of
    functions elsewhere are left out: Numba names their numbers without their file.
    """
    lines: dict[int, str] = {}
    if isinstance(kernel, CppKernel):
        for path in kernel.sources():
            texts = path.read_text(encoding="utf-8").splitlines()
            lines |= {kernel.line_number(str(path), number): text for number, text in enumerate(texts, start=1)}
        return str(kernel.path), dict(sorted(lines.items()))
    file = inspect.getsourcefile(kernel.py_func) or ""
    for function in (kernel.py_func, *_called(kernel.py_func)):
        first = function.__code__.co_firstlineno
        if shared_line(first)[0] or inspect.getsourcefile(function) == file:
            text, _ = inspect.getsourcelines(function)
            lines |= {first + index: line.rstrip("\n") for index, line in enumerate(text)}
    return file, dict(sorted(lines.items()))


def _called(function: Any) -> list[Any]:
    """The Python functions behind the device functions that a function names, and that those name."""
    found = []
    for name in function.__code__.co_names:
        inner = getattr(function.__globals__.get(name), "py_func", None)
        if inner is not None:
            found += [inner, *_called(inner)]
    return found


def _run(tool: str, *arguments: str, folder: str) -> str:
    """What a tool prints."""
    done = subprocess.run([_find(tool), *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
        raise ToolkitError(f"{tool} fails: {lines[0]}")
    return done.stdout + done.stderr


@functools.cache
def _find(tool: str) -> str:
    try:
        from cuda import pathfinder
    except ImportError:
        raise ToolkitError(f"{tool} cannot be found without cuda-pathfinder: pip install 'fastconv[lab]'") from None
    found = pathfinder.find_nvidia_binary_utility(tool)
    if found is None:
        raise ToolkitError(f"{tool} is not installed: pip install 'fastconv[lab]'")
    return str(found)
