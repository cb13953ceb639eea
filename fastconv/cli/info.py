"""`fastconv info`: the machine, the versions and the kernels there are."""

from __future__ import annotations

import argparse
import importlib

from fastconv import kernels, machine
from fastconv.datasets.source import cache_folder

HELP = "Show the CPU, threads, GPU, versions, cache folders and kernels."
EXAMPLES = "example:\n  fastconv info\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`fastconv info` has no arguments."""


def run(args: argparse.Namespace) -> int:
    """Print everything; the exit code is 0."""
    from rich.console import Console
    from rich.table import Table

    from fastconv.kernels import cpu_jit

    gpus, no_gpu = machine.gpus()
    facts = Table(box=None, show_header=False)
    for name, value in (
        ("cpu", machine.cpu_name()),
        ("features", f"{' '.join(machine.cpu_features())} ({machine.simd_bits()}-bit vectors)"),
        ("threads", f"{machine.threads()} on {machine.cores()} processors (NUMBA_NUM_THREADS sets it)"),
        ("gpu", "; ".join(gpus) or f"none: {no_gpu}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in machine.versions().items())),
        ("datasets", str(cache_folder())),
        ("compiled", str(cpu_jit.cache_folder())),
    ):
        facts.add_row(name, value)

    table = Table("op", "kernel", "device", "default", "limited by")
    for op in kernels.ops():
        default = importlib.import_module(f"fastconv.kernels.{op}").DEFAULT
        for row, kernel in enumerate(kernels.variants(op)):
            order = default.get(kernel.device, ())
            rank = str(order.index(kernel.name) + 1) if kernel.name in order else ""
            table.add_row("" if row else op, kernel.name, kernel.device, rank, kernel.limited_by)
        table.add_section()

    console = Console(highlight=False)
    console.print(facts)
    console.print('\nKernels; default says in which order algorithm="auto" tries them:')
    console.print(table)
    return 0
