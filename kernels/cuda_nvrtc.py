"""CUDA kernels in C++: a .cu file beside the Python file that registers it, compiled by NVRTC.

    _conv2d = CppKernel(__file__, "conv2d")                     # `extern "C" __global__ void conv2d` of the .cu file
    Launch(_conv2d, (blocks,), (THREADS,), (x, w, bias, y, g, plan))

To a `Launch` it is a kernel as any other. Where Numba passes seven words for an array and one for each field of a named
tuple, C++ takes a pointer, and a struct with the tuple's fields in their order. What kernels share stands in cuda_cpp/.

NVRTC takes seconds for a kernel; the machine code is kept in the user's cache folder, in a file whose name follows from
all that it depends on: the source and the headers, the architecture and NVRTC's version. Compiling needs no GPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from fastconv.kernels.cuda import TooOldError, lacks, shared_number

FOLDER = Path(__file__).parent  # what `#include "cuda_cpp/..."` begins from
_OPTIONS = ("-std=c++17", "-default-device", f"-I{FOLDER}")


class CppKernel:
    """A kernel of a .cu file.

    Attributes:
        name: of the function.
        path: of the file.
        needs: the first compute capability that has all of its instructions.
    """

    def __init__(self, module_file: str, name: str, needs: tuple[int, int] = (0, 0)) -> None:
        self.path = Path(module_file).with_suffix(".cu")
        self.name = name
        self.needs = needs

    def ptx(self, compute_capability: tuple[int, int], lineinfo: bool = False) -> str:
        """The kernel in PTX, compiled without a GPU; see `CudaKernel.ptx`.

        Raises:
            ImportError: cuda-bindings, which numba-cuda brings, is not installed.
            TooOldError: a GPU of that compute capability lacks an instruction.
            RuntimeError: NVRTC refuses the source; the message says why.
        """
        architecture = "compute_{}{}".format(*compute_capability)
        return self._compile(compute_capability, architecture, lineinfo).decode().rstrip("\0")

    def cubin(self, capability: str) -> bytes:
        """The kernel as the machine code of one architecture, such as "90": from the cache, or compiled and kept there.

        Raises:
            ImportError, TooOldError, RuntimeError: as for `ptx`.
        """
        kept = cache_folder() / f"{self.name}-sm_{capability}-{self._key(capability)}.cubin"
        with contextlib.suppress(OSError):
            return kept.read_bytes()
        compute_capability = int(capability[:-1]), int(capability[-1])
        cubin = self._compile(compute_capability, f"sm_{capability}", lineinfo=False)
        with contextlib.suppress(OSError):  # nowhere to write: compile in every process
            _write(kept, cubin)
        return cubin

    def sources(self) -> list[Path]:
        """The .cu file, and the headers that it includes, directly or not."""
        return _with_included(self.path)

    def line_number(self, file: str, line: int) -> int:
        """A line of one of the sources as one number; `cuda.shared_line` tells the file and the line of a header."""
        return line if Path(file).name == self.path.name else shared_number(str(Path(file).resolve()), line)

    def _key(self, capability: str) -> str:
        parts = [_nvrtc_version(), capability, self.name, *_OPTIONS[:-1]]
        return hashlib.sha256("\0".join(parts).encode() + sources_digest(self.sources())).hexdigest()[:16]

    def _compile(self, compute_capability: tuple[int, int], architecture: str, lineinfo: bool) -> bytes:
        """PTX of a "compute_90", machine code of an "sm_90"."""
        if compute_capability < self.needs:
            raise TooOldError(f"{self.name} cannot be compiled: {lacks(compute_capability, self.needs)}.")
        from cuda.bindings import nvrtc

        options = [f"-arch={architecture}", *_OPTIONS, *(["-lineinfo"] if lineinfo else [])]
        source, name = self.path.read_bytes(), str(self.path).encode()
        program = _call(nvrtc.nvrtcCreateProgram, source, name, 0, [], [])
        try:
            error = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])[0]
            if error:
                log = bytes(_call(nvrtc.nvrtcGetProgramLogSize, program))
                _call(nvrtc.nvrtcGetProgramLog, program, log)
                raise RuntimeError(f"{self.path.name}, compiled for {architecture}: {log.decode().strip()}")
            is_ptx = architecture.startswith("compute")
            size, get = (
                (nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX) if is_ptx else (nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN)
            )
            code = bytes(_call(size, program))  # the call below fills it
            _call(get, program, code)
        finally:
            nvrtc.nvrtcDestroyProgram(program)
        return code


def _call(function: Any, *args: Any) -> Any:
    """What a function of NVRTC returns beside its error."""
    error, *result = function(*args)
    if error:
        raise RuntimeError(f"{function.__name__} fails with {error.name}.")
    return result[0] if result else None


def _with_included(path: Path) -> list[Path]:
    found = [path]
    for file in found:  # which grows
        included = [FOLDER / name for name in re.findall(r'^#include "(cuda_cpp/\S+)"', file.read_text("utf-8"), re.M)]
        found += [header for header in included if header not in found]
    return found


def sources_digest(paths: list[Path]) -> bytes:
    """A digest of files' names and contents."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.digest()


def cache_folder() -> Path:
    """Where machine code is kept: $FASTCONV_CUDA_CACHE_DIR, else the user's cache folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("FASTCONV_CUDA_CACHE_DIR") or home / "fastconv" / "cuda")


def parameters(args: tuple[Any, ...]) -> list[Any]:
    """A launch's arguments as C++ takes them, each in memory of its own."""
    return [_parameter(arg) for arg in args]


def _parameter(arg: Any) -> Any:
    if isinstance(arg, tuple):  # a named tuple of int32
        return (ctypes.c_int32 * len(arg))(*arg)
    if hasattr(arg, "__cuda_array_interface__"):  # CuPy's
        return ctypes.c_uint64(arg.data.ptr)
    if hasattr(arg, "__array_interface__"):
        return ctypes.c_uint64(arg.__array_interface__["data"][0])
    return ctypes.c_float(arg) if isinstance(arg, float) else ctypes.c_int32(arg)


@functools.cache
def _nvrtc_version() -> str:
    from cuda.bindings import nvrtc

    return "nvrtc {}.{}.{}".format(*nvrtc.nvrtcVersion())


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all: another process may read or write the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.replace(name, path)
