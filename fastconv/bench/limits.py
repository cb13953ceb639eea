"""What this machine can do at most, measured by kernels of our own and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from fastconv import machine
from fastconv.buffers import aligned_bytes
from fastconv.utils.files import atomic_write

_KEPT_AS = 2  # of the way to measure: another one measures anew
_ROUNDS = 25
_ROUND_S = 0.02
_REFERENCE_BYTES = 1 << 20
_WORKING_SETS = (1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28)


@dataclass(frozen=True)
class Limits:
    """The most that a device did.

    Attributes:
        device: "cpu" or "gpu"; threads: of a CPU, 0 on a GPU.
        gflop_per_s: by dtype: "float32", "float64"; on a GPU "float32", "tf32", "bfloat16".
        gbyte_per_s: of a copy, bytes read plus bytes written, by the working set in bytes, ascending.
    """

    device: str
    threads: int
    gflop_per_s: dict[str, float]
    gbyte_per_s: dict[int, float]

    def bandwidth(self, bytes_: int) -> float:
        """GB/s for a working set of so many bytes: that of the smallest measured one that is as large."""
        fitting = [size for size in self.gbyte_per_s if size >= bytes_]
        return self.gbyte_per_s[min(fitting) if fitting else max(self.gbyte_per_s)]

    def least_seconds(self, flops: int, bytes_: int, dtype: str = "float32") -> tuple[float, str]:
        """The least time that so many FLOPs and bytes can take, and which of them sets it: "FLOPs" or "bytes"."""
        computing = flops / (1e9 * self.gflop_per_s[dtype])
        moving = bytes_ / (1e9 * self.bandwidth(bytes_))
        return (computing, "FLOPs") if computing >= moving else (moving, "bytes")

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: keys are texts."""
        return {**asdict(self), "gbyte_per_s": {str(size): rate for size, rate in self.gbyte_per_s.items()}}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """What `to_dict` gave."""
        sizes = {int(size): float(rate) for size, rate in data["gbyte_per_s"].items()}
        rates = {str(dtype): float(rate) for dtype, rate in data["gflop_per_s"].items()}
        return cls(str(data["device"]), int(data["threads"]), rates, dict(sorted(sizes.items())))


def measured(device: str = "cpu", threads: int | None = None, refresh: bool = False) -> Limits:
    """The limits of this machine, measured the first time and then read from the cache folder.

    Args:
        device: "cpu" or "gpu".
        threads: of a CPU; by default as many as Numba uses.
        refresh: measure again.

    Raises:
        RuntimeError: there is no GPU that CuPy can use.
    """
    threads = 0 if device == "gpu" else threads or machine.threads()
    path = _file(device, threads)
    if not refresh:
        try:
            return Limits.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # never measured, or a damaged file
    limits = _measure_gpu() if device == "gpu" else _measure_cpu(threads)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as stream:
            stream.write(json.dumps(limits.to_dict(), indent=1).encode() + b"\n")
    except OSError:
        pass  # nowhere to keep it: measured again next time
    return limits


def reference_call(limits: Limits) -> tuple[Callable[[], object], float]:
    """Multiply-adds from registers and copies of 1 MiB, half a millisecond of each, and the seconds that they take at
    the limits of a CPU."""
    fma, copy = _fma_call(limits.threads, "float32"), _copy_call(_REFERENCE_BYTES, limits.threads)
    peak, bandwidth = 1e9 * limits.gflop_per_s["float32"], 1e9 * limits.bandwidth(_REFERENCE_BYTES)
    fmas, copies = (max(1, round(0.5e-3 * most / call(1))) for most, call in ((peak, fma), (bandwidth, copy)))

    def call() -> None:
        fma(fmas)
        copy(copies)

    return call, fma(fmas) / peak + copy(copies) / bandwidth


def _file(device: str, threads: int) -> Path:
    from fastconv.kernels.cpu_jit import cache_folder

    about = (
        _KEPT_AS,
        device,
        threads,
        machine.gpus()[0] if device == "gpu" else (machine.cpu_name(), machine.simd_bits()),
    )
    return cache_folder() / f"limits-{hashlib.sha256(repr(about).encode()).hexdigest()[:16]}.json"


def _measure_cpu(threads: int) -> Limits:
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        rates = {dtype: _best(_fma_call(threads, dtype)) for dtype in ("float32", "float64")}
        return Limits("cpu", threads, rates, {size: _best(_copy_call(size, threads)) for size in _WORKING_SETS})
    finally:
        numba.set_num_threads(before)


def _fma_call(threads: int, dtype: str) -> Callable[[int], float]:
    from fastconv.kernels import cpu_limits

    a, b, out = (_ones(shape, dtype) for shape in cpu_limits.fma_shapes(threads, dtype))

    def call(repeats: int) -> float:
        cpu_limits.fma(a, b, out, repeats)
        return cpu_limits.fma_flops(threads, dtype, repeats)

    return call


def _copy_call(bytes_: int, threads: int) -> Callable[[int], float]:
    from fastconv.kernels import cpu_limits

    source, target = (_ones((bytes_ // 8,), "float32") for _ in range(2))

    def call(repeats: int) -> float:
        cpu_limits.copy(source, target, threads, repeats)
        return bytes_ * repeats

    return call


def _best(call: Callable[[int], float]) -> float:
    """The best of some rounds, in 1e9 a second, of what `call(repeats)` says it did."""
    call(1)
    repeats = 1
    while True:
        started = time.perf_counter()
        call(repeats)
        seconds = time.perf_counter() - started
        if seconds >= _ROUND_S / 2:
            break
        repeats = max(2 * repeats, int(repeats * _ROUND_S / max(seconds, 1e-7)))
    best = 0.0
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        done = call(repeats)
        best = max(best, done / (time.perf_counter() - started))
    return best / 1e9


def _ones(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Aligned and written to, so that its pages are there."""
    array = aligned_bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize).view(dtype).reshape(shape)
    array.fill(1)
    return array


def _measure_gpu() -> Limits:
    from fastconv.bench.cuda_timing import usable_cupy
    from fastconv.kernels import cuda_limits

    rates, copies = cuda_limits.measure(usable_cupy())
    return Limits("gpu", 0, rates, copies)
