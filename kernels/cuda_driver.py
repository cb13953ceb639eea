"""How a compiled kernel reaches a GPU: loaded once for all, then one call of the driver for each launch.

Numba's own launcher looks at every argument of every launch. That takes tens of microseconds (89 for three CuPy arrays
on an RTX 6000 Ada by https://github.com/NVIDIA/numba-cuda-mlir/pull/90), longer than many a layer's work. Here the
arguments are laid out in memory once, when a launch is bound, and a launch is cuLaunchKernel and nothing else. What
the launches of this project cost on the host: not measured yet.

The machine code of a kernel in Python is made by nvJitLink from its PTX, for exactly the GPU at hand; a driver older
than the toolkit cannot read the PTX itself. That of CUDA C++ comes from NVRTC (`cuda_nvrtc.py`).
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Iterator
from typing import Any

from fastconv.kernels import cuda
from fastconv.kernels.cuda_nvrtc import CppKernel, parameters

_C_TYPES = {"u64": ctypes.c_uint64, "u32": ctypes.c_uint32, "f32": ctypes.c_float, "f64": ctypes.c_double}


class Bound:
    """A launch whose kernel is loaded and whose arguments lie in memory as the driver wants them.

    It launches on the device that was CuPy's current one when it was made, and keeps the launch's arrays alive. Where
    the arrays' memory moves, a new one must be made.

    Raises:
        RuntimeError: the driver refuses the kernel; the message says what it says.
    """

    def __init__(self, launch: cuda.Launch) -> None:
        capability = cuda.import_cupy().cuda.Device().compute_capability  # such as "90"
        self._kernel, types = _load(launch.kernel, capability)
        self._launch = launch
        self._shape = tuple((*dims, 1, 1)[:3] for dims in (launch.grid, launch.block))
        if isinstance(launch.kernel, CppKernel):
            self._parameters = parameters(launch.args)
        else:
            words: list[Any] = [word for argument in launch.args for word in _words(argument)]
            self._parameters = [_C_TYPES[name](word) for name, word in zip(types, words, strict=True)]
        places = [ctypes.addressof(parameter) for parameter in self._parameters]
        self._places = (ctypes.c_void_p * len(places))(*places)

    def __call__(self, stream: Any = None) -> None:
        """Launch, without waiting for the end; `stream` as for a `Launch`.

        Raises:
            RuntimeError: the driver refuses.
        """
        grid, block = self._shape
        handle, places = cuda.stream_handle(stream), ctypes.addressof(self._places)
        error = _cu_launch_kernel(self._kernel, *grid, *block, self._launch.shared_bytes, handle, places, 0)[0]
        if error:
            raise RuntimeError(
                f"{self._launch.kernel.name}: the driver refuses {error.name}: a grid of {grid} blocks of {block} "
                f"threads with {self._launch.shared_bytes} bytes of shared memory."
            )


def machine_code(kernel: Any, capability: str) -> tuple[bytes, tuple[str, ...]]:
    """A kernel as the cubin of one architecture, such as "90"; and of one in Python its parameters' types, in PTX.

    Needs no GPU.

    Raises:
        ImportError: numba-cuda is not installed, or NUMBA_ENABLE_CUDASIM has switched it off.
    """
    if isinstance(kernel, CppKernel):
        return kernel.cubin(capability), ()
    ptx = kernel.ptx((int(capability[:-1]), int(capability[-1])))
    from cuda.core import Program, ProgramOptions

    cubin = Program(ptx, "ptx", ProgramOptions(arch=f"sm_{capability}")).compile("cubin")
    parameters = ptx[ptx.index(".entry") : ptx.index("{")]
    return bytes(cubin.code), tuple(re.findall(r"\.param \.(\w+) ", parameters))


@functools.cache
def _load(kernel: Any, capability: str) -> tuple[int, tuple[str, ...]]:
    """A kernel as the driver knows it, on any device of that architecture; and the types of its parameters."""
    cubin, types = machine_code(kernel, capability)
    code = _object_code(cubin)
    _loaded.append(code)  # the kernel is gone with it
    return int(code.get_kernel(kernel.name).handle), types


_loaded: list[Any] = []


def _object_code(cubin: bytes) -> Any:
    from cuda.core import Device, ObjectCode

    Device().set_current()
    return ObjectCode.from_cubin(cubin)


def _cu_launch_kernel(*arguments: int) -> Any:
    from cuda.bindings.driver import cuLaunchKernel

    return cuLaunchKernel(*arguments)


def _words(argument: Any) -> Iterator[int | float]:
    """An argument as the numbers that Numba passes for it: an array is seven, a named tuple one for each field."""
    if isinstance(argument, tuple):
        for field in argument:
            yield from _words(field)
    elif hasattr(argument, "__cuda_array_interface__"):
        address, size, itemsize = argument.data.ptr, argument.size, argument.itemsize
        yield from (0, 0, size, itemsize, address, size, itemsize)  # of no owner; one dimension, one stride
    else:
        yield argument
