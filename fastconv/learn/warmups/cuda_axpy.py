"""c = a / 2 + b: a thread computes one element."""

from __future__ import annotations

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32

THREADS = 256


def cuda_axpy(a, b, c):
    return [Launch(_axpy, (-(-c.size // THREADS),), (THREADS,), (a, b, c, c.size))]


@cuda_jit(FLOATS, FLOATS, FLOATS, int32, launch_bounds=THREADS)
def _axpy(a, b, c, size):
    i = uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    if i < uint32(size):
        c[i] = float32(0.5) * a[i] + b[i]
