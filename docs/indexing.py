"""The kernels of indexing.md, one convolution in several ways: `python docs/indexing.py` counts what each costs.

Only the indices differ: their types, and who keeps them. All add the same products in the same order.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from numba import types

from fastconv.inspecting import sass
from fastconv.inspecting.architectures import find
from fastconv.inspecting.compile import Compiled, compile_kernel, toolkit_version
from fastconv.kernels.cuda import FLOATS, cuda, cuda_jit, float32, int32, uint32

FLOATS4 = types.Array(float32, 4, "C")
POINTER = types.CPointer(float32)
THREADS = 256


@cuda_jit(FLOATS4, FLOATS4, FLOATS4, launch_bounds=THREADS)
def as_in_python(x, w, y):
    N, P, Q, K = y.shape
    R, S, C = w.shape[:3]
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < N * P * Q * K:
        k, q, p, n = i % K, i // K % Q, i // K // Q % P, i // K // Q // P
        total = float32(0)
        for r in range(R):
            for s in range(S):
                for c in range(C):
                    total += x[n, p + r, q + s, c] * w[r, s, c, k]
        y[n, p, q, k] = total


@cuda_jit(FLOATS, FLOATS, FLOATS, *(int32,) * 9, launch_bounds=THREADS)
def flat_arrays(x, w, y, N, H, W, C, R, S, P, Q, K):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < N * P * Q * K:
        k, q, p, n = i % K, i // K % Q, i // K // Q % P, i // K // Q // P
        total = float32(0)
        for r in range(R):
            for s in range(S):
                for c in range(C):
                    total += x[((n * H + p + r) * W + q + s) * C + c] * w[((r * S + s) * C + c) * K + k]
        y[i] = total


@cuda_jit(FLOATS, FLOATS, FLOATS, *(uint32,) * 9, launch_bounds=THREADS)
def unsigned_indices(x, w, y, N, H, W, C, R, S, P, Q, K):
    i = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if i < uint32(N * P * Q * K):
        k, q, p, n = i % K, i // K % Q, i // K // Q % P, i // K // Q // P
        total = float32(0)
        for r in range(R):
            for s in range(S):
                for c in range(C):
                    a = uint32(((n * H + p + r) * W + q + s) * C + c)
                    b = uint32(((r * S + s) * C + c) * K + k)
                    total += x[a] * w[b]
        y[i] = total


@cuda_jit(FLOATS, FLOATS, FLOATS, *(int32,) * 9, launch_bounds=THREADS)
def range_of_int32(x, w, y, N, H, W, C, R, S, P, Q, K):
    i = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if i < uint32(N * P * Q * K):
        k, q = int32(i % uint32(K)), int32(i // uint32(K) % uint32(Q))
        p, n = int32(i // uint32(K * Q) % uint32(P)), int32(i // uint32(K * Q * P))
        total = float32(0)
        for r in range(R):
            for s in range(S):
                for c in range(C):
                    a = uint32(((n * H + p + r) * W + q + s) * C + c)
                    b = uint32(((r * S + s) * C + c) * K + k)
                    total += x[a] * w[b]
        y[i] = total


@cuda_jit(FLOATS, FLOATS, FLOATS, *(uint32,) * 9, launch_bounds=THREADS)
def while_loops(x, w, y, N, H, W, C, R, S, P, Q, K):
    i = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if i < uint32(N * P * Q * K):
        k, q, p, n = i % K, i // K % Q, i // K // Q % P, i // K // Q // P
        total = float32(0)
        r = uint32(0)
        while r < R:
            s = uint32(0)
            while s < S:
                c = uint32(0)
                while c < C:
                    a = uint32(((n * H + p + r) * W + q + s) * C + c)
                    b = uint32(((r * S + s) * C + c) * K + k)
                    total += x[a] * w[b]
                    c = uint32(c + 1)
                s = uint32(s + 1)
            r = uint32(r + 1)
        y[i] = total


@cuda_jit(FLOATS, FLOATS, FLOATS, *(uint32,) * 9, launch_bounds=THREADS)
def carried_indices(x, w, y, N, H, W, C, R, S, P, Q, K):
    i = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if i < uint32(N * P * Q * K):
        k, q, p, n = i % K, i // K % Q, i // K // Q % P, i // K // Q // P
        total = float32(0)
        b = uint32(k)
        r = uint32(0)
        while r < R:
            a = uint32(((n * H + p + r) * W + q) * C)
            end = uint32(a + S * C)
            while a < end:
                total += x[a] * w[b]
                a, b = uint32(a + 1), uint32(b + K)
            r = uint32(r + 1)
        y[i] = total


@cuda_jit(POINTER, POINTER, POINTER, *(uint32,) * 9, launch_bounds=THREADS)
def pointers(x, w, y, N, H, W, C, R, S, P, Q, K):
    i = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if i < uint32(N * P * Q * K):
        k, q, p, n = i % K, i // K % Q, i // K // Q % P, i // K // Q // P
        total = float32(0)
        b = uint32(k)
        r = uint32(0)
        while r < R:
            a = uint32(((n * H + p + r) * W + q) * C)
            end = uint32(a + S * C)
            while a < end:
                total += x[a] * w[b]
                a, b = uint32(a + 1), uint32(b + K)
            r = uint32(r + 1)
        y[i] = total


VERSIONS = (as_in_python, flat_arrays, unsigned_indices, range_of_int32, while_loops, carried_indices, pointers)


class CudaCpp(NamedTuple):
    """The same in CUDA C++, indexing.cu, with indices of one type: what `compile_kernel` takes."""

    index: str

    @property
    def name(self) -> str:
        return f"cuda_cpp_{self.index}"

    def ptx(self, compute_capability: tuple[int, int], lineinfo: bool = False) -> str:
        """The kernel in PTX, by NVIDIA's runtime compiler, which needs no GPU.

        Raises:
            ImportError: that is not installed.
        """
        from cuda.bindings import nvrtc

        def call(function: Any, *args: Any) -> Any:
            error, *result = function(*args)
            if error:
                raise RuntimeError(f"{function.__name__} fails with {error}.")
            return result[0] if result else None

        source = Path(__file__).with_suffix(".cu").read_bytes()
        program = call(nvrtc.nvrtcCreateProgram, source, b"indexing.cu", 0, [], [])
        architecture = "compute_{}{}".format(*compute_capability)
        call(
            nvrtc.nvrtcCompileProgram, program, 2, [f"-arch={architecture}".encode(), f"-DIndex={self.index}".encode()]
        )
        text = bytes(call(nvrtc.nvrtcGetPTXSize, program))
        call(nvrtc.nvrtcGetPTX, program, text)
        return text.rstrip(b"\0").decode()


def loop_cost(compiled: Compiled) -> float:
    """Instructions of the innermost loop for each multiply-add in it."""
    loop = sass.densest_loop(compiled.instructions)
    return len(loop) / sass.mix(loop)["FFMA"]


def parameters(compiled: Compiled) -> int:
    """What a launch hands over."""
    return len(re.findall(r"\.param \.", compiled.ptx))


def table() -> str:
    """All versions on sm_90, and with what they were compiled."""
    heads = ("version", "registers", "instructions", "of the loop, a multiply-add", "parameters")
    lines = [f"| {' | '.join(heads)} |", "| --- | ---: | ---: | ---: | ---: |"]
    for kernel in (*VERSIONS, CudaCpp("unsigned"), CudaCpp("int")):
        compiled = compile_kernel(kernel, find("sm_90"))
        counts = (compiled.resources.registers, sum(sass.mix(compiled.instructions).values()))
        cells = [f"`{kernel.name}`", *counts, f"{loop_cost(compiled):.1f}", parameters(compiled)]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", made_with()])


def made_with() -> str:
    """The versions that the counts depend on."""
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("numba-cuda", "numba", "llvmlite"))
    return f"sm_90; {packages}, ptxas {toolkit_version()}. Made with `python docs/indexing.py`."


if __name__ == "__main__":
    print(table())
