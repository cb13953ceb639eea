"""`autotune`: measure which kernels are fastest on this machine, once, and let "auto" choose them from then on.

What it finds is kept in the user's cache folder, or in $FASTCONV_AUTOTUNE_DIR: a small file for each op and problem, in
a folder for this processor, its vectors, the number of threads and the kernels' sources, so that a change of any of
them ends its use. Each file is written beside its place and moved there: processes may tune at the same time.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import kernels, machine, random
from fastconv.buffers import ReusedBuffers
from fastconv.ops import dispatch

_OPS: dict[type, tuple[str, ...]] = {
    kernels.Conv2DProblem: ("conv2d", "conv2d_backward_data", "conv2d_backward_filter"),
    kernels.ConvPool2DProblem: ("conv2d_max_pool2d", "conv2d_max_pool2d_backward_filter"),
    kernels.Pool2DProblem: ("max_pool2d", "max_pool2d_backward", "average_pool2d", "average_pool2d_backward"),
}
_REST_S = 0.05  # before each sample: BLAS's threads, which im2col uses, spin for so long after their work
_SLOW = 4  # times the fastest: a variant that takes so long in its first calls is not timed further


@dataclass(frozen=True)
class Choice:
    """What was found for one op and problem: seconds a call by kernel, the fastest first, and the default's name."""

    op: str
    problem: Any
    seconds: dict[str, float]
    default: str

    @property
    def kernel(self) -> str:
        """The fastest kernel's name."""
        return next(iter(self.seconds))

    def __str__(self) -> str:
        gain = self.seconds[self.default] / self.seconds[self.kernel]
        than = f", {gain:.2f} times as fast as {self.default}" if self.kernel != self.default else ", the default"
        return f"{self.op} {self.problem}: {self.kernel}, {1e3 * self.seconds[self.kernel]:.3g} ms{than}"


def autotune(
    target: Any,
    batch_size: int = 32,
    training: bool = True,
    seconds: float = 0.2,
    print_fn: Callable[[str], object] | None = print,
) -> list[Choice]:
    """Measure the kernels that a model, or problems, can use, and remember the fastest for `algorithm="auto"`.

    Args:
        target: a built `Sequential`; or problems: one of `kernels`, such as `Conv2DProblem`, or several.
        batch_size: of the model's batches; shapes other than those measured keep their defaults.
        training: whether the model is going to be trained, or only used. For problems all ops are measured.
        seconds: for each kernel of each op and problem.
        print_fn: called with a line for each choice; None for silence.

    Returns:
        The choices, in the order in which they were measured.

    Raises:
        TypeError: `target` is neither.
        ValueError: the model is not built.
    """
    work = _work_of(target, batch_size, training)
    choices = []
    for op, problem in work:
        choice = _measure(op, problem, seconds)
        _remember(choice)
        choices.append(choice)
        if print_fn is not None:
            print_fn(str(choice))
    dispatch.forget_choices()
    return choices


def ranking(op: str, problem: Any) -> tuple[str, ...]:
    """The kernels' names that `autotune` has found for a problem on this machine, the fastest first; empty for none."""
    if not _root().is_dir():
        return ()
    try:
        return tuple(json.loads(_place(op, problem).read_text())["kernels"])
    except (OSError, ValueError, KeyError):
        return ()


def _work_of(target: Any, batch_size: int, training: bool) -> list[tuple[str, Any]]:
    if hasattr(target, "layers") and hasattr(target, "backward_plan"):
        return _work_of_model(target, batch_size, training)
    problems = [target] if type(target) in _OPS else target
    if not isinstance(problems, Iterable) or isinstance(problems, (str, bytes)):
        raise TypeError(f"target must be a Sequential, a problem or several problems; received {target!r}.")
    work = []
    for problem in problems:
        if type(problem) not in _OPS:
            raise TypeError(f"target must hold problems such as kernels.Conv2DProblem; received {problem!r}.")
        work += [(op, problem) for op in _OPS[type(problem)]]
    return list(dict.fromkeys(work))


def _work_of_model(model: Any, batch_size: int, training: bool) -> list[tuple[str, Any]]:
    """The ops and problems of a step of copies of the model's layers, which stays as it is."""
    from fastconv.models.backward_plan import BackwardPlan

    shape = model.input_shape
    if isinstance(shape, (list, dict)):
        raise ValueError(f"autotune needs a model with one input; this one has {len(shape)}.")
    if any(size is None for size in shape[1:]):
        raise ValueError(f"autotune needs inputs of a known shape; the model takes {shape}.")
    found: dict[tuple[str, Any], None] = {}

    def note(kernel: Any, problem: Any, call: Callable[[], None]) -> None:
        found[kernel.op, problem] = None
        call()

    plan, buffers, state = copy.deepcopy(model.forward_plan), ReusedBuffers(), random.generator().bit_generator.state
    x = np.zeros((batch_size, *shape[1:]), model.dtype)
    try:
        with dispatch.observed(note):
            back = BackwardPlan.of(plan).fused if training else None
            outputs = plan.run([x], training, buffers, plan.fused_calls if back is None else back.calls)
            if back is not None:
                back.run([np.zeros_like(y) for y in outputs], buffers)
    finally:
        random.generator().bit_generator.state = state
    return list(found)


def _measure(op: str, problem: Any, seconds: float) -> Choice:
    from fastconv.bench.contestant import of_kernel
    from fastconv.bench.timing import time_in_turn
    from fastconv.testing.kernel_cases import float_inputs

    default = kernels.choose(op, problem).name
    names = [name for name in kernels.defaults(op) if name != "reference"]
    inputs = float_inputs(op, problem)
    calls, first = {}, {}
    for name in names:
        kernel = kernels.get(op, name)
        if kernel.unsupported(problem) is None:
            calls[name] = of_kernel(kernel, problem, inputs, name == default).call
            calls[name]()  # compiles
            first[name] = min(_seconds(calls[name]) for _ in range(2))
    kept = {name: call for name, call in calls.items() if name == default or first[name] < _SLOW * min(first.values())}
    timings = time_in_turn(kept, seconds, rest=lambda _: time.sleep(_REST_S))
    times = {name: timing.median_s for name, timing in timings.items()}
    return Choice(op, problem, dict(sorted(times.items(), key=lambda item: item[1])), default)


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _root() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("FASTCONV_AUTOTUNE_DIR") or home / "fastconv" / "autotune")


@functools.cache
def _machine(threads: int) -> str:
    """A name for what the choices depend on."""
    sources = hashlib.sha256(f"{machine.cpu_name()} {machine.simd_bits()} {threads}".encode())
    for file in sorted(Path(kernels.__file__).parent.rglob("*.py")):
        sources.update(file.read_bytes())
    return sources.hexdigest()[:16]


def _place(op: str, problem: Any) -> Path:
    name = hashlib.sha256(f"{op} {problem}".encode()).hexdigest()[:24]
    return _root() / _machine(machine.threads()) / f"{name}.json"


def _remember(choice: Choice) -> None:
    place = _place(choice.op, choice.problem)
    place.parent.mkdir(parents=True, exist_ok=True)
    entry = {
        "op": choice.op,
        "problem": str(choice.problem),
        "kernels": list(choice.seconds),
        "seconds": choice.seconds,
    }
    with tempfile.NamedTemporaryFile("w", dir=place.parent, suffix=".new", delete=False) as file:
        json.dump(entry, file)
    os.replace(file.name, place)
