"""`fastconv verify`: kernels against the NumPy reference on problems drawn at random."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import kernels
from fastconv.cli import checks
from fastconv.cli.progress import progress_bar
from fastconv.kernels import Kernel

HELP = "Compare every kernel with the NumPy reference on problems drawn at random."
EXAMPLES = """examples:
  fastconv verify                                  100 problems for each op, every variant
  fastconv verify conv2d --count 2000 --seed 7     more of them, and other ones
  fastconv verify conv2d --algorithm cpu_direct
  fastconv verify conv2d --kernel cpu_mine.py      a kernel of your own; see fastconv new-kernel

A problem is small and has every option drawn: sizes, channels, groups, strides, dilations, padding, dtype. On each a
variant is run with small integers (the result must be exact), random numbers, NaN and arrays left out, on all threads
and on one. The same seed draws the same problems. The exit code is 1 if a variant differs from the reference.
"""

# What of a problem is worth a count: the options, and the shapes at which kernels go wrong.
_TRAITS: dict[str, Callable[[Any], bool]] = {
    "no images": lambda p: p.N == 0,
    "strides": lambda p: max(p.stride_h, p.stride_w) > 1,
    "dilation": lambda p: max(p.dilation_h, p.dilation_w) > 1,
    "padding": lambda p: max(p.pad_top, p.pad_bottom, p.pad_left, p.pad_right) > 0,
    "padding that differs by side": lambda p: (p.pad_top, p.pad_left) != (p.pad_bottom, p.pad_right),
    "groups": lambda p: getattr(p, "groups", 1) > 1,
    "depthwise": lambda p: p.C > 1 and getattr(p, "groups", 1) == p.C,
    "more than 8 channels": lambda p: p.C > 8,
    "float64": lambda p: p.dtype == "float64",
}


@dataclass
class _Tried:
    """What was done for one op."""

    problems: int = 0
    checked: dict[str, int] = field(default_factory=dict)
    traits: dict[str, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fastconv verify`."""
    add = parser.add_argument
    add("op", nargs="?", metavar="OP", help="such as conv2d; default: all ops")
    add("--algorithm", metavar="A,B", help="variants to check; default: all but the reference")
    add("--kernel", type=Path, metavar="FILE.py", help="a kernel of your own to check")
    add("--device", choices=("cpu", "gpu"), default="cpu", help="default: cpu")
    add("--count", type=checks.whole_number(1), default=100, metavar="N", help="problems for each op; default: 100")
    add("--seed", type=checks.whole_number(0), default=0, metavar="S", help="of what is drawn; default: 0")


def run(args: argparse.Namespace) -> int:
    """Check as `args` say; the exit code is 0, 1 if a kernel was wrong, or 130 after Ctrl-C.

    Raises:
        CommandError: an argument cannot be followed.
    """
    from rich.console import Console

    variants = checks.kernels_of(args.op, args.algorithm, args.kernel, args.device)
    if args.kernel is not None and args.algorithm is None:
        variants = {args.op: variants[args.op][-1:]}
    tried: dict[str, _Tried] = {op: _Tried() for op in variants}
    started, interrupted = time.perf_counter(), False
    with progress_bar() as update:
        try:
            for text, share in _verify(tried, variants, args.count, args.seed):
                update(text, share)
        except KeyboardInterrupt:
            interrupted = True
    console = Console(highlight=False, soft_wrap=True)
    for op, done in tried.items():
        _print_op(op, done, console)
    problems = sum(done.problems for done in tried.values())
    checked = sum(sum(done.checked.values()) for done in tried.values())
    wrong = sum(len(done.failures) for done in tried.values())
    seconds = time.perf_counter() - started
    console.print(
        f"{'Interrupted after' if interrupted else 'Checked'} {problems} problems, {checked} runs of kernels, in "
        f"{seconds:.0f} s (seed {args.seed}): {f'{wrong} wrong' if wrong else 'all right'}.",
        markup=False,
    )
    return 130 if interrupted else int(wrong > 0)


def _verify(
    tried: dict[str, _Tried], variants: dict[str, list[Kernel]], count: int, seed: int
) -> Iterator[tuple[str, float]]:
    """Fill `tried`; yields what is being done and the share that is done. A variant stops at its first failure."""
    from fastconv.testing import KernelMismatch, check_kernel
    from fastconv.testing.drawing import draw_problem

    for number, (op, candidates) in enumerate(variants.items()):
        rng, done = np.random.default_rng([seed, kernels.ops().index(op)]), tried[op]
        done.checked = dict.fromkeys((kernel.name for kernel in candidates), 0)
        done.traits = dict.fromkeys(_TRAITS, 0)
        for index in range(count):
            problem = draw_problem(op, rng)
            yield f"{op}: {problem}", (number + index / count) / len(variants)
            for kernel in candidates:
                if kernel.name in done.failures or kernel.unsupported(problem) is not None:
                    continue
                try:
                    check_kernel(kernel, problem)
                except KernelMismatch as mismatch:
                    done.failures[kernel.name] = str(mismatch)
                except Exception as error:  # a kernel of the user's own may raise anything
                    done.failures[kernel.name] = f"on {problem}: {type(error).__name__}: {error}"
                done.checked[kernel.name] += 1
            done.problems += 1
            for trait, holds in _TRAITS.items():
                done.traits[trait] += holds(problem)


def _print_op(op: str, done: _Tried, console: Any) -> None:
    if not done.problems:
        return
    runs = ", ".join(f"{name} {count}" for name, count in done.checked.items())
    traits = ", ".join(f"{name} {count}" for name, count in done.traits.items() if count)
    console.print(f"{op}: {done.problems} problems; checked {runs}", markup=False)
    console.print(f"  with {traits}", markup=False, style="dim")
    for name, text in done.failures.items():
        console.print(f"  {name} is wrong: {text}", markup=False)
