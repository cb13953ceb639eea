"""What the machine and its driver are. As a program it prints one JSON object: python -m fastconv.bench.gpu.facts."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from importlib import metadata
from typing import Any

from fastconv.bench.gpu import stand_in
from fastconv.bench.gpu.session import Session, module
from fastconv.kernels.cuda_presence import dotted

LIMIT_S = 60.0
_SMI = (
    *("driver_version", "memory.total", "power.limit", "persistence_mode", "temperature.gpu"),
    *("clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem"),
)


def run(session: Session) -> None:
    """Collect the facts; a fact that cannot be had is the reason why."""
    ended = session.run(module("fastconv.bench.gpu.facts"), LIMIT_S, "facts")
    printed = next((line for line in reversed(ended.lines) if line.startswith("{")), None)
    if ended.code != 0 or printed is None:
        session.done("facts", "failed", ended.why())
        return
    found = session.record["facts"] = json.loads(printed)
    for name, value in found.items():
        session.say(f"  {name}: {value}")
    missing = [name for name, value in found.items() if value.startswith("unknown")]
    session.done("facts", "passed", f"{len(found)} facts, {len(missing)} of them unknown")


def collect() -> dict[str, str]:
    """Every fact by name; "unknown" and the reason where asking fails."""
    asked: dict[str, Callable[[], object]] = {
        "device": lambda: _properties()["name"].decode(),
        "compute capability": _compute_capability,
        "multiprocessors": lambda: _cupy().cuda.Device().attributes["MultiProcessorCount"],
        "memory, bytes": lambda: _properties()["totalGlobalMem"],
        "level-2 cache, bytes": lambda: _cupy().cuda.Device().attributes["L2CacheSize"],
        "driver's CUDA": lambda: dotted(_cupy().cuda.runtime.driverGetVersion()),
        "CUDA runtime": lambda: dotted(_cupy().cuda.get_local_runtime_version()),
        "NVRTC": lambda: ".".join(map(str, _cupy().cuda.nvrtc.getVersion())),
        "CuPy": lambda: _cupy().__version__,
        "numba": lambda: metadata.version("numba"),
        "numba-cuda": lambda: metadata.version("numba-cuda"),
        "torch": lambda: _torch().__version__,
        "torch's CUDA": lambda: _torch().version.cuda,
        "cuDNN": lambda: _torch().backends.cudnn.version(),
        "CUDA_HOME": lambda: os.environ.get("CUDA_HOME", "not set"),
    }
    found = {name: _answer(ask) for name, ask in asked.items()}
    return found | _nvidia_smi()


def _answer(ask: Callable[[], object]) -> str:
    try:
        return str(ask())
    except Exception as error:  # each fact for itself, whatever is wrong with another
        return f"unknown: {type(error).__name__}: {str(error).strip()[:200]}"


def _cupy() -> Any:
    return importlib.import_module("cupy")


def _torch() -> Any:
    return importlib.import_module("torch")


def _properties() -> Any:
    return _cupy().cuda.runtime.getDeviceProperties(0)


def _compute_capability() -> str:
    """ "90" is 9.0."""
    digits = _cupy().cuda.Device().compute_capability
    return f"{digits[:-1]}.{digits[-1]}"


def _nvidia_smi() -> dict[str, str]:
    """What nvidia-smi tells, clocks among it, in its own words for each."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {"nvidia-smi": "unknown: it is not on the PATH"}
    command = [program, f"--query-gpu={','.join(_SMI)}", "--format=csv,noheader", "--id=0"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return {"nvidia-smi": f"unknown: {error}"}
    return {f"nvidia-smi {name}": value.strip() for name, value in zip(_SMI, shown.split(","), strict=False)}


if __name__ == "__main__":
    stand_in.take_the_gpus_place()
    print(json.dumps(collect()))
