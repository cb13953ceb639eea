"""What the machine can do at most: kernels that do nothing but multiply-adds, or nothing but copy.

`fma` keeps a register tile busy with operands from a few cache lines: no kernel can do more multiply-adds in a second.
`copy` reads one array and writes another, each thread its own part. fastconv.bench.limits times them.
"""

from __future__ import annotations

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, thread_count
from fastconv.kernels.cpu_simd import (
    ROWS,
    VECTORS,
    at,
    lanes,
    tile_load,
    tile_product,
    tile_shape,
    tile_store,
    tile_zero,
)

_STEPS = 64  # rows of b that a tile goes through: 16 KiB at most, half of a level-1 cache


def fma(a, b, out, repeats):
    """Multiply-adds from registers and the level-1 cache, on as many threads as `out` has slices.

    out[t, i, :] = sum over s of repeats * a[i, s] * b[s, :], for every thread t.

    Args:
        a, b, out: of the shapes that `fma_shapes` gives, of one dtype.
        repeats: times that each thread goes through b.
    """
    thread_count()  # starts Numba's threads
    _fma(a.reshape(-1), b.reshape(-1), out.reshape(-1), out.shape[0], repeats)


def fma_shapes(threads, dtype):
    """Shapes of a, b and out of `fma`."""
    import numpy as np

    from fastconv.kernels.cpu_simd import VECTOR_BYTES

    columns = VECTORS * VECTOR_BYTES // np.dtype(dtype).itemsize
    return (ROWS, _STEPS), (_STEPS, columns), (threads, ROWS, columns)


def fma_flops(threads, dtype, repeats):
    """FLOPs of one call of `fma`: two for each multiply-add."""
    (rows, steps), (_, columns), _ = fma_shapes(threads, dtype)
    return 2 * threads * rows * steps * columns * repeats


@cpu_jit(inner=True)
def _fma_thread(thread, a, b, out, repeats):
    columns = VECTORS * lanes(a)
    sums = tile_zero(tile_shape(ROWS, VECTORS, False), a)
    for _ in range(repeats):
        sums = tile_product(sums, at(a, 0), _STEPS, 1, at(b, 0), columns, _STEPS, 0)
    tile_store(sums, at(out, thread * ROWS * columns), columns, 0)


@cpu_jit
def _fma(a, b, out, threads, repeats):
    parallel_for(_fma_thread, threads, (a, b, out, repeats))


def copy(source, target, threads, repeats):
    """Copy `source` (elements,) to `target`, `repeats` times, each of `threads` threads its own part of it."""
    thread_count()  # starts Numba's threads
    _copy(source, target, threads, repeats)


@cpu_jit(inner=True)
def _copy_thread(thread, source, target, threads, repeats):
    step = 4 * lanes(source)
    blocks = source.size // step
    begin, end = blocks * thread // threads * step, blocks * (thread + 1) // threads * step
    for _ in range(repeats):
        for i in range(begin, end, step):
            tile_store(tile_load(tile_shape(1, 4, False), at(source, i), 0, 0), at(target, i), 0, 0)
    if thread == threads - 1:
        for i in range(end, source.size):
            target[i] = source[i]


@cpu_jit
def _copy(source, target, threads, repeats):
    parallel_for(_copy_thread, threads, (source, target, threads, repeats))
