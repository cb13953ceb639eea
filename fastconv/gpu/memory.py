"""Arrays on the device, the stream that all work of a model is queued on, and how batches get there."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np

from fastconv.gpu.rows import Rows
from fastconv.kernels import cuda

BLOCKS = 2  # in which what comes and goes waits: one is on its way while the other is written or read
_TO_DEVICE, _TO_HOST, _WITHIN_DEVICE = 1, 2, 3  # cudaMemcpyKind
_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation


class Memory:
    """The device's memory: CuPy's, or where launches are simulated NumPy's.

    Attributes:
        stream: CuPy's, not blocked by others; None in a simulator.
        allocated_bytes: so far.
    """

    def __init__(self) -> None:
        self.simulated = cuda.simulated()
        self.arrays: Any = np if self.simulated else cuda.import_cupy()
        self.stream: Any = None if self.simulated else self.arrays.cuda.Stream(non_blocking=True)
        self._given: Any = None if self.simulated else self.arrays.cuda.Event(disable_timing=True)
        self.allocated_bytes = 0

    def queued(self) -> Any:
        """Within, work goes to the stream."""
        return contextlib.nullcontext() if self.stream is None else self.stream

    def zeros(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
        """A new array of zeros, float32 unless asked for otherwise.

        Raises:
            MemoryError: the device has not as much left; the message says how much, and what to do.
        """
        try:
            with self.queued():
                made = self.arrays.zeros(shape, dtype)
        except MemoryError as error:  # CuPy's OutOfMemoryError is one
            if self.simulated:
                raise
            raise MemoryError(self._no_room(shape, np.dtype(dtype).itemsize)) from error
        self.allocated_bytes += made.nbytes
        return made

    def _no_room(self, shape: tuple[int, ...], itemsize: int) -> str:
        free, total = self.arrays.cuda.runtime.memGetInfo()
        wanted, free, total, own = (
            f"{size / 2**20:.1f} MiB" for size in (math.prod(shape) * itemsize, free, total, self.allocated_bytes)
        )
        return (
            f"the GPU's memory is full: an array of shape {shape} takes {wanted}, and {free} of {total} are free; this "
            f"model has {own}. Use a smaller batch_size, or end other programs that nvidia-smi lists."
        )

    def copied(self, values: np.ndarray) -> Any:
        """A new array with the values and the dtype of one of the host."""
        made = self.zeros(values.shape, values.dtype)
        self.upload(made, values)
        return made

    def upload(self, array: Any, values: np.ndarray) -> None:
        """Copy from the host; returns when `values` may be changed."""
        if self.simulated:
            np.copyto(array, values)
        else:
            array.set(np.ascontiguousarray(values, array.dtype), stream=self.stream)
            self.stream.synchronize()

    def fill(self, array: Any, given: Rows) -> None:
        """Copy rows that lie on the device, as what was queued on CuPy's current stream leaves them."""
        if self.simulated:
            np.copyto(array, np.asarray(given.array)[given.rows])
            return
        self._given.record(self.arrays.cuda.get_current_stream())
        self.stream.wait_event(self._given)
        with self.queued():
            rows = given.rows
            if isinstance(rows, slice):
                array[...] = given.array[rows]
            else:
                array[...] = given.array.take(self.arrays.asarray(rows), axis=0)

    def wait(self) -> None:
        """Return when all that was queued is done."""
        if self.stream is not None:
            self.stream.synchronize()

    def download(self, array: Any) -> np.ndarray:
        """A copy on the host, once all that was queued is done."""
        if self.simulated:
            return np.array(array)
        return self.arrays.asnumpy(array, stream=self.stream)


