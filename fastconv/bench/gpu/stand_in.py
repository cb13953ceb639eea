"""The lab in a GPU's place, so that a dry run can go through every step without one.

Launches go to the simulator, which also finds races and wrong indices; NumPy's arrays are the device's memory; a clock
that counts events tells times that mean nothing; and PyTorch computes on the processor what cuDNN would. In a dry run
every program of `fastconv.bench.gpu` calls `take_the_gpus_place` first, and pytest takes this module as a plugin.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from fastconv.kernels import cuda
from fastconv.testing.launching import simulate_launch

VARIABLE = "FASTCONV_GPU_DRY_RUN"
_EVENT_MS = 10.0  # between any event and the next
_for_ever = contextlib.ExitStack()


def wanted() -> bool:
    """Whether this is a program of a dry run."""
    return bool(os.environ.get(VARIABLE))


def take_the_gpus_place(with_peers: bool = False) -> None:
    """In a dry run replace the GPU, for as long as this process lives; else do nothing."""
    if not wanted():
        return
    sys.modules["cupy"] = _cupy
    _for_ever.enter_context(cuda.launched_by(simulate_launch))
    if with_peers and importlib.util.find_spec("torch") is not None:
        from fastconv.bench.peers import with_torch

        with_torch.DEVICES["gpu"] = "cpu"


def pytest_configure(config: Any) -> None:
    """As a plugin: before tests are collected, and so before those for a GPU are skipped."""
    take_the_gpus_place()


class _Event:
    """A mark on a clock that every mark moves on."""

    _count = 0

    def record(self) -> None:
        _Event._count += 1
        self.index = _Event._count

    def synchronize(self) -> None:
        pass


def _make_cupy() -> ModuleType:
    """What is used of CuPy, with NumPy's arrays."""
    cupy = ModuleType("cupy")
    cupy.__version__ = "stand-in"  # type: ignore[attr-defined]
    cupy.asarray, cupy.asnumpy = np.array, np.array  # type: ignore[attr-defined]  # a copy, as between two memories
    for name in ("empty", "full", "zeros", "float32", "int32", "int64", "uint32"):
        setattr(cupy, name, getattr(np, name))
    properties = {"name": b"no GPU (dry run)", "totalGlobalMem": 1 << 30, "l2CacheSize": 1 << 20}
    attributes = {"L2CacheSize": 1 << 20, "MultiProcessorCount": 1}
    device = SimpleNamespace(compute_capability="90", attributes=attributes, synchronize=lambda: None)
    runtime = SimpleNamespace(driverGetVersion=lambda: 13000, getDeviceProperties=lambda device: properties)
    cupy.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        is_available=lambda: True,
        Device=lambda: device,
        Event=_Event,
        get_elapsed_time=lambda begin, end: _EVENT_MS * (end.index - begin.index),
        get_local_runtime_version=lambda: 13000,
        nvrtc=SimpleNamespace(getVersion=lambda: (13, 0)),
        runtime=runtime,
        set_allocator=lambda allocator: None,
        set_pinned_memory_allocator=lambda allocator: None,
    )
    cupy.RawModule = lambda code, options: SimpleNamespace(get_function=lambda name: lambda *launch: None)  # type: ignore[attr-defined]
    return cupy


_cupy = _make_cupy()
