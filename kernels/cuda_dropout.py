"""Dropout on a GPU: a thread draws four numbers and changes four elements. Limited by bytes: x read, y written.

No mask is kept: the gradient's is drawn again, from the same key and call.
"""

from __future__ import annotations

from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_philox import THREADS, first_number, grid, key_words, words
from fastconv.kernels.philox import LANES, STEP


def dropout(x: Any, y: Any, key: int, call: Any, rate: float) -> list[Launch]:
    """y = x times a mask of 0, for a share of `rate`, and 1 / (1 - rate); y may be x.

    Args:
        key: of 64 bits.
        call: float32 (2,): which row of the key's numbers, its lower 16 bits and those above, which change from
            launch to launch.
    """
    return replace(x, y, key, call, rate, (1 / (1 - rate) if rate < 1 else 0, 0, 0))


def replace(x: Any, y: Any, key: int, call: Any, rate: float, numbers: tuple[float, float, float]) -> list[Launch]:
    """The same elements as `dropout` drops become a number, and others x * scale + shift.

    numbers: scale, shift, and what is put in place of the dropped.
    """
    arguments = (x, y, call, x.size, *key_words(key), *map(float32, (rate, *numbers)))
    return [Launch(_replace, grid(x.size), (THREADS,), arguments)]


@cuda_jit(FLOATS, FLOATS, FLOATS, *[int32] * 3, *[float32] * 4, launch_bounds=THREADS)
def _replace(x, y, call, count, key_low, key_high, rate, scale, shift, dropped):
    group = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    drawn = words(group, call, key_low, key_high)
    first = first_number(group)
    for word in range(4):
        i = uint32(first + word * LANES)
        if i < uint32(count):
            number = float32(int32(drawn[word] >> uint32(8))) * float32(STEP)
            y[i] = x[i] * scale + shift if number >= rate else dropped
