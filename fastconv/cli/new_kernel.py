"""`fastconv new-kernel`: a file to begin a kernel of one's own with."""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
import textwrap
from pathlib import Path
from typing import Any

from fastconv import kernels
from fastconv.cli.checks import CommandError
from fastconv.kernels import registry
from fastconv.utils.sources import renamed_kernel

_START = {"cudacpp": "cudacpp_implicit_gemm"}  # the kernel to copy where it is not <backend>_naive
HELP = "Write a file with a right but slow kernel, to make a fast one of."
EXAMPLES = """examples:
  fastconv new-kernel conv2d cpu_mine.py
  fastconv new-kernel conv2d cpu_mine.py --start-from cpu_im2col

The file's name is <backend>_<idea>.py with a backend of cpu, cuda, cupy or cudacpp; it is the kernel's name, too. Of
cudacpp, CUDA C++, the code is in a second file beside it, <name>.cu.
Then: fastconv verify conv2d --kernel cpu_mine.py, and fastconv bench conv2d --kernel cpu_mine.py.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fastconv new-kernel`."""
    parser.add_argument("op", metavar="OP", help="such as conv2d")
    parser.add_argument("file", metavar="FILE.py", type=Path, help="the file to write; it must not exist")
    parser.add_argument("--start-from", metavar="VARIANT", help="the kernel to copy; default: <backend>_naive")


def run(args: argparse.Namespace) -> int:
    """Write the file and say what to do with it; the exit code is 0.

    Raises:
        CommandError: no such op or kernel, a name that does not suit, or a file that exists or cannot be written.
    """
    name = args.file.stem
    if args.file.suffix != ".py" or not name.isidentifier():
        raise CommandError(f"expected a Python file such as cpu_mine.py, got {str(args.file)!r}.")
    try:
        known = [kernel.name for kernel in kernels.variants(args.op)]
        if name in known:
            raise CommandError(f"{args.op} has a kernel {name} already; give the file another name.")
        backend = registry.backend_of(name)
        start = args.start_from or _START.get(backend, f"{backend}_naive")
        source = kernels.get(args.op, start)
    except ValueError as error:
        raise CommandError(str(error)) from None
    if not start.startswith(f"{backend}_"):
        raise CommandError(f"{start} is no kernel of the backend {backend!r}, which the file's name says.")
    texts = {args.file: _text(source, name)}
    cpp = Path(source.run.__code__.co_filename).with_suffix(".cu")
    if cpp.is_file():
        texts[args.file.with_suffix(".cu")] = cpp.read_text(encoding="utf-8")
    for file in texts:
        if file.exists():
            raise CommandError(f"{file} exists; it was left as it is.")
    try:
        for file, text in texts.items():
            with file.open("x", encoding="utf-8") as stream:
                stream.write(text)
    except OSError as error:
        raise CommandError(f"cannot write {args.file}: {error.strerror or error}") from None
    print(
        f"Wrote {' and '.join(map(str, texts))}, a copy of {args.op}'s {start}. Next:\n"
        f"  fastconv verify {args.op} --kernel {args.file}    is it right?\n"
        f"  fastconv bench {args.op} --kernel {args.file}     is it fast?"
    )
    return 0


def _text(source: Any, name: str) -> str:
    """The source of a kernel under another name, below the op's contract."""
    code = renamed_kernel(sys.modules[source.run.__module__], source.name, name, source.op)
    contract = inspect.getdoc(importlib.import_module(f"fastconv.kernels.{source.op}")) or ""
    first, *rest = contract.splitlines()
    header = [
        f'"""A kernel of {source.op}, begun as a copy of {source.name}.',
        "",
        *textwrap.wrap(f"The op: {first}", 100),
        *rest,
        "",
        "It must write all of its outputs and nothing else, with the same bits on any number of threads;",
        "`workspace` is scratch memory of the size that @kernel(workspace_bytes=problem -> bytes) asks for.",
        "What it cannot run, @kernel(unsupported=problem -> reason or None) says. `limited_by` is shown in tables.",
        '"""',
    ]
    return "\n".join(header) + "\n\n" + code
