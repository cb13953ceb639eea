"""CUDA kernels: how one in Python is written, and how any is described, compiled and launched.

This module alone imports numba.cuda and CuPy. A kernel is a Python function under `@cuda_jit`, or one in CUDA C++
(`cuda_nvrtc.py`); the registered function
beside it returns the launches that compute the op, as data. Whoever has a `Launch` can run it on a GPU (call it), in a
simulator (`kernel.py_func`, grid, block, args), keep it ready for many calls (`bind`) or take the kernel apart
(`kernel.ptx`). Nothing here needs a GPU before
a launch is called.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from numba import config, float32, int32, types, uint32

from fastconv.kernels.cuda_meeting import of_one_thread

try:
    from numba import cuda
except ImportError:  # a Numba that has left numba.cuda to the package numba-cuda: kernels can be read and simulated
    cuda = None

__all__ = [
    "CudaKernel",
    "FLOATS",
    "Launch",
    "TooOldError",
    "cuda",
    "cuda_jit",
    "device_function",
    "flat",
    "float32",
    "import_cupy",
    "instruction",
    "int32",
    "lacks",
    "launched_by",
    "shared_line",
    "shared_number",
    "simulated",
    "stream_handle",
    "too_old",
    "uint32",
    "unavailable",
]

Bounds = int | tuple[int, int] | None
FLOATS = types.Array(types.float32, 1, "C")  # how every array reaches a kernel: flat, in the order of its memory
_NO_NUMBA_CUDA = "numba-cuda is not installed: pip install 'fastconv[{}]'"
LINES = 1_000_000  # more than a file has
_shared_files: list[str] = []  # whose lines are numbered from LINES, 2 * LINES, ... on in machine code
_launcher: ContextVar[Callable[[Launch], object] | None] = ContextVar("launcher", default=None)


class TooOldError(ValueError):
    """A kernel has instructions that an architecture has not."""


class CudaKernel:
    """A function that Numba compiles for a GPU, where many threads run it at once.

    Attributes:
        name: of the function.
        py_func: the Python function.
        argument_types: Numba's types of its arguments.
        launch_bounds: the most threads that a block of it has, or (threads, blocks that a multiprocessor shall hold at
            least); the compiler may use registers accordingly.
        needs: the first compute capability that has all of its instructions.
    """

    def __init__(
        self,
        py_func: Callable[..., None],
        argument_types: tuple[Any, ...],
        launch_bounds: Bounds,
        needs: tuple[int, int] = (0, 0),
    ) -> None:
        self.name = py_func.__name__
        self.py_func = py_func
        self.argument_types = argument_types
        self.launch_bounds = launch_bounds
        self.needs = needs

    def ptx(self, compute_capability: tuple[int, int], lineinfo: bool = False) -> str:
        """The kernel in PTX, compiled without a GPU.

        Args:
            compute_capability: of the GPU, for example (9, 0).
            lineinfo: keep the lines of the source.

        Raises:
            ImportError: numba-cuda is not installed, or NUMBA_ENABLE_CUDASIM has switched it off.
            TooOldError: a GPU of that compute capability lacks an instruction.
        """
        if compute_capability < self.needs:
            raise TooOldError(f"{self.name} cannot be compiled: {lacks(compute_capability, self.needs)}.")
        if config.ENABLE_CUDASIM:
            raise ImportError("numba-cuda compiles nothing where NUMBA_ENABLE_CUDASIM is set")
        if not _is_numba_cuda():
            raise ImportError(_NO_NUMBA_CUDA.format("lab"))
        options = {"cc": compute_capability, "launch_bounds": self.launch_bounds, "lineinfo": lineinfo}
        signature = types.void(*self.argument_types)
        ptx = cuda.compile(self.py_func, signature, device=False, abi="numba", output="ptx", **options)[0]
        mangled = re.search(r"\.entry\s+(\w+)", ptx)
        return ptx if mangled is None else ptx.replace(mangled[1], self.name)  # which is hundreds of letters


def cuda_jit(
    *argument_types: Any, launch_bounds: Bounds = None, needs: tuple[int, int] = (0, 0)
) -> Callable[[Callable[..., Any]], CudaKernel]:
    """Make a kernel of the decorated function.

    argument_types: FLOATS for an array, int32 or another of Numba's types for a number, a class for a named tuple of
        int32.
    launch_bounds, needs: see `CudaKernel`.
    """

    def decorate(py_func: Callable[..., Any]) -> CudaKernel:
        return CudaKernel(py_func, tuple(map(_numba_type, argument_types)), launch_bounds, needs)

    return decorate


def device_function(py_func: Callable[..., Any]) -> Any:
    """Make the decorated function one that kernels can call; it becomes a part of each that does."""
    # Inlined: Numba would compile it by itself only for a GPU that is there.
    return py_func if cuda is None else cuda.jit(device=True, inline="always")(_numbered_apart(py_func))


def _numbered_apart(py_func: Any) -> Any:
    """The function as it is, or if it is in a file that kernels share, with lines numbered as `shared_line` knows them.

    Numba tells the compiler the numbers of lines but not their files, as if a kernel and all that it calls were in one.
    """
    code = py_func.__code__
    if Path(code.co_filename).parent != Path(__file__).parent or config.ENABLE_CUDASIM:
        return py_func
    code = code.replace(co_firstlineno=shared_number(code.co_filename, code.co_firstlineno))
    numbered = FunctionType(code, py_func.__globals__, argdefs=py_func.__defaults__, closure=py_func.__closure__)
    return functools.update_wrapper(numbered, py_func)


def shared_number(file: str, line: int) -> int:
    """What `shared_line` knows as a line of a file that kernels share."""
    if file not in _shared_files:
        _shared_files.append(file)
    return LINES * (1 + _shared_files.index(file)) + line


def shared_line(number: int) -> tuple[str | None, int]:
    """The file and the line of a number in machine code; None for the kernel's own file."""
    file, line = divmod(number, LINES)
    return _shared_files[file - 1] if file else None, line


