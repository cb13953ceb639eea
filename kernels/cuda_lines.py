"""A block in lines: threads beside each other have different filters, those below each other different pixels.

A thread keeps sums of four filters, `rows` of them below each other, in registers; every line has the same, of its own
pixels. In the end they are added in shared memory, in the order of the lines, so that every run gives the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.kernels.cuda import cuda, device_function, float32, int32, uint32
from fastconv.kernels.cuda_vectors import load4, store4

THREADS = 128
FOUR = 4  # filters of a thread
MOST_ACROSS = 16  # threads of a line
SHARED_FLOATS = 4 * FOUR * (THREADS + MOST_ACROSS)  # what `add_lines` needs


class Lines(NamedTuple):
    """The shape of a block, both powers of two."""

    across: int  # threads of a line
    number: int

    @classmethod
    def of(cls, filters):
        """Lines no longer than so many filters need."""
        across = 1
        while across < MOST_ACROSS and across * FOUR < filters:
            across *= 2
        return cls(across, THREADS // across)


@device_function
def load_filters(out, gy, at, filters, wide):
    """Four gradients from gy[at] on become out[0] to out[3], zeros where fewer than four `filters` are left there."""
    if wide and filters > 0:
        out[0], out[1], out[2], out[3] = load4(gy, at)
    else:
        for j in range(FOUR):
            out[j] = float32(0)
            if filters > j:
                out[j] = gy[uint32(at + j)]


@device_function
def add_lines(memory, sums, registers, lines, gw, at, K, rows, filters):
    """Add up what the lines have, and write the first `rows` rows of `filters` sums to gw[at], gw[at + K], ...

    memory: shared, SHARED_FLOATS of it. sums: (registers / 4, 4), a constant number, lost afterwards.
    """
    thread = int32(cuda.threadIdx.x)
    width = int32(lines.across * FOUR)
    plane = int32(THREADS * FOUR + width)  # from one row's copies to the next: in other banks
    first = int32(0)
    while first < rows:  # four rows at a time
        cuda.syncthreads()  # before the copies are overwritten
        for i in range(min(4, registers // FOUR)):
            j = i * FOUR
            store4(memory, uint32(i * plane + thread * FOUR), sums[j], sums[j + 1], sums[j + 2], sums[j + 3])
        cuda.syncthreads()
        element = thread
        while element < 4 * width:
            i, k = int32(uint32(element) // uint32(width)), int32(uint32(element) % uint32(width))
            if first + i < rows and k < filters:
                total = float32(0)
                for line in range(lines.number):
                    total += memory[uint32(i * plane + line * width + k)]
                gw[uint32(at + (first + i) * K + k)] = total
            element = int32(element + THREADS)
        for i in range(registers - 4 * FOUR):  # the next rows move up: registers have no index
            sums[i] = sums[i + 4 * FOUR]
        first = int32(first + 4)
