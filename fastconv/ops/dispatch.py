"""From an op and a problem to a kernel that runs: the only caller of the kernels."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastconv import config, kernels
from fastconv.buffers import aligned_bytes
from fastconv.ops.arrays import array_module

_scratch = threading.local()
_kept: dict[Any, Any] | None = None  # what was made of weights
_many = False
_observer: Callable[[kernels.Kernel, Any, Callable[[], None]], None] | None = None


def kernel_for(op: str, problem: Any, algorithm: str = "auto") -> kernels.Kernel:
    """The kernel that `run` uses.

    Raises:
        ValueError: no such algorithm, or it does not support the problem.
    """
    return _kernel_for(op, problem, algorithm, config.winograd())


@functools.lru_cache(maxsize=4096)
def _kernel_for(op: str, problem: Any, algorithm: str, winograd: bool) -> kernels.Kernel:
    def allowed(kernel: kernels.Kernel) -> bool:
        return winograd or "winograd" not in kernel.name

    if algorithm == "auto":
        from fastconv.autotuning import ranking

        for name in ranking(op, problem):
            measured = kernels.get(op, name)
            if allowed(measured):
                return measured
    return kernels.choose(op, problem, algorithm, allowed=allowed)


def forget_choices() -> None:
    """Choose kernels anew from now on."""
    _kernel_for.cache_clear()
    _chosen.cache_clear()


@functools.cache
def _thread_count() -> Callable[[], int]:
    from fastconv.kernels.cpu_parallel import thread_count  # imports Numba: not before it is needed

    return thread_count


def kernel_on_gpu(op: str, problem: Any, algorithm: str = "auto") -> kernels.Kernel:
    """The kernel for arrays in a GPU's memory.

    Raises:
        ValueError: no such algorithm, or it does not support the problem.
    """

    def allowed(kernel: kernels.Kernel) -> bool:
        return config.winograd() or "winograd" not in kernel.name

    return kernels.choose(op, problem, algorithm, "gpu", allowed, config.kernel_precision())


def _run_on_gpu(op: str, problem: Any, arrays: Any, algorithm: str, relu: Any) -> bool:
    """`run` on CuPy's arrays: on the device's current stream, without waiting."""
    kernel = kernel_on_gpu(op, problem, algorithm)
    if kernel.device != "gpu":
        raise ValueError(f"{op}: {algorithm} runs on the CPU; the arrays are in a GPU's memory.")
    scratch = array_module(arrays[0]).empty(kernel.workspace_bytes(problem), np.uint8)
    epilogue = {"relu": relu} if relu is not None and "relu" in kernel.fuses else {}
    kernel(problem, *arrays, workspace=scratch, **epilogue)
    return bool(epilogue)


@functools.lru_cache(maxsize=4096)
def _chosen(op: str, problem: Any, algorithm: str, winograd: bool, threads: int) -> tuple[kernels.Kernel, int]:
    """The kernel and the bytes of its workspace, which depend on the number of threads."""
    kernel = _kernel_for(op, problem, algorithm, winograd)
    return kernel, kernel.workspace_bytes(problem)


def run(
    op: str,
    problem: Any,
    *arrays: np.ndarray | None,
    algorithm: str = "auto",
    fixed: bool = False,
    relu: Any = None,
) -> bool:
    """Run `op` on C-contiguous arrays of the problem's dtype: the inputs, then the outputs, as the op's folder states.

    NumPy's arrays are for kernels on the CPU, others, CuPy's, for those on a GPU.

    Args:
        fixed: whether the filters are weights, which do not change within `fixed_filters`.
        relu: what a kernel that fuses a ReLU takes for it; None for no ReLU.

    Returns:
        Whether the kernel applied the ReLU, too.
    """
    if not isinstance(arrays[0], np.ndarray):
        return _run_on_gpu(op, problem, arrays, algorithm, relu)
    kernel, size = _chosen(op, problem, algorithm, config.winograd(), _thread_count()())
    epilogue: dict[str, Any] = {}
    if relu is not None and "relu" in kernel.fuses:
        epilogue["relu"] = relu
    if fixed and _kept is not None and kernel.prepare is not None:
        epilogue["prepared"] = _prepared(kernel, problem, arrays[1])
    scratch = workspace(size)
    if _observer is None:
        kernel(problem, *arrays, workspace=scratch, **epilogue)
    else:
        _observer(kernel, problem, lambda: kernel(problem, *arrays, workspace=scratch, **epilogue))
    return "relu" in epilogue


def _prepared(kernel: Any, problem: Any, w: Any) -> np.ndarray:
    def make() -> np.ndarray:
        size, write = kernel.prepare
        memory = aligned_bytes(size(problem))
        write(problem, w, memory)
        return memory

    return keep((w.ctypes.data, kernel.name, problem.w_shape), make)  # type: ignore[no-any-return]


def filters_are_fixed() -> bool:
    """Whether this is within `fixed_filters`."""
    return _kept is not None


def many_batches() -> bool:
    """Whether this is within `fixed_filters` for more than two batches."""
    return _kept is not None and _many


def keep(key: Any, make: Callable[[], Any]) -> Any:
    """What `make()` returns, made once for a key within `fixed_filters`."""
    kept: Any = _kept
    if key not in kept:
        kept[key] = make()
    return kept[key]


@contextlib.contextmanager
def fixed_filters(batches: int | None = None) -> Iterator[None]:
    """Within, weights do not change, so what kernels make of them is kept: inference with many batches.

    Args:
        batches: how many there will be; None where that is not known. Within another `fixed_filters` that one's counts.
    """
    global _kept, _many
    before = _kept, _many
    if _kept is None:
        _kept, _many = {}, batches is None or batches > 2
    try:
        yield
    finally:
        _kept, _many = before


@contextlib.contextmanager
def observed(observer: Callable[[kernels.Kernel, Any, Callable[[], None]], None]) -> Iterator[None]:
    """Within, `run` calls `observer(kernel, problem, call)` instead of the kernel; `call()` runs it."""
    global _observer
    before, _observer = _observer, observer
    try:
        yield
    finally:
        _observer = before


def workspace(count: int) -> np.ndarray:
    """`count` scratch bytes of this thread, reused from call to call."""
    block: np.ndarray | None = getattr(_scratch, "block", None)
    if block is None or block.size < count:
        block = _scratch.block = aligned_bytes(count)
    return block[:count]
