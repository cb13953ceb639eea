"""Dropout on a GPU: a thread draws four numbers and multiplies four elements. Limited by bytes: x read, y written.

No mask is kept: the gradient's is drawn again, from the same key and call.
"""

from __future__ import annotations

from typing import Any

from numba import uint64

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.philox import BLOCK, LANES, M0, M1, ROUNDS, STEP, W0, W1

THREADS = 256


def dropout(x: Any, y: Any, key: int, call: Any, rate: float) -> list[Launch]:
    """y = x times a mask of 0, for a share of `rate`, and 1 / (1 - rate); y may be x.

    Args:
        key: of 64 bits.
        call: float32 (2,): which row of the key's numbers, its lower 16 bits and those above, which change from
            launch to launch.
    """
    low, high = (word - (1 << 32) if word >> 31 else word for word in (key & 0xFFFFFFFF, key >> 32))  # as int32
    scale = float32(1 / (1 - rate) if rate < 1 else 0)
    groups = -(-x.size // BLOCK) * LANES
    arguments = (x, y, call, x.size, low, high, float32(rate), scale)
    return [Launch(_dropout, (-(-groups // THREADS),), (THREADS,), arguments)]


@cuda_jit(FLOATS, FLOATS, FLOATS, int32, int32, int32, float32, float32, launch_bounds=THREADS)
def _dropout(x, y, call, count, key_low, key_high, rate, scale):
    group = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    a, b, d = group, uint32(0), uint32(0)
    c = uint32(uint32(call[1]) * 65536 + uint32(call[0]))
    low, high = uint32(key_low), uint32(key_high)
    for _ in range(ROUNDS):
        even, odd = M0 * uint64(a), M1 * uint64(c)
        a, b = uint32(uint32(odd >> uint64(32)) ^ b ^ low), uint32(odd)
        c, d = uint32(uint32(even >> uint64(32)) ^ d ^ high), uint32(even)
        low, high = uint32(low + W0), uint32(high + W1)
    first = uint32(group // LANES * BLOCK + group % LANES)
    words = (a, b, c, d)
    for word in range(4):
        i = uint32(first + word * LANES)
        if i < uint32(count):
            drawn = float32(int32(words[word] >> uint32(8))) * float32(STEP)
            y[i] = x[i] * scale if drawn >= rate else float32(0)
