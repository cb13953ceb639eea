"""Kernels register themselves here; tests, benches, docs and `fastconv.ops` find them here.

A file `<op>/<backend>_<idea>.py` decorates one function with `@kernel(...)`. The folder is the op and the file
is the variant's name, so adding a kernel is adding a file. Being a default is another matter: DEFAULT in
`<op>/__init__.py` lists, per device, the variants that `choose` tries in order, and PROBLEM is the class of what they
are run on.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_DEVICES = {"cpu": "cpu", "reference": "cpu", "cuda": "gpu", "cupy": "gpu", "cudacpp": "gpu"}
_kernels: dict[tuple[str, str], Kernel] = {}

# Numba's portable threading layer aborts when two Python threads enter parallel code together. A kernel uses all
# threads anyway, so kernels run one at a time.
_one_at_a_time = threading.RLock()


@dataclass(frozen=True, eq=False)
class Kernel:
    """One variant of one op.

    Attributes:
        op, name, device: folder, file and where it runs ("cpu" or "gpu").
        run: `run(problem, *inputs, *outputs, workspace)`; the op's `__init__.py` states the arrays. One for a GPU may
            return the launches that do the work, in their order (see `cuda.Launch`).
        limited_by: what bounds its speed, in a few words.
        unsupported: problem -> reason why it cannot be run, or None.
        workspace_bytes: problem -> size of the scratch memory it needs.
        fuses: epilogues it can apply while it writes its output; each is a keyword argument of `run`.
        pays: problem -> whether it is worth taking where it is the default, as measured.
        in_place: problem -> whether its last output may be its first input, which it overwrites.
        prepare: None, or (bytes, write): problem -> the size of what it makes of its filters before anything else, and
            write(problem, w, memory). `run` takes that memory as `prepared`, where the filters are used again. One for
            a GPU returns the launches that write it.
        exact: whether each output is the sum of the formula's own products. Where it is not, sums of small integers
            are rounded and a NaN may reach outputs beside those of the formula.
        precision: "tf32" or "bfloat16" where the factors of float32 are rounded to that before they are multiplied,
            else "". Such a kernel is a default only for who allows that, see `choose`.
    """

    op: str
    name: str
    device: str
    run: Callable[..., Any]
    limited_by: str
    unsupported: Callable[[Any], str | None]
    workspace_bytes: Callable[[Any], int]
    fuses: tuple[str, ...]
    pays: Callable[[Any], bool] = lambda problem: True
    exact: bool = True
    prepare: tuple[Callable[[Any], int], Callable[..., None]] | None = None
    in_place: Callable[[Any], bool] = lambda problem: False
    precision: str = ""

    def __call__(self, problem: Any, *arrays: Any, workspace: Any, stream: Any = None, **epilogue: Any) -> None:
        """Do the work, or on a GPU see to it that it will be done: launches do not wait for each other's end.

        stream: where a GPU's kernels are launched; None is CuPy's current stream.
        """
        with _one_at_a_time:
            launches = self.run(problem, *arrays, workspace, **epilogue)
            if self.device == "gpu":
                for launch in launches or ():
                    launch(stream)

    def bind(self, problem: Any, *arrays: Any, workspace: Any, **epilogue: Any) -> Callable[[], None]:
        """What does the work on the same arrays as often as it is called, on CuPy's current stream.

        Of launches it is nothing but these: all that Python has to do for them is done beforehand.
        """
        with _one_at_a_time:
            launches = self.run(problem, *arrays, workspace, **epilogue)
        if launches is None:
            return functools.partial(self, problem, *arrays, workspace=workspace, **epilogue)
        bound = [launch.bind() for launch in launches]

        def launch_all() -> None:
            for launch in bound:
                launch(None)

        return launch_all


def kernel(
    *,
    limited_by: str,
    unsupported: Callable[[Any], str | None] = lambda problem: None,
    workspace_bytes: Callable[[Any], int] = lambda problem: 0,
    fuses: tuple[str, ...] = (),
    pays: Callable[[Any], bool] = lambda problem: True,
    exact: bool = True,
    prepare: tuple[Callable[[Any], int], Callable[..., None]] | None = None,
    in_place: Callable[[Any], bool] = lambda problem: False,
    precision: str = "",
    op: str | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as the variant that its file's name says, or in a notebook its own name.

    `op` is needed only by a file outside this package; here the folder says it.

    Raises:
        ValueError: the file's name has no known backend before its first underscore, or fastconv has that variant.
    """

    def register(run: Callable[..., Any]) -> Callable[..., Any]:
        *_, folder, name = run.__module__.rpartition(".")[0].split(".") + [run.__module__.rpartition(".")[2]]
        if name == "__main__":  # a notebook or a script
            name = run.__name__
        this_op = op or folder
        device = device_of(name)
        known = _kernels.get((this_op, name))
        if known is not None and _is_ours(known) and known.run.__code__.co_filename != run.__code__.co_filename:
            raise ValueError(f"{this_op} has a kernel named {name} already, in {known.run.__code__.co_filename}.")
        options = (unsupported, workspace_bytes, fuses, pays, exact, prepare, in_place, precision)
        _kernels[this_op, name] = Kernel(this_op, name, device, run, limited_by, *options)
        return run

    return register


