"""`fastconv bench`: kernels and peers on named shapes, or whole models, timed in turn."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fastconv import devices, kernels, machine
from fastconv.cli import checks, report
from fastconv.cli.checks import CommandError
from fastconv.cli.progress import progress_bar
from fastconv.models import Sequential, zoo
from fastconv.testing.shapes import find_shapes, shape_lists, shapes_for

HELP = "Time kernels on named shapes against the machine's limits and other frameworks; or whole models."
EXAMPLES = """examples:
  fastconv bench conv2d                                    every kernel on the layers of two small networks
  fastconv bench conv2d --shapes resnet50 --peers torch --html r.html
  fastconv bench max_pool2d --shapes "N=64 H=26 W=26 C=32 R=2 S=2 stride=2"
  fastconv bench conv2d --algorithm cpu_direct,cpu_im2col --threads 1,2 --csv r.csv
  fastconv bench conv2d --kernel cpu_mine.py               a kernel of your own; see fastconv new-kernel
  fastconv bench model mnist --peers torch,keras           training step, inference, latency, start-up, memory
  fastconv bench model mine.py:build
  fastconv bench model mnist --device gpu --peers torch

Each contestant is compared with the NumPy reference on the buffers it is then timed on; a wrong one is not timed, and
the exit code is 1. Contestants take turns. FLOPs and bytes are the problem's (what it needs moved once), the limit is
the larger of FLOPs over the measured peak and bytes over the measured bandwidth of a working set of that size; a
working set that stays in the caches from call to call can pass it. Ctrl-C prints what is done.
"""


_MODELS = {**checks.MODELS, "vgg_small": zoo.vgg_small}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fastconv bench`."""
    add = parser.add_argument
    add("op", nargs="?", metavar="OP", help='an op, such as conv2d, or "model"; default: all ops')
    add("model", nargs="?", metavar="MODEL", help="after model: mnist, fashion, vgg_small or FILE.py:function")
    lists = ", ".join(shape_lists())
    add("--shapes", metavar="SHAPES", help=f"a list ({lists}), a file, or 'N=64 H=28 ...'; default: the seeds' layers")
    add("--algorithm", metavar="A,B", help="variants to time; default: all but the reference")
    add("--kernel", type=Path, metavar="FILE.py", help="a kernel of your own to check and time with the others")
    add("--device", choices=("cpu", "gpu"), help="default: that of the kernels named; without any, cpu")
    add("--peers", default="", metavar="P,Q", help="other frameworks: torch, keras, onnxruntime, jax")
    add("--threads", metavar="1,2", help="numbers of threads; default: all")
    add("--seconds", type=_seconds, default=0.5, metavar="S", help="for a contestant and shape, at most; default: 0.5")
    add("--batch-sizes", default="64", metavar="N,M", help="of bench model; default: 64")
    add("--json", type=checks.output_file(".json"), metavar="FILE.json", help="keep everything")
    add("--csv", type=checks.output_file(".csv"), metavar="FILE.csv", help="keep the rows")
    add("--html", type=checks.output_file(".html"), metavar="FILE.html", help="write a report")
    add("--plot", type=checks.output_file(".png", ".pdf", ".svg"), metavar="FILE.png", help="draw the roofline")


def run(args: argparse.Namespace) -> int:
    """Benchmark as `args` say; the exit code is 0, 1 if a kernel was wrong, or 130 after Ctrl-C.

    Raises:
        CommandError: an argument cannot be followed; nothing has been timed.
    """
    peer_names = checks.names(args.peers)
    threads = [_whole(text, "--threads") for text in checks.names(args.threads)]
    if args.op == "model":
        return _run_model(args, peer_names, threads)
    if args.model is not None:
        raise CommandError(f"unexpected {args.model!r} behind {args.op!r}; only `bench model` takes a second name.")
    if args.plot:
        _require_plot()
    args.device = checks.device_of(args.device, args.algorithm, args.kernel)
    variants = checks.kernels_of(args.op, args.algorithm, args.kernel, args.device)
    user = variants[args.op][-1] if args.kernel else None
    try:
        work = _work(list(variants), args.shapes)
        from fastconv.bench import peers

        peers.check(peer_names)
    except ValueError as error:
        raise CommandError(str(error)) from None
    return _run_kernels(args, work, variants, user, peer_names, threads)


