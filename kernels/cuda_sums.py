"""Sums over the threads of a warp and of a block, always in the same order: the same bits in every run."""

from __future__ import annotations

from fastconv.kernels.cuda import cuda, device_function, uint32


@device_function
def warp_sum(value):
    """The sum over a warp, in every lane."""
    for bits in (16, 8, 4, 2, 1):
        value += cuda.shfl_xor_sync(0xFFFFFFFF, value, bits)
    return value


@device_function
def warp_max(value):
    """The largest number of a warp, or NaN where there is one, in every lane."""
    for bits in (16, 8, 4, 2, 1):
        other = cuda.shfl_xor_sync(0xFFFFFFFF, value, bits)
        if not other <= value:
            value = other
    return value


@device_function
def block_sum(shares, thread, threads, value):
    """The sum over a block, in every thread; `threads` is a power of two. shares: shared memory, a number a thread."""
    shares[thread] = value
    cuda.syncthreads()
    half = uint32(threads // 2)
    while half > uint32(0):
        if thread < half:
            shares[thread] += shares[uint32(thread + half)]
        cuda.syncthreads()
        half = uint32(half // 2)
    return shares[0]
