"""The parts in their order, each within its time. In a checkout bench/gpu.py runs this."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fastconv.bench.gpu import facts, marked_tests, sanitizer, table, timings, training
from fastconv.bench.gpu.session import ROOT, Session
from fastconv.kernels import cuda

PARTS = ("facts", "tests", "sanitizer", "training", "timings")
_LIMIT_S = 540.0
# Of the whole time; what a part leaves goes to the timings, which come last and take the rest.
_TESTS_SHARE, _TOOL_SHARE, _TRAINING_SHARE = 0.2, 0.06, 0.25
_EPILOG = """parts:
  facts      device, driver, versions, clocks
  tests      pytest -m gpu: every GPU kernel on the edge shapes, against the NumPy reference in float64
  sanitizer  compute-sanitizer memcheck, racecheck, initcheck and synccheck on tiny shapes
  training   the MNIST network: its accuracy after five epochs; steps beside PyTorch's (eager, compiled, CUDA graphs)
  timings    every GPU kernel beside cuDNN (PyTorch: FP32, TF32, BF16; NHWC and NCHW): ResNet-50's layers, poolings

The folder holds gpu.json, gpu.md and a log for each part, and is up to date after every step.
python bench/tables.py --take FOLDER/gpu.json takes the times into bench/results and the READMEs.
The exit code is 0 if all went well, 1 if something failed, 2 where there is no GPU.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the session; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="bench/gpu.py",
        description="Check and time the GPU kernels on this machine's GPU, within 9 minutes and without a network.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("gpu-results"), metavar="FOLDER", help="default: gpu-results")
    add("--dry-run", action="store_true", help="every step without a GPU: tiny shapes, a simulator, made-up times")
    add("--parts", default=",".join(PARTS), metavar="A,B", help="only these parts")
    add("--limit", type=float, default=_LIMIT_S, metavar="S", help=f"seconds for all; default: {_LIMIT_S:.0f}")
    words = sys.argv[1:] if argv is None else list(argv)
    args = parser.parse_args(words)
    parts = [name.strip() for name in args.parts.split(",") if name.strip()]
    if not parts or not set(parts) <= set(PARTS):
        parser.error(f"--parts takes {', '.join(PARTS)}, got {args.parts!r}")
    if not (ROOT / "tests").is_dir():
        print("bench/gpu.py: error: the tests are not there: run it in a checkout.", file=sys.stderr)
        return 2
    no_gpu = None if args.dry_run else cuda.unavailable()
    if no_gpu is not None:
        print(f"bench/gpu.py: error: {no_gpu}; --dry-run needs no GPU.", file=sys.stderr)
        return 2
    session = Session(args.out, args.limit, args.dry_run, shlex.join(["python", "bench/gpu.py", *words]))
    session.say(f"{'Dry run: no GPU. ' if args.dry_run else ''}Results go to {args.out.resolve()}")
    try:
        for part in parts:
            _PARTS[part](session)
    except KeyboardInterrupt:
        session.record["interrupted"] = True
        session.write()
        session.say("Interrupted.")
        return 130
    session.write()
    print(table.closing(session.record))
    session.say(f"Wrote {', '.join(sorted(path.name for path in args.out.iterdir()))} to {args.out}")
    return int(any(part["status"] == "failed" for part in session.record["parts"].values()))


def _tests(session: Session) -> None:
    marked_tests.run(session, min(_TESTS_SHARE * session.limit_s, session.left_s()))


def _sanitizer(session: Session) -> None:
    for tool in sanitizer.TOOLS:
        sanitizer.run(session, tool, min(_TOOL_SHARE * session.limit_s, session.left_s()))


def _training(session: Session) -> None:
    training.run(session, min(_TRAINING_SHARE * session.limit_s, session.left_s()))


def _timings(session: Session) -> None:
    waiting = timings.ops()
    for op, share in list(waiting.items()):
        timings.run(session, op, session.left_s() * share / sum(waiting.values()))
        del waiting[op]


_PARTS = {"facts": facts.run, "tests": _tests, "sanitizer": _sanitizer, "training": _training, "timings": _timings}

if __name__ == "__main__":
    sys.exit(main())
