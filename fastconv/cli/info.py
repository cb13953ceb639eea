"""`fastconv info`: the machine, the versions and the kernels there are."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from fastconv import kernels, machine
from fastconv.cli.progress import progress_bar
from fastconv.datasets.source import cache_folder

HELP = "Show the CPU, threads, GPU, versions, cache folders and kernels."
EXAMPLES = """examples:
  fastconv info
  fastconv info --measure    and what this machine reaches at most: multiply-adds and bytes a second
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fastconv info`."""
    parser.add_argument(
        "--measure", action="store_true", help="measure the limits of the processor and of a GPU anew and keep them"
    )


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

    table = Table()
    for heading in ("op", "kernel", "device", "default"):
        table.add_column(heading, no_wrap=True)
    table.add_column("limited by")
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
    if args.measure:
        _print_limits(console)
    return 0


def _print_limits(console: Any) -> None:
    from rich.table import Table

    from fastconv.bench.limits import Limits, measured

    found: list[Limits] = []
    with progress_bar() as update:
        counts = sorted({1, machine.threads()})
        for done, count in enumerate(counts):
            update(f"measuring {count} of {machine.threads()} threads", done / (len(counts) + 1))
            found.append(measured("cpu", count, refresh=True))
        update("measuring the GPU", len(counts) / (len(counts) + 1))
        try:
            found.append(measured("gpu", refresh=True))
            no_gpu = ""
        except RuntimeError as error:
            no_gpu = str(error)
    names = list(dict.fromkeys(name for limits in found for name in limits.gflop_per_s))
    rates = Table("", title="GFLOP/s: multiply-adds from registers", title_justify="left")
    for dtype in names:
        rates.add_column(dtype, justify="right")
    sizes = sorted({size for limits in found for size in limits.gbyte_per_s})
    copies = Table("", title="GB/s: a copy, bytes read and written, by working set", title_justify="left")
    for size in sizes:
        copies.add_column(f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB", justify="right")
    for limits in found:
        name = "gpu" if limits.device == "gpu" else f"cpu, {limits.threads} thread{'s' * (limits.threads > 1)}"
        rates.add_row(name, *(_rate(limits.gflop_per_s.get(dtype)) for dtype in names))
        copies.add_row(name, *(_rate(limits.gbyte_per_s.get(size)) for size in sizes))
    console.print("\nLimits, measured now and kept for `fastconv bench`:")
    console.print(rates)
    console.print(copies)
    if no_gpu:
        console.print(f"gpu: not measured: {no_gpu}", markup=False)


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