def instruction(
    model: Callable[..., Any], kind: str | None = None, flops: int = 0, elements: int = 0
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make the decorated function one that kernels can call, for what Numba has no function.

    The decorated function types and emits it, as `numba.cuda.extending.intrinsic` asks.

    Args:
        model: does the same in Python, for simulators.
        kind: how simulators run it. None: the model is a thread's code, a part of the kernel, and what it does to the
            elements of an array is one access a thread. "threads": the model is given NumPy's numbers or arrays, an
            element a thread. "warps": arrays of shape (warps, 32); all 32 threads of a warp must come. "copy",
            "commit", "wait": a part of an asynchronous copy; the model is for Numba's simulator, ours has its own.
        flops: what a thread computes by it.
        elements: how many a thread copies by it.
    """

    def decorate(emit: Callable[..., Any]) -> Any:
        made: Any = model
        if config.ENABLE_CUDASIM and kind == "warps":
            made = of_one_thread(model)
        elif _is_numba_cuda() and not config.ENABLE_CUDASIM:
            from numba.cuda.extending import intrinsic

            made = intrinsic(emit)
        made.model, made.kind, made.flops, made.elements, made.name = model, kind, flops, elements, emit.__name__
        return made

    return decorate


@dataclass(frozen=True)
class Launch:
    """One launch of one kernel, as data; calling it launches.

    Attributes:
        kernel: what to launch: a CudaKernel, or of CUDA C++ a `cuda_nvrtc.CppKernel`.
        grid, block: blocks of the grid and threads of a block, one to three numbers.
        args: the kernel's arguments. Arrays may come in any shape, C-contiguous; here they are flat views of it.
        shared_bytes: dynamic shared memory of a block.
        shapes: in which the arguments came; () for numbers.
    """

    kernel: Any
    grid: tuple[int, ...]
    block: tuple[int, ...]
    args: tuple[Any, ...]
    shared_bytes: int = 0
    shapes: tuple[tuple[int, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shapes", tuple(tuple(getattr(arg, "shape", ())) for arg in self.args))
        object.__setattr__(self, "args", tuple(map(flat, self.args)))

    def __call__(self, stream: Any = None) -> None:
        """Launch on the GPU, without waiting for the end; or in a simulator, see `simulated`.

        stream: a stream of CuPy or Numba, an object with `__cuda_stream__`, or a handle; None is CuPy's current stream.

        Raises:
            RuntimeError: there is no GPU that can be used here; the message says what is missing.
            TypeError: an array lies in the host's memory.
        """
        self.bind()(stream)

    def bind(self) -> Callable[..., object]:
        """What launches it on a stream as often as it is called, with all else done beforehand.

        Raises:
            RuntimeError, TypeError: as for a call.
        """
        if 0 in self.grid:
            return lambda stream=None: None
        launcher = _launcher.get()
        if launcher is not None:
            return lambda stream=None: launcher(self)
        reason = unavailable() or too_old(self.kernel.needs)
        if reason is not None:
            raise RuntimeError(f"{self.kernel.name} cannot be launched: {reason}.")
        if config.ENABLE_CUDASIM:  # Numba's simulator knows neither types nor launch bounds
            if not isinstance(self.kernel, CudaKernel):
                raise RuntimeError(f"{self.kernel.name} is CUDA C++, which Numba's simulator cannot run.")
            numbas = cuda.jit(self.kernel.py_func)[self.grid, self.block, 0, self.shared_bytes]
            return lambda stream=None: numbas(*self.args)
        for arg in self.args:
            if isinstance(arg, np.ndarray):
                raise TypeError(
                    f"{self.kernel.name} takes arrays in the GPU's memory, received a NumPy array of {arg.size} "
                    "elements (cupy.asarray copies it there)."
                )
        from fastconv.kernels.cuda_driver import Bound

        return Bound(self)


@contextlib.contextmanager
def launched_by(launcher: Callable[[Launch], object]) -> Iterator[None]:
    """Within, a launch is `launcher(launch)`: a simulator's, with NumPy arrays in place of a GPU's memory."""
    token = _launcher.set(launcher)
    try:
        yield
    finally:
        _launcher.reset(token)


def simulated() -> bool:
    """Whether launches run on the host, on NumPy arrays: within `launched_by`, or with NUMBA_ENABLE_CUDASIM set."""
    return _launcher.get() is not None or bool(config.ENABLE_CUDASIM)


def unavailable() -> str | None:
    """Why no kernel can be launched here, or None."""
    return None if simulated() else _no_gpu()


def too_old(needs: tuple[int, int]) -> str | None:
    """Why the GPU at hand cannot run what `needs` that compute capability, or None; None, too, without a GPU."""
    if needs == (0, 0) or unavailable() is not None or simulated():
        return None
    capability = import_cupy().cuda.Device().compute_capability  # such as "90"
    here = int(capability[:-1]), int(capability[-1])
    return lacks(here, needs) if here < needs else None


def lacks(here: tuple[int, ...], needs: tuple[int, int]) -> str:
    """That a GPU of the compute capability `here` is too old, in words."""
    return "it needs compute capability {}.{}, and this is {}.{}".format(*needs, *here)


@functools.cache
def _no_gpu() -> str | None:
    if not _is_numba_cuda():
        return _NO_NUMBA_CUDA.format("cuda13")
    try:
        cupy = import_cupy()
    except ImportError as error:
        return str(error)
    from fastconv.kernels import cuda_presence

    if not (cuda.is_available() and cupy.cuda.is_available()):
        return cuda_presence.why_none(cupy, cuda)
    return cuda_presence.wrong_architecture(cupy.cuda.Device().compute_capability)


def _is_numba_cuda() -> bool:
    """Whether the package numba-cuda is installed: Numba's own numba.cuda is older than CUDA 13."""
    return getattr(cuda, "implementation", "") == "NVIDIA"


def import_cupy() -> ModuleType:
    """CuPy.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    try:
        import cupy
    except ImportError as error:
        raise ImportError(f"CuPy cannot be imported ({error}): pip install 'fastconv[cuda13]'") from None
    return cupy


def _numba_type(given: Any) -> Any:
    if isinstance(given, type) and issubclass(given, tuple):
        return types.NamedUniTuple(int32, len(given._fields), given)  # type: ignore[attr-defined]
    return given


def flat(argument: Any) -> Any:
    """An array, wherever it lies, as a flat view; anything else as it is.

    Raises:
        ValueError: it is not C-contiguous, so that there is no such view.
    """
    if not hasattr(argument, "__dlpack__") and not hasattr(argument, "__cuda_array_interface__"):
        return argument
    if not isinstance(argument, np.ndarray):
        cupy = import_cupy()
        if hasattr(argument, "__cuda_array_interface__"):
            argument = cupy.asarray(argument)  # no copy: the same memory, or for CuPy's arrays the same array
        else:
            argument = cupy.from_dlpack(argument)
    if not argument.flags.c_contiguous:
        raise ValueError(
            f"a kernel's arrays must be C-contiguous; received shape {argument.shape} with strides {argument.strides}."
        )
    return argument.reshape(-1)


def stream_handle(stream: Any) -> int:
    """The handle of a stream, given as for a `Launch`."""
    if stream is None:
        stream = import_cupy().cuda.get_current_stream()
    if hasattr(stream, "ptr"):  # CuPy's
        return int(stream.ptr)
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    return int(getattr(stream, "handle", stream) or 0)  # Numba's, or a number
