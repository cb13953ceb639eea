"""Dropout's mask on a CPU: the same for a key and a call as a GPU's, see `cuda_dropout`.

LANES counters go through a round together, which takes about half as long as one at a time: 1.9 ns a number with two
threads of an AMD EPYC. Limited by FLOPs: twenty products of 32 bits for four numbers.
"""

from __future__ import annotations

import numpy as np
from numba import uint32, uint64

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.philox import BLOCK, LANES, M0, M1, ROUNDS, STEP, W0, W1

_WORK = 8  # multiply-adds that a number is worth


def draw(mask: np.ndarray, key: int, call: int, rate: float) -> None:
    """Write 0, for a share of `rate`, and 1 / (1 - rate) into `mask`, C-contiguous, in the order of its memory.

    key: of 64 bits. call: which row of the key's numbers, modulo 2**32.
    """
    number = mask.dtype.type
    words = np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32), np.uint32(call & 0xFFFFFFFF)
    scale = number(1 / (1 - rate) if rate < 1 else 0)
    _draw(mask.reshape(-1), *words, np.float32(rate), scale, threads_for(_WORK * mask.size))


@cpu_jit(inner=True)
def _rounds(words, first, low, high, call):
    a, b, c, d = words[0], words[1], words[2], words[3]
    for lane in range(LANES):
        a[lane], b[lane], c[lane], d[lane] = uint32(first + lane), uint32(0), call, uint32(0)
    for _ in range(ROUNDS):
        for lane in range(LANES):
            even, odd = M0 * uint64(a[lane]), M1 * uint64(c[lane])
            a[lane] = uint32(odd >> uint64(32)) ^ b[lane] ^ low
            b[lane] = uint32(odd)
            c[lane] = uint32(even >> uint64(32)) ^ d[lane] ^ high
            d[lane] = uint32(even)
        low, high = uint32(low + W0), uint32(high + W1)


@cpu_jit(inner=True)
def _share(thread, mask, low, high, call, rate, scale, threads):
    words = np.empty((4, LANES), np.uint32)
    flat = words.reshape(-1)
    blocks = (mask.size + BLOCK - 1) // BLOCK
    for block in range(blocks * thread // threads, blocks * (thread + 1) // threads):
        _rounds(words, block * LANES, low, high, call)
        part = mask[block * BLOCK : (block + 1) * BLOCK]
        for i in range(part.size):
            drawn = np.float32(np.int32(flat[i] >> uint32(8))) * np.float32(STEP)
            part[i] = scale if drawn >= rate else scale * 0


@cpu_jit
def _draw(mask, low, high, call, rate, scale, threads):
    parallel_for(_share, threads, (mask, low, high, call, rate, scale, threads))
