"""CUDA C++ without a GPU: g++ compiles a kernel's .cu file, and its threads run on the CPU under AddressSanitizer.

`cuda_on_cpu.h` gives g++ the words that CUDA adds to C++, `instructions_on_cpu.h` those of kernels/cuda_cpp/
instructions.cuh: tensor cores, matrices loaded by a warp, copies that arrive later. A launch runs in a process of its
own, so that what goes wrong there is an error here. It runs twice, with the threads of each block and the blocks in the
order of their numbers and in reverse; where the results differ there is a race.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.kernels.cuda import Launch
from fastconv.kernels.cuda_nvrtc import FOLDER, CppKernel, cache_folder, parameters, sources_digest
from fastconv.testing.simulator import SimulationError

_HERE = Path(__file__).parent
_OPTIONS = ("-std=c++20", "-O1", "-g1", "-Wall", "-Werror", "-Wno-unknown-pragmas")
_WATCHED = ("-fsanitize=address,bounds,alignment", "-fno-sanitize-recover=all", "-fsanitize-sections=shared_memory")


class ShimError(SimulationError):
    """A kernel does what it must not, or g++ refuses it; the message says where."""


@functools.cache
def no_compiler() -> str | None:
    """Why CUDA C++ cannot be run here, or None."""
    return None if shutil.which("g++") else "g++, which runs CUDA C++ on the CPU, is not installed"


def run_on_cpu(launch: Launch) -> None:
    """Run a launch of a kernel in CUDA C++ on NumPy arrays, in both orders.

    Raises:
        ShimError: an access out of bounds, threads of a warp or block that do not meet, a result that depends on the
            order, and the like.
    """
    forward, backward = (_run(launch, reverse) for reverse in (False, True))
    arrays = _arrays(launch)
    for i, (array, one, other) in enumerate(zip(arrays, forward, backward, strict=True)):
        if one != other:
            different = np.flatnonzero(np.frombuffer(one, array.dtype) != np.frombuffer(other, array.dtype))
            raise ShimError(f"{launch.kernel.name}: a race: element {different[:1]} of array {i} depends on the order.")
        written = np.frombuffer(one, array.dtype)
        if written.tobytes() != array.tobytes():
            array[...] = written


def _arrays(launch: Launch) -> list[np.ndarray]:
    """The launch's arrays, those that it has twice once."""
    arrays = [arg for arg in launch.args if isinstance(arg, np.ndarray)]
    return list({_address(array): array for array in arrays}.values())


def _address(array: np.ndarray) -> tuple[int, int]:
    return array.__array_interface__["data"][0], array.nbytes


def _run(launch: Launch, reverse: bool) -> list[bytes]:
    """The contents of the launch's arrays when it has ended."""
    arrays = _arrays(launch)
    numbers = {_address(array): number for number, array in enumerate(arrays)}
    job = [_numbers(int(reverse), *(*launch.grid, 1, 1)[:3], *(*launch.block, 1, 1)[:3], len(arrays))]
    for array in arrays:
        job += [_numbers(array.nbytes, _address(array)[0] % 16), array.tobytes()]
    job.append(_numbers(len(launch.args)))
    for arg, parameter in zip(launch.args, parameters(launch.args), strict=True):
        if isinstance(arg, np.ndarray):
            job.append(_numbers(numbers[_address(arg)], 0))
        else:
            job += [_numbers(-1, ctypes.sizeof(parameter)), bytes(parameter)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job"
        path.write_bytes(b"".join(job))
        environment = {**os.environ, "ASAN_OPTIONS": "detect_stack_use_after_return=0"}
        done = subprocess.run([program(launch.kernel), path], capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            raise ShimError(f"{launch.kernel.name}: {_reason(done.stderr)}")
        content = path.read_bytes()
    ends = np.cumsum([array.nbytes for array in arrays])
    return [content[end - array.nbytes : end] for end, array in zip(ends, arrays, strict=True)]


def _numbers(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def _reason(said: str) -> str:
    """Of what a sanitizer says the line that names the fault, and the first place in a source of ours."""
    lines = said.splitlines()
    what = next(
        (line for line in lines if "ERROR: " in line or "runtime error" in line or "shim: " in line), said[-500:]
    )
    where = next((line.split(" in ")[-1] for line in lines if ".cu" in line and line.strip().startswith("#")), "")
    return f"{what.strip()} {where}".strip()


def program(kernel: Any) -> Path:
    """The program that runs a kernel on the CPU: from the cache, or compiled and kept there.

    Raises:
        ShimError: there is no g++, or it refuses the source.
    """
    if not isinstance(kernel, CppKernel):
        raise TypeError(f"the shim runs kernels in CUDA C++; {kernel.name} is a {type(kernel).__name__}.")
    reason = no_compiler()
    if reason is not None:
        raise ShimError(f"{kernel.name}: {reason}.")
    return _program(kernel.path, kernel.name, sources_digest([*kernel.sources(), *_shim_sources()]))


@functools.cache
def _program(path: Path, name: str, digest: bytes) -> Path:
    defined = f'-DKERNEL_FILE="{path}"', f"-DKERNEL={name}", f"-I{FOLDER}"
    runner = _built("run.o", sources_digest(_shim_sources()), "-c", str(_HERE / "run.cpp"))
    return _built(path.stem, digest, *defined, str(_HERE / "kernel.cpp"), str(runner))


def _built(name: str, digest: bytes, *arguments: str) -> Path:
    """What g++ makes, kept in the cache."""
    key = hashlib.sha256(digest + "\0".join((_version(), *arguments, *_OPTIONS, *_WATCHED)).encode()).hexdigest()[:16]
    kept = cache_folder() / "shim" / f"{key}-{name}"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            made = Path(folder) / name
            command = ["g++", *_OPTIONS, *_WATCHED, f"-I{_HERE}", *arguments, "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                raise ShimError(f"g++ refuses {name}: {done.stderr[:2000]}")
            os.replace(made, kept)
    return kept


def _shim_sources() -> list[Path]:
    return sorted(path for path in _HERE.iterdir() if path.suffix in (".h", ".cpp"))


@functools.cache
def _version() -> str:
    return subprocess.run(["g++", "-dumpfullversion"], capture_output=True, text=True).stdout.strip()