def _run_kernels(args: Any, work: Any, variants: Any, user: Any, peer_names: list[str], threads: list[int]) -> int:
    from rich.console import Console

    from fastconv.bench import table
    from fastconv.bench.compare import compare
    from fastconv.bench.result import Result, write_csv

    result = Result(args.command_line, [])
    with progress_bar() as update:
        try:
            refused = {} if user is None else _check(user, update)
            compare(work, variants, peer_names, threads, args.seconds, refused, args.device, update, result)
        except (ValueError, ImportError, RuntimeError) as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            result.interrupted = True
    console = Console(highlight=False)
    table.show(result, console)
    whole = result.to_dict()
    if args.json:
        report.write_json(args.json, whole)
    if args.csv:
        write_csv(args.csv, whole)
    if args.html:
        from fastconv.bench.page import render
        from fastconv.utils.files import atomic_write

        with atomic_write(args.html) as stream:
            stream.write(render(whole).encode())
    if args.plot:
        from fastconv.bench.plot import write_plot

        write_plot(args.plot, whole)
    for kept in (args.json, args.csv, args.html, args.plot):
        if kept:
            console.print(f"Wrote {kept}")
    if result.interrupted:
        console.print("Interrupted: these are the shapes that were done.")
        return 130
    return int(any(row.status == "wrong" and row.kind == "kernel" for row in result.rows))


def _run_model(args: argparse.Namespace, peer_names: list[str], threads: list[int]) -> int:
    from rich.console import Console

    from fastconv.bench import peers
    from fastconv.bench.model import table
    from fastconv.bench.model.compare import ModelResult, compare
    from fastconv.bench.model.contestants import CONFIGURATIONS

    if len(threads) > 1:
        raise CommandError("--threads: bench model takes one number.")
    for name in ("shapes", "algorithm", "kernel", "csv", "html", "plot"):
        if getattr(args, name):
            raise CommandError(f"--{name} has no meaning for bench model.")
    sizes = [_whole(text, "--batch-sizes") for text in checks.names(args.batch_sizes)]
    name = args.model or "mnist"
    model = checks.model_function(name, _MODELS, "bench model")()
    if not isinstance(model, Sequential):
        raise CommandError(f"bench model: {name} returns {type(model).__name__}, not a Sequential.")
    result = ModelResult(name, sizes, 0)
    try:
        device = args.device or "cpu"
        devices.check(device)
        peers.check(peer_names)
        others = [peer for peer in peer_names if peer not in CONFIGURATIONS[device]]
        if others:
            raise ValueError(f"--peers: {', '.join(others)} is not compared on a GPU; torch is.")
        if threads and threads[0] > machine.cores():
            raise ValueError(f"--threads: at most {machine.cores()} here, got {threads[0]}.")
        with progress_bar() as update:
            count = threads[0] if threads else None
            compare(model, name, peer_names, sizes, count, args.seconds, update, result, device)
    except (ValueError, RuntimeError) as error:
        raise CommandError(str(error)) from None
    console = Console(highlight=False)
    table.show(result, console)
    if args.json:
        report.write_json(args.json, result.to_dict(args.command_line))
        console.print(f"Wrote {args.json}", markup=False)
    if result.interrupted:
        console.print("Interrupted: this is what was done.")
        return 130
    return int(any(row.status != "timed" for row in result.rows if row.contestant == "fastconv"))


def _check(user: Any, update: Any) -> dict[Any, str]:
    """The contract on every edge shape; the first failure, if there is one."""
    from fastconv.testing import KernelMismatch, check_kernel

    edges = shapes_for(user.op, "edge")
    for done, (name, problem) in enumerate(edges.items()):
        update(f"checking {user.name} on {name}", done / len(edges))
        if user.unsupported(problem) is None:
            try:
                check_kernel(user, problem)
            except KernelMismatch as mismatch:
                return {user: f"on {name} ({problem}): {mismatch}"}
            except Exception as error:
                return {user: f"on {name} ({problem}): {type(error).__name__}: {str(error).strip()}"}
    return {}


def _work(ops: list[str], shapes: str | None) -> list[tuple[str, str, Any]]:
    """(op, shape's name, problem); with several ops those that the shapes are for."""
    found, refusals = [], []
    for op in ops:
        try:
            problems = find_shapes(shapes, kernels.problem_type(op)) if shapes else shapes_for(op, "seeds")
            found += [(op, name, problem) for name, problem in problems.items()]
        except ValueError as error:
            refusals.append(error)
    if not found:
        raise refusals[0] if refusals else ValueError(f"--shapes {shapes!r} holds no shape.")
    return found


def _whole(text: str, option: str) -> int:
    try:
        return checks.whole_number(1)(text)
    except argparse.ArgumentTypeError as error:
        raise CommandError(f"{option}: {error}.") from None


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 3600:
        raise argparse.ArgumentTypeError(f"expected seconds above 0 and below 3600, got {text!r}")
    return value


def _require_plot() -> None:
    from fastconv.utils.optional import require

    try:
        require("matplotlib.figure", extra="plot")
    except ImportError as error:
        raise CommandError(f"--plot: {error}") from None