class Inlet:
    """What a step reads anew each time: one block on the device, and how it is filled while the step before still runs.

    The host writes a block of pinned memory, which is copied to the device on a stream of its own; what is left to do
    between two steps is a copy within the device.

    Raises:
        MemoryError: the device has no room, or the host cannot pin memory; the message says what to do.
    """

    def __init__(self, memory: Memory, size: int) -> None:
        self._memory = memory
        self.block = memory.zeros((size,))
        self._turn = 0
        if memory.simulated:
            self._hosts = [np.zeros(size, np.float32)]
            return
        cupy = memory.arrays
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._pinned = [_pinned(cupy, 4 * size) for _ in range(BLOCKS)]
        self._hosts = [np.frombuffer(pinned, np.float32, size) for pinned in self._pinned]
        self._waiting = [memory.zeros((size,)) for _ in range(BLOCKS)]
        self._arrived = [cupy.cuda.Event(disable_timing=True) for _ in range(BLOCKS)]
        self._taken = [cupy.cuda.Event(disable_timing=True) for _ in range(BLOCKS)]

    def begin(self) -> np.ndarray:
        """Memory of the host for the next step's block, float32; waits until it is free."""
        if not self._memory.simulated:
            self._arrived[self._turn].synchronize()
        return self._hosts[self._turn]

    def send(self) -> None:
        """What was written since `begin` is the block of the steps that are queued from now on."""
        turn, host = self._turn, self._hosts[self._turn]
        self._turn = (turn + 1) % len(self._hosts)
        if self._memory.simulated:
            np.copyto(self.block, host)
            return
        copy, stream, waiting = self._memory.arrays.cuda.runtime.memcpyAsync, self._memory.stream, self._waiting[turn]
        self._stream.wait_event(self._taken[turn])
        copy(waiting.data.ptr, host.ctypes.data, host.nbytes, _TO_DEVICE, self._stream.ptr)
        self._arrived[turn].record(self._stream)
        stream.wait_event(self._arrived[turn])
        copy(self.block.data.ptr, waiting.data.ptr, host.nbytes, _WITHIN_DEVICE, stream.ptr)
        self._taken[turn].record(stream)


class Outlet:
    """Where the host gets an array after each step while later steps run: blocks of pinned memory that take turns."""

    def __init__(self, memory: Memory, array: Any) -> None:
        self._memory, self._array = memory, array
        shape, size = array.shape, array.size
        if memory.simulated:
            self._hosts = [np.zeros(shape, np.float32) for _ in range(BLOCKS)]
            return
        cupy = memory.arrays
        self._pinned = [_pinned(cupy, 4 * size) for _ in range(BLOCKS)]
        self._hosts = [np.frombuffer(pinned, np.float32, size).reshape(shape) for pinned in self._pinned]
        self._arrived = [cupy.cuda.Event(disable_timing=True) for _ in range(BLOCKS)]

    def send(self, turn: int) -> None:
        """Queue: what the array then holds goes to a block, counted from 0."""
        if self._memory.simulated:
            np.copyto(self._hosts[turn], self._array)
            return
        host, stream, runtime = self._hosts[turn], self._memory.stream, self._memory.arrays.cuda.runtime
        runtime.memcpyAsync(host.ctypes.data, self._array.data.ptr, host.nbytes, _TO_HOST, stream.ptr)
        self._arrived[turn].record(stream)

    def take(self, turn: int) -> np.ndarray:
        """What was sent to a block; waits for it."""
        if not self._memory.simulated:
            self._arrived[turn].synchronize()
        return self._hosts[turn]


def _pinned(cupy: Any, size: int) -> Any:
    """So many bytes of the host's memory that stay where they are, for copies to the device beside its work."""
    try:
        return cupy.cuda.alloc_pinned_memory(size)
    except (MemoryError, cupy.cuda.runtime.CUDARuntimeError) as error:
        if getattr(error, "status", _OUT_OF_MEMORY) != _OUT_OF_MEMORY:
            raise
        raise MemoryError(
            f"the host's memory is full, not the GPU's: {BLOCKS} blocks of {size / 2**20:.1f} MiB, where batches wait "
            "for the GPU, could not be pinned (page-locked: they must not be swapped out). Use a smaller batch_size, "
            "end other programs, give a container or WSL more memory, or put x into the GPU's memory once and train "
            "with that array."
        ) from error