def _is_ours(kernel: Kernel) -> bool:
    """Whether it is in this package. Of a user's own ones the newest counts: a notebook's cell is run again."""
    return kernel.run.__module__.startswith(f"{__package__}.")


def backend_of(name: str) -> str:
    """The backend that a kernel's name begins with.

    Raises:
        ValueError: it begins with none.
    """
    backend = name.split("_")[0]
    if backend not in _DEVICES:
        raise ValueError(f"{name}: a kernel's file is named <backend>_<idea>.py with a backend of {sorted(_DEVICES)}.")
    return backend


def device_of(name: str) -> str:
    """The device, "cpu" or "gpu", that a kernel's name says.

    Raises:
        ValueError: it begins with no backend.
    """
    return _DEVICES[backend_of(name)]


def ops() -> list[str]:
    """The names of all ops."""
    return sorted(folder.parent.name for folder in _HERE.glob("*/__init__.py"))


def problem_type(op: str) -> Any:
    """The class of an op's problems.

    Raises:
        ValueError: there is no such op.
    """
    return _package(op).PROBLEM


def variants(op: str, device: str | None = None) -> list[Kernel]:
    """All variants of an op (on one device, if given): the defaults in their order first, the others by name.

    Raises:
        ValueError: there is no such op.
    """
    package = _package(op)
    for module in pkgutil.iter_modules(package.__path__):
        if device in (None, _DEVICES.get(module.name.split("_")[0])):
            importlib.import_module(f"{package.__name__}.{module.name}")
    order = [name for names in package.DEFAULT.values() for name in names]
    found = [k for k in _kernels.values() if k.op == op and device in (None, k.device)]
    return sorted(found, key=lambda k: (order.index(k.name) if k.name in order else len(order), k.name))


def defaults(op: str, device: str = "cpu") -> tuple[str, ...]:
    """The names that `choose` tries, in their order.

    Raises:
        ValueError: there is no such op.
    """
    return tuple(_package(op).DEFAULT[device])


def get(op: str, name: str) -> Kernel:
    """The variant of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if (op, name) not in _kernels and (_HERE / op / f"{name}.py").exists():
        importlib.import_module(f"{_package(op).__name__}.{name}")
    if (op, name) not in _kernels:
        raise ValueError(f"{op} has no algorithm {name!r}; there are {[k.name for k in variants(op)]}.")
    return _kernels[op, name]


def load(op: str, path: str | Path) -> Kernel:
    """Run a file of the user's own, whose `@kernel(op=...)` registers it, and return that kernel.

    Raises:
        ValueError: there is no such file, its name has no known backend, or it is no kernel of `op`; in one line.
    """
    file = Path(path)
    _package(op)
    if file.suffix != ".py" or not file.is_file():
        raise ValueError(f"there is no file {str(path)!r} ending in .py.")
    backend_of(file.stem)
    name = f"user_kernels.{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is not a Python file.")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # Numba's cache looks for it there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever is wrong in the user's file
        raise ValueError(f"{file} cannot be run: {_where(error, file)}{type(error).__name__}: {error}.") from error
    found = _kernels.get((op, file.stem))
    if found is None or found.run.__module__ != name:
        other = [k.op for k in _kernels.values() if k.run.__module__ == name]
        what = f"a kernel of {other[0]}" if other else f"nothing; decorate a function with @kernel(op={op!r}, ...)"
        raise ValueError(f"{file} should register a kernel of {op}; it registers {what}.")
    return found


def _where(error: Exception, file: Path) -> str:
    """The last line of `file` that an error went through, if there is one."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return "" if line is None else f"line {line}, "


def choose(
    op: str,
    problem: Any,
    algorithm: str = "auto",
    device: str = "cpu",
    allowed: Callable[[Kernel], bool] = lambda kernel: True,
    precision: str = "",
) -> Kernel:
    """The kernel to run `problem` with: the named one, or for "auto" the first default that supports it and pays.

    allowed: which kernels "auto" may take.
    precision: "tf32" or "bfloat16" where "auto" may take kernels of that precision, too.

    Raises:
        ValueError: no such algorithm, or the named one (for "auto": none) supports the problem.
    """
    auto = algorithm == "auto"
    reasons = []
    for name in defaults(op, device) if auto else (algorithm,):
        candidate = get(op, name)
        reason = candidate.unsupported(problem)
        if reason is None and auto and candidate.precision not in ("", precision):
            reason = f"it computes in {candidate.precision}, which was not allowed"
        if reason is None and auto and not (allowed(candidate) and candidate.pays(problem)):
            reason = "another is faster or wanted"
        if reason is None:
            return candidate
        reasons.append(f"{name}: {reason}")
    raise ValueError(f"no algorithm of {op} on {device} can run {problem}: {'; '.join(reasons) or 'none exists'}.")


def _package(op: str) -> Any:
    if op not in ops():
        raise ValueError(f"there is no op {op!r}; there are {ops()}.")
    return importlib.import_module(f"fastconv.kernels.{op}")
