"""What this machine and this installation have."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import fastconv

_PACKAGES = (
    *("numpy", "numba", "llvmlite", "h5py", "rich", "pooch", "matplotlib", "numba-cuda", "cupy"),
    *("torch", "onnxruntime", "jax", "keras", "tensorflow", "tensorflow-cpu"),
)
# Of LLVM's names, those that say how fast the kernels can be.
_FEATURES = ("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512bf16", "amx-tile", "neon", "sve")
_IMPORTED = time.perf_counter()


def cpu_name() -> str:
    """The processor's name as its maker writes it, else its architecture."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    if platform.system() == "Darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    return platform.processor() or platform.machine()


def cpu_features() -> list[str]:
    """The vector extensions that LLVM finds on this processor."""
    from llvmlite import binding

    found = binding.get_host_cpu_features()
    return [name for name in _FEATURES if found.get(name)]


def simd_bits() -> int:
    """The width in bits of the vectors that kernels are compiled for."""
    from fastconv.kernels.cpu_simd import VECTOR_BYTES

    return 8 * VECTOR_BYTES


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """How many threads the kernels use."""
    import numba

    return int(numba.get_num_threads())


def gpus() -> tuple[list[str], str]:
    """The NVIDIA GPUs ("name, memory, driver"); and if there are none, why."""
    if shutil.which("nvidia-smi") is None:
        return [], "no NVIDIA driver (nvidia-smi is not on the PATH)"
    found = _output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return (found.splitlines(), "") if found else ([], "nvidia-smi finds no device")


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python, fastconv and the packages it can use, of those that are installed."""
    found = {"python": platform.python_version(), "fastconv": fastconv.__version__}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, Any]:
    """The machine as plain data, for a report."""
    return {
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cpu_features": cpu_features(),
        "simd_bits": simd_bits(),
        "cores": cores(),
        "threads": threads(),
        "gpus": gpus()[0],
    }


def process_age_s() -> float:
    """Seconds since this process started, imports included; else, outside Linux, since this import."""
    try:
        stat, uptime = Path("/proc/self/stat").read_text(), Path("/proc/uptime").read_text()
    except OSError:
        return time.perf_counter() - _IMPORTED
    start_ticks = int(stat.rpartition(")")[2].split()[19])
    return float(uptime.split()[0]) - start_ticks / os.sysconf("SC_CLK_TCK")


def _output(*command: str) -> str:
    """What a short command prints; empty where it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
